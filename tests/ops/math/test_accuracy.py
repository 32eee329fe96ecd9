"""The vector functions of simd_math.h over the whole range of float: a sweep of bit patterns against float64.

Bounds in units in the last place are those that the header states; subnormal results count in the smallest normal's
unit. Checked through the operators whose float kernel is just that function.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from aclnn import call
from compare import assert_close

FUNCTIONS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], float]] = {
    "Exp": (torch.exp, 1), "Log": (torch.log, 1), "Tanh": (torch.tanh, 2), "Erf": (torch.erf, 2),
    "Sigmoid": (torch.sigmoid, 3), "Expm1": (torch.expm1, 2), "Log2": (torch.log2, 2), "Log1p": (torch.log1p, 2),
    "Sin": (torch.sin, 2), "Cos": (torch.cos, 2), "Exp2": (torch.exp2, 1), "Log10": (torch.log10, 1.1),
    "Rsqrt": (torch.rsqrt, 1.5), "Tan": (torch.tan, 2), "Atan": (torch.atan, 2), "Asin": (torch.asin, 2),
    "Acos": (torch.acos, 2), "Sinh": (torch.sinh, 2), "Cosh": (torch.cosh, 2), "Asinh": (torch.asinh, 2),
    "Acosh": (torch.acosh, 2), "Atanh": (torch.atanh, 2), "Erfc": (torch.erfc, 2),
}  # fmt: skip
# Of bfloat16 too: exact, or a single operation.
WHOLE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "Floor": torch.floor, "Ceil": torch.ceil, "Trunc": torch.trunc, "Frac": torch.frac, "Round": torch.round,
    "Sqrt": torch.sqrt, "Reciprocal": torch.reciprocal,
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


@pytest.mark.parametrize("name", (*FUNCTIONS, *WHOLE))
def test_every_bfloat16(name: str) -> None:
    """One unit at most, as results are rounded once; at an odd length, so that the last ones go another way."""
    reference = WHOLE[name] if name in WHOLE else FUNCTIONS[name][0]
    x = torch.arange(-(2**15), 2**15 - 5, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    out = torch.empty_like(x)
    call(f"aclnn{name}", x, out)
    assert_close(out, reference(x.double()), max_ulp=1)


def test_angles_of_points() -> None:
    """Any pair of floats, and each with the numbers that choose a side or a quarter."""
    x = sweep()
    ends = torch.tensor([0.0, -0.0, 1.0, -1.0, float("inf"), -float("inf"), float("nan"), 1e-45, -3.4e38])
    few = torch.cat([ends, x[::4099]])
    other = x[torch.randperm(x.numel(), generator=torch.Generator().manual_seed(3))]
    near = x * torch.linspace(0.25, 4, x.numel())
    for a, b in ((x, other), (x, near), (ends.repeat_interleave(few.numel()), few.repeat(ends.numel())),
                 (few.repeat(ends.numel()), ends.repeat_interleave(few.numel()))):  # fmt: skip
        out = torch.empty_like(a)
        call("aclnnAtan2", a, b, out)
        expected = torch.atan2(a.double(), b.double())
        assert_close(out, expected, max_ulp=2)
        numbers = ~expected.isnan()
        assert torch.equal(out.signbit()[numbers], expected.signbit()[numbers])


def test_signs_of_zeros_stay() -> None:
    x = torch.tensor([0.0, -0.0])
    for name in ("Atan", "Asin", "Sinh", "Asinh", "Atanh", "Log1p", "Floor", "Ceil", "Round"):
        for dtype in (torch.float32, torch.bfloat16):
            out = torch.empty(2, dtype=dtype)
            call(f"aclnn{name}", x.to(dtype), out)
            assert torch.equal(out.signbit(), x.signbit()), (name, dtype)


def test_roots_are_correctly_rounded() -> None:
    """Every mantissa, for an even and an odd exponent, and numbers near both ends of the range."""
    first, last = 0x3F800000, 0x40800000  # 1 and 4
    near_ends = torch.arange(0, 0x7F900000, 4093, dtype=torch.int32)
    for bits in (torch.arange(first, last, dtype=torch.int32), near_ends):
        x = bits.view(torch.float32)
        out = torch.empty_like(x)
        call("aclnnSqrt", x, out)
        assert_close(out, torch.sqrt(x.double()).float(), max_ulp=0)


@pytest.mark.parametrize("name", ("Fmod", "Remainder"))
def test_remainder_whole_range(name: str) -> None:
    """Exact for quotients of any size: half of them are small, as those of numbers that are used."""
    x = sweep()
    y = x.flip(0).clone()
    y[::2] = x[::2] * torch.linspace(0.001, 3, y[::2].numel())
    out = torch.empty_like(x)
    call("aclnnFmodTensor" if name == "Fmod" else "aclnnRemainderTensorTensor", x, y, out)
    # The C library's, exact; PyTorch's vectors give up where the quotient is huge.
    with np.errstate(invalid="ignore"):
        rest = torch.from_numpy(np.fmod(x.numpy(), y.numpy()))
    other_sign = (rest != 0) & ((rest < 0) != (y < 0))
    expected = torch.where(other_sign, rest + y, rest) if name == "Remainder" else rest
    assert_close(out, expected, max_ulp=0)


def test_power_whole_range() -> None:
    x = sweep()
    g = torch.Generator().manual_seed(1)
    y = torch.rand(x.shape, generator=g) * 8 - 4
    y[::3] = torch.round(y[::3])
    y[1::31] = x.flip(0)[1::31]
    out = torch.empty_like(x)
    call("aclnnPowTensorTensor", x, y, out)
    assert_close(out, torch.pow(x.double(), y.double()), max_ulp=1)
