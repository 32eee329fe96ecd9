# SPDX-License-Identifier: Apache-2.0
"""Parameters and the peak of memory of a GPT per device, by formulas, from validated arguments.

The peak is the largest of some moments: the loss, the backward pass of each layer, the gradient of the embedding, the
optimizer's step. What is there at a moment is summed up by name: states.py has what is always there, layer.py what a layer keeps.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from mindspeed.planning import parameters, states
from mindspeed.planning.layer import backward, inputs_of_core, layer, product, recomputed_norms
from mindspeed.planning.shape import FP32, Shape, value_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Bytes on one device of a pipeline stage at its peak, which is their sum.

    layer        what one layer keeps for the backward pass; activations are those of all that are kept at the peak
    loss         the logits and what the loss makes of them
    temporaries  gradients on their way, conversions, what is computed again
    moment       when it is
    """

    stage: int
    parameters: int
    weights: int
    gradients: int
    optimizer: int
    buffers: int
    layer: int
    activations: int
    loss: int
    temporaries: int
    moment: str

    @property
    def peak(self) -> int:
        states = self.weights + self.gradients + self.optimizer + self.buffers
        return states + self.activations + self.loss + self.temporaries


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """parameters of the whole model, each counted once."""

    parameters: int
    stages: tuple[Stage, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        stages = [{**asdict(stage), "peak": stage.peak} for stage in self.stages]
        return {"parameters": self.parameters, "stages": stages, "notes": list(self.notes)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Beyond what is always there."""

    name: str
    activations: int
    loss: int = 0
    temporaries: int = 0

    @property
    def total(self) -> int:
        return self.activations + self.loss + self.temporaries


def estimate(args: Namespace, features: Collection[str] = ()) -> Estimate:
    """For a GPT with dense or MoE layers, with the features of these names on; what is not counted is in the notes."""
    shape = Shape(args, features)
    stages = tuple(_stage(shape, stage) for stage in range(shape.pp))
    return Estimate(parameters=parameters.of_whole_model(args), stages=stages, notes=tuple(_notes(args)))


def _stage(shape: Shape, stage: int) -> Stage:
    count = parameters.of_stage(shape, stage)
    chunks = [Layers(shape, is_moe) for is_moe in shape.chunks(stage)]
    peak = max(_moments(shape, stage, chunks, count), key=lambda moment: moment.total)
    return Stage(
        stage=stage,
        parameters=count.total,
        weights=states.weights(shape, count),
        gradients=states.gradients(shape, count),
        optimizer=states.optimizer(shape, count),
        buffers=states.buffers(shape),
        layer=max((held for layers in chunks for held in layers.held), default=0),
        activations=peak.activations,
        loss=peak.loss,
        temporaries=peak.temporaries,
        moment=peak.name,
    )


class Layers:
    """Of a stage's chunk: `whole` is what each layer has when its backward pass runs, `held` what it keeps until then."""

    def __init__(self, shape: Shape, is_moe: list[bool]) -> None:
        self.shape = shape
        self.is_moe = is_moe
        self.whole = [layer(shape, one) for one in is_moe]
        self.held = [self._held(index) for index in range(len(self.whole))]

    def core(self, index: int) -> int:
        """What is kept of the core attention until it is its turn."""
        if self._is_selective and not self._is_recomputed(index):
            return 0
        return self.whole[index].core

    @property
    def swaps(self) -> bool:
        return "swap-attention" in self.shape.features

    @property
    def _is_selective(self) -> bool:
        args = self.shape.args
        chosen = value_of(args, "recompute_modules", None) or ["core_attn"]
        return value_of(args, "recompute_granularity", None) == "selective" and "core_attn" in chosen

    def _is_recomputed(self, index: int) -> bool:
        args = self.shape.args
        if value_of(args, "recompute_granularity", None) != "full":
            return False
        return args.recompute_method != "block" or index < value_of(args, "recompute_num_layers", 1)

    def _held(self, index: int) -> int:
        whole, shape = self.whole[index], self.shape
        if self._is_recomputed(index):
            return self._inputs(index)
        kept = whole.total
        if self._is_selective:
            kept -= whole.core
            kept += inputs_of_core(shape)
        if "recompute-activation-function" in shape.features:
            most = value_of(shape.args, "recompute_activation_function_num_layers", None)
            kept -= whole.activated if most is None or index < most else 0
        if self.swaps:
            kept -= self.swapped(index)
        return kept - sum(self.norms(index))

    def norms(self, index: int) -> tuple[int, int]:
        """What the norms of a layer keep, where they are computed again."""
        if "recompute-norm" not in self.shape.features or self._is_recomputed(index):
            return 0, 0
        most = value_of(self.shape.args, "recompute_norm_num_layers", None)
        before = sum(self._is_recomputed(other) for other in range(index))
        if most is not None and index - before >= most:
            return 0, 0
        return recomputed_norms(self.shape, self.whole[index], self.is_moe[index])

    def _inputs(self, index: int) -> int:
        """Of a layer that runs again: its input; uniform recomputation keeps that of every n-th."""
        args, stream = self.shape.args, self.shape.stream * self.shape.dtype
        every = value_of(args, "recompute_num_layers", 1) if args.recompute_method != "block" else 1
        return stream if index % every == 0 else 0

    def swapped(self, index: int) -> int:
        """What is in the host's memory: of attention and its norm all but the stream's sums, and the layer's own result,
        which the next layer's norm keeps."""
        whole = self.whole[index]
        masks = self.shape.stream // 8 if self.shape.dropout("hidden_dropout") else 0
        swapped = whole.attention - whole.attended + whole.added - masks
        if self.shape.is_local:  # the norm before the MLP is a module of its own: its input goes too
            swapped += whole.attended - masks
        return swapped


def _moments(shape: Shape, stage: int, chunks: list[Layers], count: parameters.Count) -> Iterator[Moment]:
    passes = shape.passes(stage)
    shared = _held_gradient(shape, stage)
    received = 2 * shape.stream * shape.dtype if shape.pp > 1 else 0
    inputs, last = _inputs(shape, stage, len(passes)), shape.vp - 1
    if stage == shape.pp - 1 and last in passes:
        layers = chunks[last]
        kept = inputs + _others(shape, chunks, passes, last) + sum(layers.held) + _further(shape)
        if layers.swaps and layers.held:
            kept += layers.swapped(-1)
        yield from _loss(shape, kept)
    for chunk in sorted(set(passes)):
        others = inputs + _others(shape, chunks, passes, chunk)
        for moment in _backward(shape, chunks[chunk], others, shared + received):
            yield moment if shape.vp == 1 else replace(moment, name=f"chunk {chunk + 1}, {moment.name}")
    if stage == 0:
        words = shape.vocabulary // shape.tp * shape.hidden * shape.dtype
        yield Moment(
            name="gradient of the embedding",
            activations=inputs + _others(shape, chunks, passes, 0),
            temporaries=words + shared + shape.stream * shape.dtype,
        )
    yield Moment(name="optimizer's step", activations=0, temporaries=states.step(shape, count))


def _others(shape: Shape, chunks: list[Layers], passes: list[int], chunk: int) -> int:
    """What passes keep besides one of this chunk, whose backward pass runs."""
    rest = list(passes)
    rest.remove(chunk)
    whole = len(rest)
    if "recompute-in-bubble" in shape.features:
        whole = min(whole, shape.pp * shape.vp - 1)
    inputs = sum(len(chunks[other].held) for other in rest[whole:]) * shape.stream * shape.dtype
    return inputs + sum(sum(chunks[other].held) for other in rest[:whole])


def _backward(shape: Shape, layers: Layers, others: int, temporaries: int) -> Iterator[Moment]:
    for index, whole in enumerate(layers.whole):
        before = others + sum(layers.held[:index])
        if layers.swaps and index > 0:
            before += layers.swapped(index - 1)  # on its way in
        for moment in backward(shape, whole, layers.is_moe[index], layers.core(index), layers.norms(index)):
            yield Moment(
                name=f"backward pass of layer {index + 1}: {moment.name}",
                activations=before + moment.kept,
                temporaries=moment.temporaries + temporaries,
            )


def _inputs(shape: Shape, stage: int, flight: int) -> int:
    """Of micro-batches in flight: tokens, labels, positions, weights of the loss; a mask; what the first layer is given."""
    each = shape.tokens * (3 * 8 + FP32) + shape.stream * shape.dtype
    if stage == 0 and shape.dropout("hidden_dropout"):
        each += shape.stream // 8
    recomputes = value_of(shape.args, "recompute_granularity", None) is not None
    if shape.has_mask and (shape.is_local or recomputes):
        each += shape.batch * shape.sequence * shape.sequence * shape.cp
    return flight * each


def _held_gradient(shape: Shape, stage: int) -> int:
    """A word embedding that is the output layer too waits for its second gradient, with the first in memory."""
    tied = not value_of(shape.args, "untie_embeddings_and_output_weights", False)
    return (
        shape.vocabulary // shape.tp * shape.hidden * shape.dtype
        if tied and shape.pp == 1 and stage == 0
        else 0
    )


def _further(shape: Shape) -> int:
    """What layers of multi-token prediction keep, and their losses: the logits, and norms of two streams side by side."""
    stream, rows = shape.stream * shape.dtype, 2 * FP32 * (shape.stream // shape.hidden)
    each = layer(shape, shape.is_moe[-1]).total + 4 * stream + 3 * (stream + rows)
    each += shape.tokens * (shape.vocabulary // shape.tp) * shape.dtype
    return int(value_of(shape.args, "mtp_num_layers", 0) * each)


def _loss(shape: Shape, kept: int) -> Iterator[Moment]:
    """Logits are in the model's dtype and in float32, in which the loss is computed in place; so are their gradients."""
    width = shape.vocabulary // shape.tp
    logits = shape.tokens * width
    stream = shape.stream * shape.dtype
    final = stream + 2 * FP32 * (shape.stream // shape.hidden)  # of the last norm
    yield Moment(
        name="gradient of the output layer",
        activations=kept,
        loss=final + logits * shape.dtype,
        temporaries=stream + product(shape, shape.hidden, width),
    )
    if shape.dtype != FP32:
        fused = "vocab-parallel-cross-entropy" in shape.features
        # The operator's way makes float32 in two blocks of 2 MiB, beside halves for logits and for their gradients.
        wide = min(2 * 2**21, logits * FP32) + logits * shape.dtype if fused else logits * FP32
        yield Moment(name="loss", activations=kept, loss=final + logits * shape.dtype, temporaries=wide)


def _notes(args: Namespace) -> list[str]:
    notes = [
        "Not counted: buffers of process groups, workspaces of operators, memory that the allocator keeps but does not use.",
    ]
    if value_of(args, "multi_latent_attention", False) or value_of(args, "num_experts", 0):
        notes.append(
            "Activations of latent attention and of experts are rough: routing decides how many tokens an expert has."
        )
    return notes
