"""Functions of one tensor: every dtype, shape and layout against PyTorch in float64 (integers: PyTorch itself)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from aclnn import OperatorError, call, signatures
from compare import COMPLEX, FLOATS, INTS, SHAPES, assert_close, layouts, make, special_values

# operator: (reference, ULP of the output's dtype, low, high). Float results are also rounded to bf16 and fp16.
FLOAT_FUNCTIONS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], float, float, float]] = {
    "Exp": (torch.exp, 1.01, -80, 80),
    "Log": (torch.log, 1.01, 0, 50),
    "Log2": (torch.log2, 2, 0, 50),
    "Log10": (torch.log10, 1.1, 0, 50),
    "Log1p": (torch.log1p, 3, -0.9, 50),
    "Expm1": (torch.expm1, 2, -10, 10),
    "Exp2": (torch.exp2, 1, -20, 20),
    "Sqrt": (torch.sqrt, 1, 0, 50),
    "Rsqrt": (torch.rsqrt, 1.5, 0.01, 50),
    "Reciprocal": (torch.reciprocal, 1, -50, 50),
    "Sin": (torch.sin, 2, -1000, 1000),
    "Cos": (torch.cos, 2, -1000, 1000),
    "Tan": (torch.tan, 2, -10, 10),
    "Sinh": (torch.sinh, 2, -10, 10),
    "Cosh": (torch.cosh, 2, -10, 10),
    "Asin": (torch.asin, 2, -1, 1),
    "Acos": (torch.acos, 2, -1, 1),
    "Atan": (torch.atan, 2, -10, 10),
    "Asinh": (torch.asinh, 2, -10, 10),
    "Acosh": (torch.acosh, 2, 1, 10),
    "Atanh": (torch.atanh, 2, -1, 1),
    "Erf": (torch.erf, 2, -5, 5),
    "Erfc": (torch.erfc, 2, -3, 9),
}
EXACT: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "Neg": torch.neg, "Abs": torch.abs, "Sign": torch.sign, "Floor": torch.floor, "Ceil": torch.ceil,
    "Trunc": torch.trunc, "Round": torch.round, "Frac": torch.frac,
}  # fmt: skip
COMPLEX_FUNCTIONS = ("Exp", "Log", "Sqrt", "Rsqrt", "Reciprocal", "Sin", "Cos")

# Types that are also tried on the shape that needs several threads.
LARGE = (torch.float32, torch.bfloat16)


def unary(name: str, x: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    out = torch.empty(x.shape, dtype=dtype or x.dtype)
    call(f"aclnn{name}", x, out)
    return out


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", FLOAT_FUNCTIONS)
def test_float_function(name: str, dtype: torch.dtype) -> None:
    reference, ulps, low, high = FLOAT_FUNCTIONS[name]
    for shape in SHAPES if dtype in LARGE else SHAPES[:-1]:
        values = make(shape, dtype, low=low, high=high)
        expected = reference(values.double())
        for _, x in layouts(values):
            assert_close(unary(name, x), expected, max_ulp=max(ulps, 4) if dtype == torch.float64 else ulps)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", [n for n in FLOAT_FUNCTIONS if n != "Tan"])
def test_special_values(name: str, dtype: torch.dtype) -> None:
    x = special_values(dtype)
    assert_close(unary(name, x), FLOAT_FUNCTIONS[name][0](x.double()), max_ulp=3)


@pytest.mark.parametrize("dtype", (*INTS, torch.bool))
@pytest.mark.parametrize("name", FLOAT_FUNCTIONS)
def test_integers_become_float(name: str, dtype: torch.dtype) -> None:
    x = make((37,), dtype, low=0, high=2)
    expected = FLOAT_FUNCTIONS[name][0](x.double())
    assert_close(unary(name, x, torch.float32), expected, max_ulp=3)


@pytest.mark.parametrize("dtype", FLOATS + INTS)
@pytest.mark.parametrize("name", EXACT)
def test_exact_function(name: str, dtype: torch.dtype) -> None:
    if name == "Frac" and not dtype.is_floating_point:
        pytest.skip("PyTorch has no frac of integers")
    for shape in SHAPES if dtype in LARGE else SHAPES[:-1]:
        for _, x in layouts(make(shape, dtype)):
            assert_close(unary(name, x), EXACT[name](x), max_ulp=0)
    if dtype.is_floating_point:
        x = special_values(dtype)
        assert_close(unary(name, x), EXACT[name](x), max_ulp=0)


@pytest.mark.parametrize("dtype", COMPLEX)
@pytest.mark.parametrize("name", COMPLEX_FUNCTIONS)
def test_complex_function(name: str, dtype: torch.dtype) -> None:
    x = make((65,), dtype)
    expected = FLOAT_FUNCTIONS[name][0](x.to(torch.complex128))
    assert_close(unary(name, x), expected, max_ulp=4, atol=1e-14)


@pytest.mark.parametrize("dtype", COMPLEX)
def test_sign_of_complex(dtype: torch.dtype) -> None:
    x = make((65,), dtype)
    x[3], x[4], x[5] = 0, 5, -3j
    assert_close(unary("Sign", x), torch.sgn(x.to(torch.complex128)), max_ulp=1, atol=1e-15)


def test_abs_of_complex_is_real() -> None:
    x = make((65,), torch.complex64)
    assert_close(unary("Abs", x, torch.float32), torch.abs(x.to(torch.complex128)), max_ulp=1)


@pytest.mark.parametrize(
    "name", [n for n in (*FLOAT_FUNCTIONS, *EXACT) if f"aclnnInplace{n}" in signatures()]
)
def test_in_place(name: str) -> None:
    reference = FLOAT_FUNCTIONS[name][0] if name in FLOAT_FUNCTIONS else EXACT[name]
    wide = make((33, 70), torch.float32, low=0.1, high=0.9)
    for x in (wide.clone(), wide.clone()[:, 1::2], wide.clone().t()):
        expected = reference(x.double())
        try:
            call(f"aclnnInplace{name}", x)
        except AttributeError:
            pytest.skip("not implemented: op-plugin does not call it")
        assert_close(x, expected, max_ulp=3)


@pytest.mark.parametrize("decimals", (-40, -3, -1, 0, 1, 3, 7, 40, 400))
@pytest.mark.parametrize("dtype", FLOATS)
def test_round_to_decimals(dtype: torch.dtype, decimals: int) -> None:
    for shape in SHAPES if dtype in LARGE else SHAPES[:-1]:
        for _, x in layouts(make(shape, dtype, low=-3000, high=3000)):
            # Halves are rounded once, PyTorch's CPU rounds them at each step.
            wide = x if dtype == torch.float64 else x.float()
            expected = torch.round(wide, decimals=decimals).to(dtype)
            out = torch.empty_like(x)
            call("aclnnRoundDecimals", x, decimals, out)
            assert_close(out, expected, max_ulp=0)
            call("aclnnInplaceRoundDecimals", x, decimals)
            assert_close(x, expected, max_ulp=0)


def test_round_to_decimals_of_special_values() -> None:
    x = torch.cat((special_values(torch.float32), torch.tensor([0.125, -0.375, 2.5, 25.0, -35.0])))
    for decimals in (-1, 0, 2):
        out = torch.empty_like(x)
        call("aclnnRoundDecimals", x, decimals, out)
        assert_close(out, torch.round(x, decimals=decimals), max_ulp=0)


def test_large_arguments_of_sine() -> None:
    x = torch.tensor([2.0**19, 2.0**20 + 1, 1e6, 1e7, 3e30, -1e9, 2.0**100], dtype=torch.float32)
    assert_close(unary("Sin", x), torch.sin(x.double()), max_ulp=2)
    assert_close(unary("Cos", x), torch.cos(x.double()), max_ulp=2)


def test_lowest_integer() -> None:
    x = torch.tensor([torch.iinfo(torch.int64).min, -1, 0])
    assert torch.equal(unary("Abs", x), torch.abs(x))
    assert torch.equal(unary("Neg", x), torch.neg(x))


def test_null_and_wrong_shape() -> None:
    with pytest.raises(OperatorError, match="aclnnExp: self is null"):
        call("aclnnExp", None, torch.ones(2))
    with pytest.raises(OperatorError, match=r"aclnnExp: out is float32\[3\], wanted float32\[2\]"):
        call("aclnnExp", torch.ones(2), torch.ones(3))
    with pytest.raises(OperatorError, match="aclnnErf: not supported for complex64"):
        call("aclnnErf", torch.ones(2, dtype=torch.complex64), torch.ones(2, dtype=torch.complex64))
