# SPDX-License-Identifier: Apache-2.0
"""MX formats there and back (npu_dynamic_mx_quant, npu_anti_mx_quant): numbers of the same type that the format could hold.

Gradients pass as they are, the straight-through estimator (Y. Bengio et al., arXiv 1308.3432).

    mxfp4  e2m1, halves away from zero, a scale is 2^(floor(log2 largest) - 2): what is larger than 6 then is 6
    mxfp8  e4m3, halves to even, a scale is 2^ceil(log2(largest / 448)): nothing is clipped
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch_npu

BLOCK = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    name: str
    rounding: str
    by_value: int  # the operator's scale_alg

    @property
    def dtype(self) -> Any:
        return torch_npu.float4_e2m1fn_x2 if self.name == "mxfp4" else torch.float8_e4m3fn


MXFP4 = Format(name="mxfp4", rounding="round", by_value=0)
MXFP8 = Format(name="mxfp8", rounding="rint", by_value=1)


def there_and_back(x: torch.Tensor, form: Format, axis: int, block: int = BLOCK) -> torch.Tensor:
    """Blocks of so many numbers along an axis share a scale; the last one may be shorter."""
    if form is MXFP4 and x.shape[-1] % 2:
        raise ValueError(
            f"mxfp4 has two numbers in a byte, and a tensor's last dimension is {x.shape[-1]}: wanted an even one"
        )
    dtype = form.dtype
    data, scale = torch_npu.npu_dynamic_mx_quant(
        x.contiguous(),
        axis=axis,
        round_mode=form.rounding,
        dst_type=dtype,
        block_size=block,
        scale_alg=form.by_value,
    )
    if block > BLOCK:
        scale = _for_short_blocks(scale, axis % x.dim(), x.shape[axis], block // BLOCK)
    return torch_npu.npu_anti_mx_quant(data, scale, axis=axis, dst_type=x.dtype, src_type=dtype)


def _for_short_blocks(scale: torch.Tensor, axis: int, length: int, times: int) -> torch.Tensor:
    """Scales lie in pairs, the last dimension, of blocks along an axis: each so often as the way back wants it."""
    single = scale.movedim(-1, axis + 1).flatten(axis, axis + 1)
    blocks = -(-length // BLOCK)
    wanted = single.view(torch.uint8).repeat_interleave(times, axis).narrow(axis, 0, blocks)
    if blocks % 2:
        wanted = torch.cat([wanted, torch.zeros_like(wanted.narrow(axis, 0, 1))], axis)
    return wanted.unflatten(axis, (-1, 2)).movedim(axis + 1, -1).contiguous().view(scale.dtype)


class Fake(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, form: Format, axis: int, block: int) -> torch.Tensor:
        return there_and_back(x, form, axis, block)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return grad, None, None, None


def fake(x: torch.Tensor, form: Format | None, axis: int = -1, block: int = BLOCK) -> torch.Tensor:
    if form is None or x.numel() == 0:
        return x
    found: torch.Tensor = Fake.apply(x, form, axis, block)
    return found
