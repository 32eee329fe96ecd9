# SPDX-License-Identifier: Apache-2.0
"""y = x w^T and its gradients with factors in 8 bits, one scheme for each recipe of Transformer Engine.

A scheme quantises what it is given and multiplies; sums are float32 and results are of the type of x. Each tensor is
quantised once along the dimension that a product sums over:

    tensorwise  one scale for a tensor, from its largest value, so that one quantisation serves all products
    delayed     the same, with the scale from the largest values of steps before
    mxfp8       scales of 32 numbers, powers of two; a tensor that is summed over both ways is quantised twice
    mxfp8-32x32 the same with scales of squares for weights, which are quantised once
    blockwise   float32 scales of 1 x 128 of the left factor and of 128 x 128 of the right one
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch_npu


@dataclass(frozen=True, slots=True, kw_only=True)
class Type:
    """What an operand becomes, and the largest value that is made of its largest one (0: the type's own)."""

    dtype: Any
    largest: float
    chosen: bool = False

    @property
    def named(self) -> Any:
        """For products: a type that PyTorch has not is bytes, whose meaning they are told."""
        return None if isinstance(self.dtype, torch.dtype) else self.dtype


E4M3 = Type(dtype=torch.float8_e4m3fn, largest=448.0)
E5M2 = Type(dtype=torch.float8_e5m2, largest=57344.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Types:
    """Of activations and weights, and of gradients."""

    forward: Type
    backward: Type


_FORMATS = {
    "e4m3": Types(forward=E4M3, backward=E4M3),
    "hybrid": Types(forward=E4M3, backward=E5M2),
}


def types_of(form: str) -> Types:
    """Of Megatron's --fp8-format."""
    if form != "hif8":
        return _FORMATS[form]
    hifloat8 = getattr(torch_npu, "hifloat8", None)  # wheels up to 2.9 have none
    if hifloat8 is None:
        raise RuntimeError(
            f"--fp8-format hif8: torch_npu {torch_npu.__version__} has no hifloat8; take a later one"
        )
    # It is most precise near 1: activations and weights end at 15, gradients at 224.
    return Types(
        forward=Type(dtype=hifloat8, largest=15.0, chosen=True),
        backward=Type(dtype=hifloat8, largest=224.0, chosen=True),
    )


class Operand(NamedTuple):
    """Numbers of 8 bits, their scales, and what they are."""

    data: torch.Tensor
    scale: torch.Tensor
    type: Type

    def t(self) -> Operand:
        """Scales of blocks turn with what they belong to; a single one does not."""
        scale = self.scale.transpose(0, 1) if self.scale.dim() > 1 else self.scale
        return Operand(self.data.t(), scale, self.type)


def pair(numbers_and_scales: Sequence[torch.Tensor], what: Type) -> Operand:
    """What a quantiser returns, or what was kept of it."""
    data, scale = numbers_and_scales
    return Operand(data, scale, what)


def multiply(
    left: Operand, right: Operand, dtype: torch.dtype, groups: list[int] | None = None
) -> torch.Tensor:
    """left [m, k] @ right [k, n] in `dtype`."""
    scales = torch_npu.float8_e8m0fnu if left.scale.dtype == torch.uint8 else None
    product: torch.Tensor = torch_npu.npu_quant_matmul(
        left.data, right.data, right.scale, pertoken_scale=left.scale, output_dtype=dtype, x1_dtype=left.type.named,
        x2_dtype=right.type.named, scale_dtype=scales, pertoken_scale_dtype=scales, group_sizes=groups,
    )  # fmt: skip
    return product


def quantised(weight: Any, kind: str, make: Callable[[torch.Tensor], Any]) -> Any:
    """What a scheme multiplies by: made of the values, or held by what stands for them (fp8_weights.py)."""
    held = getattr(weight, "held", None)
    return make(weight) if held is None else held(kind, make)


class Scheme(abc.ABC):
    """The products of one layer. `kept` is what output() leaves for the gradients, tensors in a fixed order."""

    def __init__(self, types: Types) -> None:
        self.types = types

    @abc.abstractmethod
    def output(self, x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """x [n, in], weight [out, in] -> [n, out]"""

    @abc.abstractmethod
    def gradients(self, grad: torch.Tensor) -> Gradients:
        """Of a gradient [n, out] that is quantised as its products want it."""


class Gradients(abc.ABC):
    """Products of one gradient; quantised when the first that wants it is computed."""

    def __init__(self, scheme: Any, grad: torch.Tensor) -> None:
        self.scheme, self.grad = scheme, grad

    @abc.abstractmethod
    def of_input(self, weight: torch.Tensor, kept: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """grad @ weight: [n, in]"""

    @abc.abstractmethod
    def of_weight(self, kept: tuple[torch.Tensor, ...], dtype: torch.dtype) -> torch.Tensor:
        """grad^T @ x: [out, in]"""


# ---- one scale for a tensor ----


class PerTensor(Scheme):
    """Scales from the tensor itself."""

    def quantise(self, what: str, t: torch.Tensor, to: Type) -> Operand:
        data, scale = torch_npu.npu_dynamic_quant(
            t, dst_type=to.dtype, quant_mode="pertensor", dst_type_max=to.largest if to.chosen else 0.0
        )
        return Operand(data, scale, to)

    def output(self, x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        left = self.quantise("input", x, self.types.forward)
        right = quantised(
            weight, "tensor", lambda values: self.quantise("weight", values.to(x.dtype), self.types.forward)
        )
        kept = (left.data, left.scale, right.data, right.scale)
        return multiply(left, right.t(), x.dtype), kept

    def gradients(self, grad: torch.Tensor) -> Gradients:
        return PerTensorGradients(self, grad)


class PerTensorGradients(Gradients):
    """One quantisation of the gradient for both."""

    def __init__(self, scheme: PerTensor, grad: torch.Tensor) -> None:
        super().__init__(scheme, grad)
        self.quantised = scheme.quantise("gradient", grad, scheme.types.backward)

    def of_input(self, weight: torch.Tensor, kept: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return multiply(self.quantised, pair(kept[2:], self.scheme.types.forward), self.grad.dtype)

    def of_weight(self, kept: tuple[torch.Tensor, ...], dtype: torch.dtype) -> torch.Tensor:
        return multiply(self.quantised.t(), pair(kept[:2], self.scheme.types.forward), dtype)


@dataclass(slots=True)
class History:
    """The largest values of a tensor's last steps, newest last."""

    length: int
    newest: bool  # the scale follows the last one alone
    values: list[torch.Tensor] = field(default_factory=list)

    def next(self, largest: torch.Tensor) -> torch.Tensor:
        """What the scale is made of now; the first time there is nothing older than this step."""
        known = self.values or [largest]
        self.values = [*self.values, largest][-self.length :]
        return known[-1] if self.newest or len(known) == 1 else torch.stack(known).amax(0)


class Delayed(PerTensor):
    """Scales from steps before, so that a tensor need not be read twice on a device where that counts."""

    def __init__(
        self,
        types: Types,
        length: int,
        newest: bool,
        margin: int,
        reduce: Callable[[torch.Tensor], None] | None,
    ) -> None:
        super().__init__(types)
        self.length, self.newest, self.margin, self.reduce = length, newest, margin, reduce
        self.histories: dict[str, History] = {}

    def quantise(self, what: str, t: torch.Tensor, to: Type) -> Operand:
        largest = t.detach().abs().amax().float().reshape(1)
        if self.reduce is not None:
            self.reduce(largest)
        history = self.histories.setdefault(what, History(self.length, self.newest))
        scale = history.next(largest) * 2.0**self.margin / to.largest
        # Zeros have no largest value, nor has what overflowed: their scale is 1.
        scale = torch.where((scale > 0) & scale.isfinite(), scale, torch.ones_like(scale))
        return Operand(torch_npu.npu_quantize(t, scale, None, to.dtype, -1), scale, to)


# ---- scales of blocks ----

MX_GROUPS, BLOCK = [1, 1, 32], 128
BLOCK_GROUPS = [1, BLOCK, BLOCK]


def _groups(t: torch.Tensor, to: Type, axis: int) -> Operand:
    return pair(torch_npu.npu_dynamic_mx_quant(t, axis=axis, dst_type=to.dtype), to)


class MX(Scheme):
    """What is kept of x is quantised along the rows, for the weight's gradient; the weight is quantised again."""

    def output(self, x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        to = self.types.forward
        data, scale, kept, kept_scale = torch_npu.npu_dynamic_mx_quant_with_dual_axis(x, dst_type=to.dtype)
        right = quantised(weight, "rows", lambda values: _groups(values.to(x.dtype), to, -1))
        return multiply(Operand(data, scale, to), right.t(), x.dtype, MX_GROUPS), (kept, kept_scale)

    def gradients(self, grad: torch.Tensor) -> Gradients:
        return MXGradients(self, grad)


class MXGradients(Gradients):
    """Along both dimensions at once."""

    def __init__(self, scheme: MX, grad: torch.Tensor) -> None:
        super().__init__(scheme, grad)
        to = scheme.types.backward
        parts = torch_npu.npu_dynamic_mx_quant_with_dual_axis(grad, dst_type=to.dtype)
        self.by_rows, self.by_columns = pair(parts[:2], to), pair(parts[2:], to)

    def of_input(self, weight: torch.Tensor, kept: tuple[torch.Tensor, ...]) -> torch.Tensor:
        to = self.scheme.types.forward
        right = quantised(weight, "columns", lambda values: _groups(values.to(self.grad.dtype), to, 0))
        return multiply(self.by_rows, right, self.grad.dtype, MX_GROUPS)

    def of_weight(self, kept: tuple[torch.Tensor, ...], dtype: torch.dtype) -> torch.Tensor:
        return multiply(self.by_columns.t(), pair(kept, self.scheme.types.forward), dtype, MX_GROUPS)


class MXSquares(MX):
    """The weight has scales of squares of 32 by 32, so that one quantisation serves both of its products."""

    def output(self, x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        to = self.types.forward
        data, scale, kept, kept_scale = torch_npu.npu_dynamic_mx_quant_with_dual_axis(x, dst_type=to.dtype)
        square, by_rows, by_columns = quantised(
            weight,
            "squares",
            lambda values: torch_npu.npu_dynamic_block_mx_quant(values.to(x.dtype), dst_type=to.dtype),
        )
        y = multiply(Operand(data, scale, to), Operand(square, by_rows, to).t(), x.dtype, MX_GROUPS)
        return y, (kept, kept_scale, square, by_columns)

    def gradients(self, grad: torch.Tensor) -> Gradients:
        return MXSquareGradients(self, grad)


class MXSquareGradients(MXGradients):
    """By the weight that was quantised forward."""

    def of_input(self, weight: torch.Tensor, kept: tuple[torch.Tensor, ...]) -> torch.Tensor:
        right = pair(kept[2:], self.scheme.types.forward)
        return multiply(self.by_rows, right, self.grad.dtype, MX_GROUPS)

    def of_weight(self, kept: tuple[torch.Tensor, ...], dtype: torch.dtype) -> torch.Tensor:
        return super().of_weight(kept[:2], dtype)


def _blocks(t: torch.Tensor, to: Type, rows: int) -> Operand:
    data, scale = torch_npu.npu_dynamic_block_quant(
        t, dst_type=to.dtype, row_block_size=rows, col_block_size=BLOCK
    )
    return Operand(data, scale, to)


class Blockwise(Scheme):
    """A factor on the right has square blocks, which serve both ways."""

    def output(self, x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        to = self.types.forward
        right = quantised(weight, "tiles", lambda values: _blocks(values.to(x.dtype), to, BLOCK))
        kept = _blocks(x, to, BLOCK)
        y = multiply(_blocks(x, to, 1), right.t(), x.dtype, BLOCK_GROUPS)
        return y, (kept.data, kept.scale, right.data, right.scale)

    def gradients(self, grad: torch.Tensor) -> Gradients:
        return BlockwiseGradients(self, grad)


class BlockwiseGradients(Gradients):
    """The gradient is on the left both times, each way with blocks of its own."""

    def of_input(self, weight: torch.Tensor, kept: tuple[torch.Tensor, ...]) -> torch.Tensor:
        left = _blocks(self.grad, self.scheme.types.backward, 1)
        return multiply(left, pair(kept[2:], self.scheme.types.forward), self.grad.dtype, BLOCK_GROUPS)

    def of_weight(self, kept: tuple[torch.Tensor, ...], dtype: torch.dtype) -> torch.Tensor:
        left = _blocks(self.grad.t(), self.scheme.types.backward, 1)
        return multiply(left, pair(kept[:2], self.scheme.types.forward), dtype, BLOCK_GROUPS)
