# SPDX-License-Identifier: Apache-2.0
"""Weights [out, in] that are kept in 8 bits, in the form in which a scheme of fp8_products multiplies by them.

A form has blocks with a scale each. Where a rank has the new values of a part of a weight only, the largest value of each block is
that of all ranks; the rank then quantises its part inside of a weight whose other values are these, so that numbers and scales are
those of the whole.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import torch
import torch_npu

from mindspeed.ops.fp8_products import BLOCK, History, Operand, Type, quantised

Scales = tuple[torch.Tensor, ...]
MX_BLOCK = 32


def usable(scale: torch.Tensor) -> torch.Tensor:
    """Zeros have no largest value, nor has what overflowed: their scale is 1."""
    return torch.where((scale > 0) & scale.isfinite(), scale, torch.ones_like(scale))


class Form(abc.ABC):
    """Of one weight. `kind` is what a scheme asks for."""

    kind: str

    def __init__(self, to: Type) -> None:
        self.to = to

    @abc.abstractmethod
    def quantise(self, whole: torch.Tensor) -> tuple[torch.Tensor, Scales]:
        """Numbers, as bytes, and scales."""

    @abc.abstractmethod
    def values(self, data: torch.Tensor, scales: Scales) -> torch.Tensor:
        """In float32."""

    @abc.abstractmethod
    def operand(self, kind: str, data: torch.Tensor, scales: Scales) -> Any:
        """What a scheme that asks for this kind multiplies by; None: it is of another recipe."""

    @abc.abstractmethod
    def largest(self, part: torch.Tensor, first: int, shape: torch.Size) -> torch.Tensor:
        """Of each block, in float32: 0 where the part, from element `first` on, has none of it."""

    @abc.abstractmethod
    def quantise_part(
        self, part: torch.Tensor, first: int, shape: torch.Size, largest: torch.Tensor
    ) -> tuple[torch.Tensor, Scales]:
        """Numbers of the part, and scales of the whole."""

    def numbers(self, data: torch.Tensor) -> torch.Tensor:
        return data.view(self.to.dtype)


class OneScale(Form):
    """Of the whole weight; with a history it follows steps before, as activations' scales do."""

    kind = "tensor"

    def __init__(self, to: Type, history: History | None = None, margin: int = 0) -> None:
        super().__init__(to)
        self.history, self.margin = history, margin

    def quantise(self, whole: torch.Tensor) -> tuple[torch.Tensor, Scales]:
        """Values that are given anew have no history."""
        if self.history is not None:
            self.history.values.clear()
        data, scales = self.quantise_part(
            whole.reshape(-1), 0, whole.shape, self.largest(whole, 0, whole.shape)
        )
        return data.view(whole.shape), scales

    def values(self, data: torch.Tensor, scales: Scales) -> torch.Tensor:
        return self.numbers(data).float() * scales[0]

    def operand(self, kind: str, data: torch.Tensor, scales: Scales) -> Any:
        return Operand(self.numbers(data), scales[0], self.to) if kind == self.kind else None

    def largest(self, part: torch.Tensor, first: int, shape: torch.Size) -> torch.Tensor:
        if part.numel() == 0:
            return torch.zeros(1, device=part.device)
        return part.detach().abs().amax().float().reshape(1)

    def quantise_part(
        self, part: torch.Tensor, first: int, shape: torch.Size, largest: torch.Tensor
    ) -> tuple[torch.Tensor, Scales]:
        if self.history is None:
            # As activations are quantised, by an operator that finds the largest value: it is made to find this one.
            with_it = torch.cat([part.reshape(-1), largest.to(part.dtype)]).view(1, -1)
            data, scale = torch_npu.npu_dynamic_quant(with_it, dst_type=self.to.dtype, quant_mode="pertensor")
            return data.view(torch.uint8).view(-1)[:-1], (scale,)
        scale = usable(self.history.next(largest) * 2.0**self.margin / self.to.largest)
        if part.numel() == 0:
            return part.new_empty(0, dtype=torch.uint8), (scale,)
        return torch_npu.npu_quantize(part, scale, None, self.to.dtype, -1).view(torch.uint8), (scale,)


class InBlocks(Form):
    """Blocks of rows and columns."""

    block: tuple[int, int]

    def _in_blocks(self, whole: torch.Tensor) -> torch.Tensor:
        """[blocks down, rows, blocks along, columns], filled up with zeros"""
        rows, columns = self.block
        filled = torch.nn.functional.pad(whole, (0, -whole.shape[1] % columns, 0, -whole.shape[0] % rows))
        return filled.view(filled.shape[0] // rows, rows, filled.shape[1] // columns, columns)

    def _spread(self, largest: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """Each block's for each of its elements."""
        wide = largest.repeat_interleave(self.block[0], 0)[: shape[0]]
        return wide.repeat_interleave(self.block[1], 1)[:, : shape[1]]

    def largest(self, part: torch.Tensor, first: int, shape: torch.Size) -> torch.Tensor:
        whole = part.new_zeros(shape.numel())
        whole[first : first + part.numel()] = part
        return self._in_blocks(whole.view(shape)).abs().amax((1, 3)).float()

    def quantise_part(
        self, part: torch.Tensor, first: int, shape: torch.Size, largest: torch.Tensor
    ) -> tuple[torch.Tensor, Scales]:
        last = first + part.numel()
        whole = self._spread(largest.to(part.dtype), shape).reshape(-1)
        whole[first:last] = part
        data, scales = self.quantise(whole.view(shape))
        return data.view(-1)[first:last], scales


class Tiles(InBlocks):
    """Of 128 x 128."""

    kind, block = "tiles", (BLOCK, BLOCK)

    def quantise(self, whole: torch.Tensor) -> tuple[torch.Tensor, Scales]:
        data, scale = torch_npu.npu_dynamic_block_quant(
            whole, dst_type=self.to.dtype, row_block_size=BLOCK, col_block_size=BLOCK
        )
        return data.view(torch.uint8), (scale,)

    def values(self, data: torch.Tensor, scales: Scales) -> torch.Tensor:
        return self.numbers(data).float() * self._spread(scales[0], data.shape)

    def operand(self, kind: str, data: torch.Tensor, scales: Scales) -> Any:
        return Operand(self.numbers(data), scales[0], self.to) if kind == self.kind else None


def _powers(scale: torch.Tensor) -> torch.Tensor:
    """[rows, groups of 64, 2] exponents -> [rows, groups of 32] factors"""
    return torch.exp2(scale.view(scale.shape[0], -1).float() - 127)


class Groups(InBlocks):
    """MX: of 32 along the inputs. Along the outputs they are made of these numbers when they are wanted: another copy would
    take as much as bf16. The scales are powers of two, so what changes is only what is small next to the largest of 32."""

    kind, block = "rows", (1, MX_BLOCK)

    def quantise(self, whole: torch.Tensor) -> tuple[torch.Tensor, Scales]:
        data, scale = torch_npu.npu_dynamic_mx_quant(whole, dst_type=self.to.dtype)
        return data.view(torch.uint8), (scale,)

    def values(self, data: torch.Tensor, scales: Scales) -> torch.Tensor:
        return self.numbers(data).float() * self._spread(_powers(scales[0]), data.shape)

    def operand(self, kind: str, data: torch.Tensor, scales: Scales) -> Any:
        return Operand(self.numbers(data), scales[0], self.to) if kind == self.kind else None


class Squares(InBlocks):
    """MX: of 32 x 32, with the scales laid out for both products."""

    kind, block = "squares", (MX_BLOCK, MX_BLOCK)

    def quantise(self, whole: torch.Tensor) -> tuple[torch.Tensor, Scales]:
        data, by_rows, by_columns = torch_npu.npu_dynamic_block_mx_quant(whole, dst_type=self.to.dtype)
        return data.view(torch.uint8), (by_rows, by_columns)

    def values(self, data: torch.Tensor, scales: Scales) -> torch.Tensor:
        wide = _powers(scales[0]).repeat_interleave(MX_BLOCK, 1)
        return self.numbers(data).float() * wide[:, : data.shape[1]]

    def operand(self, kind: str, data: torch.Tensor, scales: Scales) -> Any:
        return (self.numbers(data), *scales) if kind == self.kind else None


class Reused:
    """A weight whose quantised numbers serve all micro-batches of a step."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.weight = weight
        self._made: dict[str, Any] = {}

    def held(self, kind: str, make: Callable[[torch.Tensor], Any]) -> Any:
        if kind not in self._made:
            self._made[kind] = quantised(self.weight, kind, make)
        return self._made[kind]
