"""Operators over lists, against PyTorch's foreach functions on the CPU."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from aclnn import OperatorError, Scalar, ScalarList, call
from compare import FLOATS, assert_close, make, special_values

# Empty, scalar, odd, around a block, more than a chunk: one list.
SHAPES = ((7,), (), (0,), (3, 5), (1024,), (1025,), (2, 0, 3), (5, 3301))
NUMBERS = (torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int32, torch.int64)


def tensors(dtype: torch.dtype, seed: int, low: float = -4, high: float = 4) -> list[torch.Tensor]:
    return [make(shape, dtype, seed + i, low, high) for i, shape in enumerate(SHAPES)]


def outputs(like: list[torch.Tensor]) -> list[torch.Tensor]:
    return [torch.empty_like(t) for t in like]


def compare(
    actual: list[torch.Tensor], expected: list[torch.Tensor], max_ulp: float = 1, atol: float = 0.0
) -> None:
    for a, e in zip(actual, expected, strict=True):
        assert_close(a, e, max_ulp=max_ulp, atol=atol)


def wide(xs: list[torch.Tensor]) -> list[torch.Tensor]:
    """The float64 reference of float inputs; integers stay."""
    return [x.double() if x.is_floating_point() else x for x in xs]


UNARY: dict[str, tuple[Callable, float, float, float]] = {
    # operator: reference, low, high, ulp
    "Abs": (torch.abs, -4, 4, 0), "Neg": (torch.neg, -4, 4, 0), "Sign": (torch.sign, -4, 4, 0),
    "Sqrt": (torch.sqrt, 0, 9, 1), "Reciprocal": (torch.reciprocal, 0.1, 9, 1), "Exp": (torch.exp, -8, 8, 2),
    "Expm1": (torch.expm1, -8, 8, 3), "Log": (torch.log, 0.1, 99, 2), "Log2": (torch.log2, 0.1, 99, 3),
    "Log10": (torch.log10, 0.1, 99, 3), "Log1p": (torch.log1p, -0.9, 99, 4), "Sin": (torch.sin, -9, 9, 2),
    "Cos": (torch.cos, -9, 9, 2), "Tan": (torch.tan, -1.2, 1.2, 4), "Asin": (torch.asin, -1, 1, 4),
    "Acos": (torch.acos, -1, 1, 4), "Atan": (torch.atan, -9, 9, 4), "Sinh": (torch.sinh, -5, 5, 4),
    "Cosh": (torch.cosh, -5, 5, 4), "Tanh": (torch.tanh, -5, 5, 3), "Erf": (torch.erf, -3, 3, 3),
    "Erfc": (torch.erfc, -3, 3, 64), "Sigmoid": (torch.sigmoid, -9, 9, 4),
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("dtype", FLOATS)
def test_unary(name: str, dtype: torch.dtype) -> None:
    reference, low, high, max_ulp = UNARY[name]
    x = tensors(dtype, 1, low, high)
    out = outputs(x)
    call(f"aclnnForeach{name}", x, out)
    compare(out, [reference(t) for t in wide(x)], max_ulp, atol=1e-7 if max_ulp else 0)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_unary_in_place(dtype: torch.dtype) -> None:
    x = tensors(dtype, 2)
    expected = [-t for t in x]
    call("aclnnForeachNeg", x, x)
    compare(x, expected, 0)


def alpha_of(dtype: torch.dtype) -> float | int:
    return 0.5 if dtype.is_floating_point else 3


BINARY: dict[str, Callable] = {
    "Mul": torch.mul,
    "Div": torch.div,
    "Maximum": torch.maximum,
    "Minimum": torch.minimum,
}


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("name", BINARY)
def test_lists(name: str, dtype: torch.dtype) -> None:
    if name == "Div" and not dtype.is_floating_point:
        return
    a, b = tensors(dtype, 3), tensors(dtype, 30, 0.5, 4)
    out = outputs(a)
    call(f"aclnnForeach{name}List", a, b, out)
    compare(out, [BINARY[name](x, y) for x, y in zip(wide(a), wide(b), strict=True)], 0.51)


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize(("name", "sign"), [("Add", 1), ("Sub", -1)])
def test_add_and_subtract_lists(name: str, sign: int, dtype: torch.dtype) -> None:
    a, b, alpha = tensors(dtype, 4), tensors(dtype, 40), alpha_of(dtype)
    expected = [x + sign * alpha * y for x, y in zip(wide(a), wide(b), strict=True)]
    for version, scalar in (("", torch.tensor(alpha, dtype=dtype)), ("V2", Scalar(alpha))):
        out = outputs(a)
        call(f"aclnnForeach{name}List{version}", a, b, scalar, out)
        compare(out, expected, 1, atol=1e-6)
    call(f"aclnnForeach{name}ListV2", a, b, Scalar(alpha), a)
    compare(a, expected, 1, atol=1e-6)


SCALAR: dict[str, Callable] = {
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": torch.div,
    "Maximum": lambda x, s: x.clamp(min=s), "Minimum": lambda x, s: x.clamp(max=s),
}  # fmt: skip


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("name", SCALAR)
def test_scalar_from_host_device_and_list(name: str, dtype: torch.dtype) -> None:
    if name == "Div" and not dtype.is_floating_point:
        return
    x, reference = tensors(dtype, 5), SCALAR[name]
    scalar = alpha_of(dtype)
    for version, value in (("", torch.tensor([scalar], dtype=dtype)), ("V2", Scalar(scalar))):
        out = outputs(x)
        call(f"aclnnForeach{name}Scalar{version}", x, value, out)
        compare(out, [reference(t, scalar) for t in wide(x)], 0.51, atol=1e-6)
    scalars = [scalar + i for i in range(len(x))]
    out = outputs(x)
    call(f"aclnnForeach{name}ScalarList", x, ScalarList([Scalar(s) for s in scalars]), out)
    compare(out, [reference(t, s) for t, s in zip(wide(x), scalars, strict=True)], 0.51, atol=1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["Addcmul", "Addcdiv"])
def test_addc(name: str, dtype: torch.dtype) -> None:
    a, b, c = tensors(dtype, 6), tensors(dtype, 60), tensors(dtype, 600, 0.5, 4)
    reference = getattr(torch, name.lower())
    expected = [reference(x, y, z, value=0.5) for x, y, z in zip(wide(a), wide(b), wide(c), strict=True)]
    for version, scalar in (("", torch.tensor(0.5, dtype=dtype)), ("V2", Scalar(0.5))):
        out = outputs(a)
        call(f"aclnnForeach{name}Scalar{version}", a, b, c, scalar, out)
        compare(out, expected, 1, atol=2e-6)
    values = torch.linspace(-1, 1, len(a))
    expected = [
        reference(x, y, z, value=v)
        for x, y, z, v in zip(wide(a), wide(b), wide(c), values.tolist(), strict=True)
    ]
    call(f"aclnnForeach{name}ScalarList", a, b, c, values, a)
    compare(a, expected, 1, atol=2e-6)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("weight", [0.0, 0.1, 0.9, 1.0])
def test_lerp(weight: float, dtype: torch.dtype) -> None:
    a, b, w = tensors(dtype, 7), tensors(dtype, 70), tensors(dtype, 700, 0, 1)
    out = outputs(a)
    call("aclnnForeachLerpScalar", a, b, Scalar(weight), out)
    compare(out, [torch.lerp(x, y, weight) for x, y in zip(wide(a), wide(b), strict=True)], 1, atol=1e-6)
    call("aclnnForeachLerpList", a, b, w, out)
    compare(
        out, [torch.lerp(x, y, z) for x, y, z in zip(wide(a), wide(b), wide(w), strict=True)], 1, atol=1e-6
    )


@pytest.mark.parametrize("dtype", FLOATS)
def test_pow(dtype: torch.dtype) -> None:
    x, y = tensors(dtype, 8, 0.2, 3), tensors(dtype, 80, -2, 2)
    out = outputs(x)
    for version, value in (("", torch.tensor(1.5, dtype=dtype)), ("V2", Scalar(1.5))):
        call(f"aclnnForeachPowScalar{version}", x, value, out)
        compare(out, [t**1.5 for t in wide(x)], 2)
    call("aclnnForeachPowScalarAndTensor", Scalar(2.5), y, out)
    compare(out, [2.5**t for t in wide(y)], 2)
    call("aclnnForeachPowList", x, y, out)
    compare(out, [a**b for a, b in zip(wide(x), wide(y), strict=True)], 2)
    powers = [2.0 + i for i in range(len(x))]
    call("aclnnForeachPowScalarList", x, ScalarList([Scalar(p) for p in powers]), out)
    compare(out, [t**p for t, p in zip(wide(x), powers, strict=True)], 2)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("mode", "reference"),
    [(1, torch.round), (2, torch.floor), (3, torch.ceil), (5, torch.trunc), (7, torch.frac)],
)
def test_round_off(mode: int, reference: Callable, dtype: torch.dtype) -> None:
    x = tensors(dtype, 9)
    out = outputs(x)
    call("aclnnForeachRoundOffNumber", x, torch.tensor(mode, dtype=torch.int8), out)
    compare(out, [reference(t) for t in wide(x)], 0)
    call("aclnnForeachRoundOffNumberV2", x, Scalar(mode), out)
    compare(out, [reference(t) for t in wide(x)], 0)


@pytest.mark.parametrize("to", NUMBERS)
@pytest.mark.parametrize("source", NUMBERS)
def test_copy_converts(source: torch.dtype, to: torch.dtype) -> None:
    x = tensors(source, 10)
    out = [torch.empty_like(t, dtype=to) for t in x]
    call("aclnnForeachCopy", x, out)
    assert all(torch.equal(o, t.to(to)) for o, t in zip(out, x, strict=True))


def test_zero() -> None:
    for dtype in (*NUMBERS, torch.bool):
        x = tensors(dtype, 11)
        call("aclnnForeachZeroInplace", x)
        assert all(not t.any() for t in x)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, 3.0, math.inf])
def test_norm(p: float, dtype: torch.dtype) -> None:
    x = [t for t in tensors(dtype, 12) if t.numel() > 0 or p != math.inf]
    out = [torch.empty((), dtype=dtype) for _ in x]
    call("aclnnForeachNorm", x, Scalar(p), out)
    # float64 is its own reference, which adds in another order
    compare(out, [torch.linalg.vector_norm(t.double(), p) for t in x], 64 if dtype == torch.float64 else 2)


def test_norm_of_nan_and_strides() -> None:
    x = torch.randn(130, 257)
    x[3, 4] = math.nan
    out = [torch.empty(()) for _ in range(2)]
    call("aclnnForeachNorm", [x, x.nan_to_num().T[::2]], Scalar(2.0), out)
    assert out[0].isnan()
    assert_close(out[1], x.nan_to_num().double().T[::2].norm(), 2)


def test_special_values() -> None:
    for dtype in FLOATS:
        x = special_values(dtype)
        for name, reference in (
            ("Sqrt", torch.sqrt),
            ("Abs", torch.abs),
            ("Reciprocal", torch.reciprocal),
            ("Sign", torch.sign),
        ):
            out = [torch.empty_like(x)]
            call(f"aclnnForeach{name}", [x], out)
            assert_close(out[0], reference(x.double()).to(dtype), 1)
        pair = x.repeat(len(x)), x.repeat_interleave(len(x))
        for name in ("Maximum", "Minimum"):
            out = [torch.empty_like(pair[0])]
            call(f"aclnnForeach{name}List", [pair[0]], [pair[1]], out)
            assert_close(out[0], BINARY[name](*pair), 0)


def test_layouts_that_differ_and_overlap() -> None:
    a, b = torch.randn(40, 50), torch.randn(50, 40).T
    storage = torch.randn(2001)
    lists = [a, a.T, storage[:2000], b[:, ::3]], [b, b.T, storage[1:], a[:, ::3]]
    expected = [x.clone() * y.clone() for x, y in zip(*lists, strict=True)]
    out = [torch.empty_like(a), torch.empty(40, 50).T, storage[:2000], torch.empty(17, 40).T]
    call("aclnnForeachMulList", *lists, out)
    compare(out, expected, 0)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("bad", [None, math.inf, -math.inf, math.nan])
def test_non_finite_check_and_unscale(bad: float | None, dtype: torch.dtype) -> None:
    grads = tensors(dtype, 13)
    if bad is not None:
        grads[7][4, 3300] = bad
    expected = [g.double() * 0.125 for g in grads]
    found, inverse = torch.zeros(1), torch.tensor([0.125])
    call("aclnnForeachNonFiniteCheckAndUnscale", grads, found, inverse)
    assert found.item() == (bad is not None)
    compare(grads, expected, 0.51)
    found.fill_(1)
    call("aclnnForeachNonFiniteCheckAndUnscale", tensors(dtype, 13), found, inverse)
    assert found.item() == 1


def test_bad_input_is_named() -> None:
    x, y = [torch.ones(2), torch.ones(3)], [torch.ones(2), torch.ones(4)]
    with pytest.raises(
        OperatorError, match=r"aclnnForeachMulList: tensor 1 is float32\[4\] in list x2 and float32\[3\]"
    ):
        call("aclnnForeachMulList", x, y, outputs(x))
    with pytest.raises(OperatorError, match="list x has 1 tensors, out has 2"):
        call("aclnnForeachSqrt", x[:1], outputs(x))
    with pytest.raises(OperatorError, match="not supported for int32"):
        ints = [torch.ones(2, dtype=torch.int32)]
        call("aclnnForeachDivList", ints, ints, ints)
    with pytest.raises(OperatorError, match="2 scalars, wanted 1"):
        call("aclnnForeachAddScalarList", x[:1], ScalarList([Scalar(1.0), Scalar(2.0)]), outputs(x[:1]))
    with pytest.raises(OperatorError, match="scalar is null"):
        call("aclnnForeachAddScalar", x, None, outputs(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_many_tensors_and_many_chunks(dtype: torch.dtype) -> None:
    x = [torch.randn(1 + 5 * i).to(dtype) for i in range(300)] + [
        torch.randn(16384 * k).to(dtype) for k in (1, 9, 2)
    ]
    out = outputs(x)
    call("aclnnForeachAddScalarV2", x, Scalar(1.0), out)
    compare(out, [t.double() + 1 for t in x], 0.51)


def test_empty_list() -> None:
    call("aclnnForeachSqrt", [], [])
