"""The vector functions of simd_math.h over the whole range of float: a sweep of bit patterns against float64.

Bounds in units in the last place are those that the header states; subnormal results count in the smallest normal's
unit. Checked through the operators whose float kernel is just that function.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from aclnn import call
from compare import assert_close

FUNCTIONS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], float]] = {
    "Exp": (torch.exp, 1), "Log": (torch.log, 1), "Tanh": (torch.tanh, 2), "Erf": (torch.erf, 2),
    "Sigmoid": (torch.sigmoid, 3), "Expm1": (torch.expm1, 2), "Log2": (torch.log2, 2), "Log1p": (torch.log1p, 3),
    "Sin": (torch.sin, 2), "Cos": (torch.cos, 2),
}  # fmt: skip
STEP = 20011  # prime: every exponent, mantissas spread


def sweep() -> torch.Tensor:
    bits = torch.arange(-(2**31), 2**31, STEP, dtype=torch.int64).to(torch.int32)
    return bits.view(torch.float32)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_whole_range(name: str) -> None:
    reference, ulps = FUNCTIONS[name]
    x = sweep()
    out = torch.empty_like(x)
    call(f"aclnn{name}", x, out)
    assert_close(out, reference(x.double()), max_ulp=ulps)


def test_power_whole_range() -> None:
    x = sweep()
    g = torch.Generator().manual_seed(1)
    y = torch.rand(x.shape, generator=g) * 8 - 4
    y[::3] = torch.round(y[::3])
    y[1::31] = x.flip(0)[1::31]
    out = torch.empty_like(x)
    call("aclnnPowTensorTensor", x, y, out)
    assert_close(out, torch.pow(x.double(), y.double()), max_ulp=1)
