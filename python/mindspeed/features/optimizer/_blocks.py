# SPDX-License-Identifier: Apache-2.0
"""Numbers of one byte with a scale for each block: how Adam's averages are kept by --quant-states.

    fp8    e4m3 and e5m2, blocks of 128 whose largest number becomes the type's largest; scales are float32
    hif8   hifloat8, blocks of 128 whose largest number becomes 15 (first average) or 224 (second)
    mxfp8  e4m3 and e5m2 of squares, blocks of 32, scales are powers of two (e8m0)

Squares halve the range and give each number a bit more of precision; the first average's keep their sign. What is encoded is
rounded to bfloat16 first, which the quantisers of an NPU take. That also makes coding stable: decoded numbers have the codes
and the scales that they came from, so a checkpoint that holds float32 goes on with the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch_npu

from mindspeed.features.optimizer._sliced_adam import SLICE, Kept, slices

FP8, HIF8, MXFP8 = "fp8", "hif8", "mxfp8"
KINDS = (FP8, HIF8, MXFP8)
BLOCK = 128
MX_BLOCK = 32
SCALES_OF_MX = BLOCK // MX_BLOCK  # of e8m0, which come in pairs
# Blocks of zeros are divided by it. Far below any scale of numbers that matter.
_LEAST_SCALE = 2.0**-120


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A type of one byte and how its blocks are scaled.

    dtype    torch's, or torch_npu's number of hifloat8.
    largest  what a block's largest number becomes, of hifloat8; 0: the type's largest.
    squares  powers of two as scales, of signed squares.
    """

    dtype: Any
    largest: float = 0.0
    squares: bool = False

    @property
    def stored(self) -> torch.dtype:
        return self.dtype if isinstance(self.dtype, torch.dtype) else torch.uint8

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes and scales, flat, of what is a slice."""
        rows = x.view(-1, BLOCK) if x.numel() % BLOCK == 0 else x.view(1, -1)
        if self.squares:
            data, scale = torch_npu.npu_dynamic_mx_quant(
                (rows * rows.abs()).bfloat16(), dst_type=self.dtype, block_size=MX_BLOCK
            )
        else:
            data, scale = torch_npu.npu_dynamic_block_quant(
                rows.bfloat16(), min_scale=_LEAST_SCALE, dst_type=self.dtype, row_block_size=1, col_block_size=BLOCK,
                dst_type_max=self.largest,
            )  # fmt: skip
        return data.view(-1), scale.view(-1)

    def decode(self, data: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """float32, flat."""
        width = BLOCK if data.numel() % BLOCK == 0 else data.numel()
        rows = data.view(-1, width)
        if self.squares:
            squares = torch_npu.npu_anti_mx_quant(
                rows, scale.view(rows.shape[0], -1, 2), dst_type=torch.float32, src_type=self.dtype
            )
            return (squares.abs().sqrt_() * squares.sign_()).view(-1)
        if self.stored is torch.uint8:
            numbers = torch_npu.npu_dtype_cast(rows, torch.float32, input_dtype=self.dtype)
        else:
            numbers = rows.float()
        return numbers.mul_(scale.view(-1, 1)).view(-1)


def forms(kind: str) -> tuple[Form, Form]:
    """Of the first average and of the second, which is never negative and needs range more than precision."""
    if kind == HIF8:
        hifloat8 = getattr(torch_npu, "hifloat8", None)  # wheels up to 2.9 have none
        if hifloat8 is None:
            raise RuntimeError(
                f"--quant-states hif8: torch_npu {torch_npu.__version__} has no hifloat8; take a later one, or another kind"
            )
        return Form(dtype=hifloat8, largest=15.0), Form(dtype=hifloat8, largest=224.0)
    squares = kind == MXFP8
    return (
        Form(dtype=torch.float8_e4m3fn, squares=squares),
        Form(dtype=torch.float8_e5m2, squares=squares),
    )


class Coded(Kept):
    """A tensor in a form."""

    def __init__(self, form: Form, like: torch.Tensor) -> None:
        super().__init__(like)
        self.form = form
        blocks = -(-like.numel() // BLOCK)
        # Zeros everywhere are zeros in all forms.
        self.data = torch.zeros(like.numel(), dtype=form.stored, device=like.device)
        if form.squares:
            self.scale = torch.zeros(blocks * SCALES_OF_MX, dtype=torch.uint8, device=like.device)
        else:
            self.scale = torch.zeros(blocks, dtype=torch.float32, device=like.device)

    @property
    def nbytes(self) -> int:
        return int(self.data.nbytes + self.scale.nbytes)

    def slices(self) -> Iterator[tuple[int, int]]:
        return slices(self.data.numel(), SLICE, BLOCK)

    def _scales(self, start: int, stop: int) -> slice:
        if not self.form.squares:
            return slice(start // BLOCK, -(-stop // BLOCK))
        first = start // BLOCK * SCALES_OF_MX
        return slice(first, first + 2 * -(-(stop - start) // (2 * MX_BLOCK)))

    def read(self, start: int, stop: int) -> torch.Tensor:
        return self.form.decode(self.data[start:stop], self.scale[self._scales(start, stop)])

    def write(self, start: int, stop: int, values: torch.Tensor) -> None:
        data, scale = self.form.encode(values)
        self.data[start:stop].copy_(data)
        self.scale[self._scales(start, stop)].copy_(scale.view(self.scale.dtype))
