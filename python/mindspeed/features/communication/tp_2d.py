# SPDX-License-Identifier: Apache-2.0
"""Linear layers of attention and MLP are cut over a grid of tensor-parallel ranks, activations by sequence and hidden size.

A rank exchanges with those of its own row and column, not with all: of what it gets for a layer, the hidden size is cut by
y and the inner width by x. Embedding and output layer are as in plain tensor parallelism.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Patch
from mindspeed.features.communication._grid import Cut, PutTogether, grid_of
from mindspeed.features.communication._grid_layers import SHARED, ColumnLinear, Norm, RowLinear, replaced

_TRANSFORMER = "megatron.core.transformer"
_LAYER = f"{_TRANSFORMER}.transformer_layer:TransformerLayer"
_BLOCK = f"{_TRANSFORMER}.transformer_block:TransformerBlock"
_P2P = "megatron.core.pipeline_parallel.p2p_communication"
_GRADS = "megatron.core.distributed.finalize_model_grads"


def of_linears(**classes: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """__init__(self, config, submodules, ...) with our layers."""

    def wrapping(init: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(init)
        def built(self: Any, config: Any, submodules: Any, *args: Any, **kwargs: Any) -> None:
            init(self, config, replaced(submodules, **classes), *args, **kwargs)

        return built

    return wrapping


@contextlib.contextmanager
def _numbers_of_its_own() -> Iterator[None]:
    """Dropout of activations that no two ranks share."""
    from megatron.core.tensor_parallel import get_cuda_rng_tracker

    with torch.enable_grad(), get_cuda_rng_tracker().fork():
        yield


def of_layers(init: Callable[..., None]) -> Callable[..., None]:
    """TransformerLayer.__init__"""
    build = of_linears(input_layernorm=Norm, pre_cross_attn_layernorm=Norm, pre_mlp_layernorm=Norm)(init)

    @functools.wraps(init)
    def built(self: Any, *args: Any, **kwargs: Any) -> None:
        build(self, *args, **kwargs)
        if self.hidden_dropout:
            self.bias_dropout_add_exec_handler = _numbers_of_its_own

    return built


def refusing(init: Callable[..., None]) -> Callable[..., None]:
    """CrossAttention.__init__"""

    @functools.wraps(init)
    def refused(*args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            "--tp-2d: attention to another sequence (an encoder's) is not cut over a grid of ranks; leave it out"
        )

    return refused


def with_last_norm(build_layers: Callable[..., None]) -> Callable[..., None]:
    """TransformerBlock._build_layers"""

    @functools.wraps(build_layers)
    def built(self: Any, *args: Any, **kwargs: Any) -> None:
        self.submodules = replaced(self.submodules, layer_norm=Norm)
        build_layers(self, *args, **kwargs)

    return built


def between_ends(forward: Callable[..., Any]) -> Callable[..., Any]:
    """TransformerBlock.forward: whole activations go in at the first stage and come out at the last."""

    @functools.wraps(forward)
    def cut_forward(self: Any, hidden_states: Any, *args: Any, **kwargs: Any) -> Any:
        grid = grid_of(self.config)
        if self.pre_process:
            whole = hidden_states.unwrap() if hasattr(hidden_states, "unwrap") else hidden_states
            hidden_states = Cut.apply(whole, grid)
        found = forward(self, hidden_states, *args, **kwargs)
        return PutTogether.apply(found, grid) if self.post_process else found

    return cut_forward


def of_parts(communicate: Callable[..., Any]) -> Callable[..., Any]:
    """_communicate: schedules tell it the shape of whole activations, [s, b, h]."""

    @functools.wraps(communicate)
    def communicated(*args: Any, tensor_shape: Any = None, **kwargs: Any) -> Any:
        config = kwargs["config"] if "config" in kwargs else args[0].config
        if tensor_shape:  # else stages tell each other
            length, batch, width = tensor_shape
            tensor_shape = (length // config.tp_x, batch, width // config.tp_y)
        return communicate(*args, tensor_shape=tensor_shape, **kwargs)

    return communicated


def of_whole_sequence(get_rotary_seq_len: Callable[..., Any]) -> Callable[..., Any]:
    """Stages behind the first know the length of their part alone."""

    @functools.wraps(get_rotary_seq_len)
    def told(
        self: Any, inference: Any, transformer: Any, x: Any, config: Any, packed: Any = None, **more: Any
    ) -> Any:
        length = get_rotary_seq_len(self, inference, transformer, x, config, packed, **more)
        is_part = (
            packed is None and inference is None and getattr(transformer, "input_tensor", None) is not None
        )
        return length * config.tp_x if is_part else length

    return told


def _gradient(parameter: Any) -> Tensor | None:
    """Where data parallelism has summed it."""
    found: Tensor | None = getattr(parameter, "main_grad", None)
    return parameter.grad if found is None else found


def summing(allreduce: Callable[..., None]) -> Callable[..., None]:
    """_allreduce_layernorm_grads(model, config, ...), as it is called before 0.13"""

    @functools.wraps(allreduce)
    def summed(model: list[torch.nn.Module], config: Any, *args: Any, **kwargs: Any) -> None:
        allreduce(model, config, *args, **kwargs)
        side = grid_of(config).x
        shared = (p for chunk in model for p in chunk.parameters() if getattr(p, SHARED, False))
        grads = [grad for p in shared if p.requires_grad and (grad := _gradient(p)) is not None]
        if side.size == 1 or not grads:
            return
        together = _flatten_dense_tensors(grads)
        torch.distributed.all_reduce(together, group=side.group)
        for grad, total in zip(grads, _unflatten_dense_tensors(together, grads), strict=True):
            grad.copy_(total)

    return summed


def as_it_is(apply_swiglu_sharded_factory: Callable[..., Any]) -> Callable[..., Any]:
    """Of a gated layer's parameters: our layer has told where its gates and values lie."""

    @functools.wraps(apply_swiglu_sharded_factory)
    def applied(entry: Any, *args: Any, **kwargs: Any) -> Any:
        if hasattr(entry, "build_fn"):
            return entry
        return apply_swiglu_sharded_factory(entry, *args, **kwargs)

    return applied


_REFUSED = (
    ("sequence_parallel", "--sequence-parallel: activations are cut by sequence already; leave out one of them"),
    ("num_experts", "--num-experts: experts are not cut over a grid of ranks; leave out one of them"),
    ("multi_latent_attention", "--multi-latent-attention: its layers are not cut over a grid; leave out one of them"),
    ("use_legacy_models", "--use-legacy-models have other layers; leave out one of them"),
    ("mtp_num_layers", "--mtp-num-layers: layers behind the last one want whole activations; leave out one of them"),
    ("distribute_saved_activations", "--distribute-saved-activations: ranks have activations of their own already; leave it out"),
    ("apply_layernorm_1p", "--apply-layernorm-1p: norms over a grid have weights around one; leave out one of them"),
    ("fp8", "--fp8-format is for Transformer Engine's layers; leave out one of them"),
    ("use_torch_fsdp2", "--use-torch-fsdp2 shards layers itself; leave out one of them"),
    ("use_custom_fsdp", "--use-custom-fsdp shards layers itself; leave out one of them"),
    ("use_megatron_fsdp", "--use-megatron-fsdp shards layers itself; leave out one of them"),
)  # fmt: skip


def check(args: Any) -> Iterator[str]:
    for name, sentence in _REFUSED:
        if getattr(args, name, None):
            yield sentence
    if getattr(args, "transformer_impl", "local") == "transformer_engine":
        yield "it is for Megatron's own layers; give --transformer-impl local, or leave it out"
    x, y, ranks = args.tp_x, args.tp_y, getattr(args, "tensor_model_parallel_size", None)
    if x < 1 or y < 1:
        yield f"--tp-x {x} by --tp-y {y} is no grid; give a number above 0 for each"
    elif ranks not in (None, x * y):
        side = math.gcd(x, ranks)
        other = "" if side == x else f"--tp-x {side} and "
        yield (
            f"--tp-x {x} by --tp-y {y} is no grid of --tensor-model-parallel-size {ranks} ranks; give {other}--tp-y {ranks // side}"
        )
    else:
        yield from _lengths(args, x, y)


def _lengths(args: Any, x: int, y: int) -> Iterator[str]:
    own = getattr(args, "context_parallel_size", None) or 1
    for name, parts, why in (
        ("seq_length", x * own, "--tp-x times --context-parallel-size"),
        ("hidden_size", y, "--tp-y"),
        ("ffn_hidden_size", x * y, "--tp-x times --tp-y"),
    ):
        number = getattr(args, name, None)
        if number and number % parts:
            yield f"--{name.replace('_', '-')} {number} is not a multiple of {why} ({parts}); give one"


FEATURE = Feature(
    name="tp-2d",
    level=Level.ACCELERATION,
    flags=(
        Flag("--tp-2d", "Linear layers are cut over a grid of tensor-parallel ranks."),
        Flag(
            "--tp-x", "Ranks along which the sequence is cut, neighbours in the group.", type=int, default=1
        ),
        Flag("--tp-y", "Ranks along which the hidden size is cut.", type=int, default=1),
        Flag(
            "--enable-overlap-ag-with-matmul",
            "Layers behind attention and activation multiply what is there while the rest of their input comes.",
        ),
        Flag(
            "--enable-overlap-matmul-with-rs",
            "Layers before attention and activation send a part of their output while they compute the next.",
        ),
        Flag(
            "--enable-backward-overlap-ag-with-matmul",
            "The same as --enable-overlap-ag-with-matmul for gradients, in all four layers.",
        ),
    ),
    conflicts=(
        Conflict(feature="ascend-mc2", why="both compute the products of linear layers"),
        Conflict(feature="ascend-coc", why="both compute the products of linear layers"),
        Conflict(feature="unaligned-linear", why="a grid wants parts of one size"),
        Conflict(feature="schedules-method", why="its stages send whole activations"),
        Conflict(feature="layerzero", why="it shards layers itself"),
        Conflict(feature="muon-optimizer", why="it wants to know which direction of a weight is cut"),
    ),
    check=check,
    patches=(
        Patch(
            f"{_TRANSFORMER}.attention:SelfAttention.__init__",
            of_linears(linear_qkv=ColumnLinear, linear_proj=RowLinear),
            wraps=True,
        ),
        Patch(f"{_TRANSFORMER}.attention:CrossAttention.__init__", refusing, wraps=True),
        Patch(
            f"{_TRANSFORMER}.mlp:MLP.__init__",
            of_linears(linear_fc1=ColumnLinear, linear_fc2=RowLinear),
            wraps=True,
        ),
        Patch(f"{_TRANSFORMER}.mlp:apply_swiglu_sharded_factory", as_it_is, wraps=True),
        Patch(f"{_LAYER}.__init__", of_layers, wraps=True),
        Patch(f"{_BLOCK}._build_layers", with_last_norm, wraps=True),
        Patch(f"{_BLOCK}.forward", between_ends, wraps=True),
        Patch(f"{_P2P}:_communicate", of_parts, wraps=True, until="0.14"),
        Patch(f"{_P2P}:P2PCommunicator._communicate", of_parts, wraps=True, since="0.14"),
        Patch(f"{_GRADS}:_allreduce_layernorm_grads", summing, wraps=True, until="0.13"),
        Patch(f"{_GRADS}:_allreduce_non_tensor_model_parallel_grads", summing, wraps=True, since="0.13"),
        Patch(
            "megatron.core.models.common.embeddings.rotary_pos_embedding:RotaryEmbedding.get_rotary_seq_len",
            of_whole_sequence,
            wraps=True,
        ),
    ),
)
