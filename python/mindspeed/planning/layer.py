# SPDX-License-Identifier: Apache-2.0
"""What autograd keeps of one layer, and what its backward pass needs besides.

Each term was read from the allocator's history at the peak of real runs (bench/plan_memory.py): which tensors live there, and which
line has made them. The names say whose tensors they are; the comments why they live.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mindspeed.planning.shape import FP32, Shape, value_of

STATISTICS = 2 * 8 * FP32  # of flash attention, per query and head: maximum and sum, each eight times


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Bytes after the forward pass.

    norm        results of the norm before attention, and what that norm keeps itself
    projected   queries, keys and values as the projection gives them, and what positions make of them
    core        what attention keeps between these and its result
    context     its result, as the output projection keeps it
    attended    the stream with attention added, and the bits of its dropout
    mlp_norm    as norm, before the MLP
    first       result of the MLP's first linear layer; of experts also their rows of the stream
    activated   result of its activation function, which the second linear layer keeps
    added       the stream with the MLP added, and the bits of its dropout
    """

    norm: int
    projected: int
    core: int
    context: int
    attended: int
    mlp_norm: int
    first: int
    activated: int
    added: int

    @property
    def attention(self) -> int:
        return self.norm + self.projected + self.core + self.context + self.attended

    @property
    def total(self) -> int:
        return self.attention + self.mlp_norm + self.first + self.activated + self.added


def layer(shape: Shape, is_moe: bool) -> Layer:
    first, activated = _mlp(shape, is_moe)
    added = shape.stream * shape.dtype + (shape.stream // 8 if shape.dropout("hidden_dropout") else 0)
    return Layer(
        norm=_norm(shape),
        projected=_projected(shape),
        core=_core(shape),
        context=_context(shape),
        attended=added,
        mlp_norm=_norm(shape),
        first=first,
        activated=activated,
        added=added,
    )


def _norm(shape: Shape) -> int:
    """The result, which the next linear layer keeps; per row mean and deviation (LayerNorm), or the deviation."""
    rows = shape.stream // shape.hidden
    if value_of(shape.args, "normalization", "LayerNorm") != "RMSNorm":
        return shape.stream * shape.dtype + 2 * FP32 * rows
    kept = shape.stream * shape.dtype + FP32 * rows
    if shape.is_local and "fused-rmsnorm" not in shape.features:
        # PyTorch's is written out: in float32 it keeps its quotient, of halves their float32 copy too.
        kept += shape.stream * FP32 * (1 if shape.dtype == FP32 else 2)
    return kept


def _projected(shape: Shape) -> int:
    """Of queries, keys and values both the projection's result and copies, where the core wants them in other places."""
    mixed, copies = shape.queries + 2 * shape.keys, 0
    if shape.has_rope:
        positions, needs_mixed = _positions(shape)
        copies += positions
    else:
        needs_mixed = False
    if shape.is_flash:
        copies += mixed
    else:
        # Queries and keys are views of the projection's result, or the turned ones; values are views of it.
        needs_mixed = True
        copies += shape.queries + shape.keys if shape.has_rope else 0
        # Keys and values repeated for every query of their group.
        copies += 2 * shape.queries if shape.groups != shape.heads else 0
    tables = _tables(shape) if shape.has_rope and "fused-rope" not in shape.features else 0
    return (copies + (mixed if needs_mixed else 0)) * shape.dtype + tables


def _positions(shape: Shape) -> tuple[int, bool]:
    """(elements that rotary positions keep, whether they keep the projection's result): what is turned, before it is."""
    grouped = shape.queries if shape.groups != shape.heads else 0  # queries of a group lie apart: a copy
    if "fused-rope" in shape.features:
        return grouped, True
    if _is_rope_fused(shape):
        return shape.queries + shape.keys, False  # the stand-in makes contiguous copies
    return 0, False  # products with tables keep the tables alone


def _is_rope_fused(shape: Shape) -> bool:
    return bool(value_of(shape.args, "apply_rope_fusion", True))


def _tables(shape: Shape) -> int:
    """Cosines and sines, made anew for queries and for keys of each layer."""
    return 2 * 2 * shape.sequence * shape.channels * shape.dtype


def _core(shape: Shape) -> int:
    if shape.is_flash:
        # Its own result in its own layout, and the statistics of its softmax.
        return shape.queries * shape.dtype + STATISTICS * shape.tokens * shape.heads // shape.tp
    kept = shape.scores * shape.dtype  # probabilities
    if _is_softmax_wide(shape):
        kept += shape.scores * FP32
    if shape.dropout("attention_dropout"):
        kept += (
            shape.scores * shape.dtype + shape.scores // 8
        )  # what is left of them, and the bits that say what
    return kept


def _is_softmax_fused(shape: Shape) -> bool:
    return "fused-softmax" in shape.features and bool(value_of(shape.args, "masked_softmax_fusion", True))


def _is_softmax_wide(shape: Shape) -> bool:
    """Written out, it can keep its float32 result beside the halves that are made of it."""
    wide = value_of(shape.args, "attention_softmax_in_fp32", False) and shape.dtype != FP32
    return bool(wide and not _is_softmax_fused(shape))


def inputs_of_core(shape: Shape) -> int:
    """A core that runs again keeps what comes to it in place of the copies that it makes: more or less than these."""
    if not (shape.is_flash and shape.has_rope):
        return 0  # as many elements
    mixed_is_kept = _positions(shape)[1]  # the values are a view of it
    return (-shape.keys if mixed_is_kept else shape.queries + shape.keys) * shape.dtype


def _context(shape: Shape) -> int:
    """The core's result again, if it comes in a layout that the next layer does not take."""
    if not shape.is_flash:
        return shape.queries * shape.dtype
    if shape.is_local or shape.batch == 1 or (shape.has_rope and _is_rope_fused(shape)):
        return 0
    return shape.queries * shape.dtype


def _mlp(shape: Shape, is_moe: bool) -> tuple[int, int]:
    """(first, activated)"""
    if not is_moe:
        return _widths(shape, shape.tokens, shape.ffn, shape.tp)
    rows = shape.tokens * int(value_of(shape.args, "moe_router_topk", 2))
    first, activated = _widths(shape, rows, shape.expert_ffn, shape.etp)
    first += rows * shape.hidden * shape.dtype  # the rows that experts are given
    first += shape.tokens * shape.experts * (FP32 + 2 * shape.dtype)  # the router
    if not shape.gated:
        first += rows * shape.expert_ffn // shape.etp * shape.dtype  # before it is weighted
    if shape.shared_ffn:
        shared = _widths(shape, shape.tokens, shape.shared_ffn, shape.tp)
        first, activated = first + shared[0], activated + shared[1]
    return first, activated


def _widths(shape: Shape, rows: int, ffn: int, tp: int) -> tuple[int, int]:
    activated = rows * ffn // tp * shape.dtype
    first = activated * (2 if shape.gated else 1)
    if shape.gated and not value_of(shape.args, "bias_swiglu_fusion", True):
        first += activated  # the gate after its function
    return first, activated


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Of a layer's backward pass: what the layer still keeps, and temporaries."""

    name: str
    kept: int
    temporaries: int


def recomputed_norms(shape: Shape, whole: Layer, is_moe: bool) -> tuple[int, int]:
    """What --recompute-norm does not keep, before attention and before the MLP: of norms that are modules of their own."""
    return whole.norm if shape.is_local else 0, whole.mlp_norm if shape.is_local or is_moe else 0


def backward(
    shape: Shape, whole: Layer, is_moe: bool, core: int, norms: tuple[int, int] = (0, 0)
) -> Iterator[Moment]:
    """The moments that may be the peak. `core` is what is kept of the core while the MLP's turn is; `norms` come later."""
    below = whole.total - whole.core + core - sum(norms)
    stream = shape.stream * shape.dtype
    rows, ffn = _rows_of_product(shape, is_moe)
    wide = whole.activated // shape.dtype if not is_moe else rows * ffn
    first = ffn * (2 if shape.gated else 1)
    yield Moment(
        name="second linear layer",
        kept=below,
        temporaries=stream + whole.activated + product(shape, ffn, shape.hidden),
    )
    below -= whole.activated
    yield Moment(
        name="activation function",
        kept=below,
        temporaries=stream + activation_temporaries(shape) * wide * shape.dtype,
    )
    below += norms[1] - whole.first
    yield Moment(
        name="first linear layer",
        kept=below,
        temporaries=2 * stream + rows * first * shape.dtype + product(shape, shape.hidden, first),
    )
    yield Moment(
        name="attention",
        kept=whole.attention + whole.added - (0 if shape.is_flash else whole.core),
        temporaries=2 * stream + _attention_temporaries(shape),
    )


def _rows_of_product(shape: Shape, is_moe: bool) -> tuple[int, int]:
    """(rows, width) of an MLP, of grouped experts, or of one expert: their products come one after the other."""
    if not is_moe:
        return shape.tokens, shape.ffn // shape.tp
    rows = shape.tokens * int(value_of(shape.args, "moe_router_topk", 2))
    if not value_of(shape.args, "moe_grouped_gemm", False):
        rows = rows * shape.ep // shape.experts
    return rows, shape.expert_ffn // shape.etp


def product(shape: Shape, inputs: int, outputs: int) -> int:
    """A weight's gradient, or what tells hooks that it has been added to the gradients' buffer."""
    return inputs * outputs * shape.dtype


def activation_temporaries(shape: Shape) -> int:
    """Tensors as wide as the activation function's result: the gradient that comes, what it is made into, steps between."""
    if shape.gated:
        return 3 if "fused-swiglu" in shape.features else 7
    fused = shape.bias and value_of(shape.args, "bias_gelu_fusion", True)
    if not fused:
        return 2
    return 3 if "fused-gelu" in shape.features else 7


def _attention_temporaries(shape: Shape) -> int:
    inputs = (shape.queries + 2 * shape.keys) * shape.dtype
    if shape.is_flash:
        # The result's gradient in two layouts, those of queries, keys and values, and these side by side.
        return 2 * shape.queries * shape.dtype + 2 * inputs
    # In place of the core: gradients of probabilities, of scores before the mask and before scaling, and of the product.
    if _is_softmax_fused(shape):
        return 3 * shape.scores * shape.dtype + shape.queries * shape.dtype
    wide = FP32 if _is_softmax_wide(shape) else shape.dtype
    return 2 * shape.scores * (wide + shape.dtype) + shape.queries * shape.dtype
