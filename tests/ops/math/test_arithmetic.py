"""Arithmetic of two operands, tensors or scalars, in every dtype; PyTorch is the reference."""

from __future__ import annotations

import math

import pytest
import torch
from aclnn import OperatorError, Scalar, call
from compare import (
    COMPLEX,
    FLOATS,
    INTS,
    SHAPES,
    assert_close,
    broadcast_pairs,
    layouts,
    make,
    special_values,
)
from hypothesis import given, settings
from hypothesis import strategies as st

ALL = FLOATS + INTS

# Types that are also tried on the shape that needs several threads.
LARGE = (torch.float32, torch.bfloat16)


def wide(x: torch.Tensor) -> torch.Tensor:
    return x.double() if x.dtype.is_floating_point else x


@pytest.mark.parametrize("dtype", ALL + COMPLEX)
def test_add_sub_mul_in_every_layout(dtype: torch.dtype) -> None:
    alpha = Scalar(2)
    for shape in SHAPES if dtype in LARGE else SHAPES[:-1]:
        for (_, a), (_, b) in zip(
            layouts(make(shape, dtype)), layouts(make(shape, dtype, seed=5)), strict=True
        ):
            out = torch.empty(shape, dtype=dtype)
            x, y = (
                (a.to(torch.complex128), b.to(torch.complex128)) if dtype.is_complex else (wide(a), wide(b))
            )
            call("aclnnAdd", a, b, alpha, out)
            assert_close(
                out, torch.add(x, y, alpha=2), max_ulp=1, atol=1e-6 if dtype != torch.float64 else 1e-15
            )
            call("aclnnSub", a, b, alpha, out)
            assert_close(
                out, torch.sub(x, y, alpha=2), max_ulp=1, atol=1e-6 if dtype != torch.float64 else 1e-15
            )
            call("aclnnMul", a, b, out)
            assert_close(out, torch.mul(x, y), max_ulp=1, atol=4e-6 if dtype.is_complex else 0)


@pytest.mark.parametrize("shapes", tuple(broadcast_pairs()))
@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.int32))
def test_broadcast(shapes: tuple[tuple[int, ...], tuple[int, ...]], dtype: torch.dtype) -> None:
    a, b = make(shapes[0], dtype), make(shapes[1], dtype, seed=3)
    expected = torch.add(a, b)
    out = torch.empty_like(expected)
    call("aclnnAdd", a, b, Scalar(1), out)
    assert torch.equal(out, expected)


@pytest.mark.parametrize("columns", (128, 256, 300, 1031))
@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64))
def test_one_value_for_a_row(columns: int, dtype: torch.dtype) -> None:
    """A column, and a single number, with a matrix: either operand, in place, and as the only operand's layout."""
    x, column = make((9, columns), dtype), make((9, 1), dtype, seed=3)
    for one in (column, column[4:5, 0], column[2, 0]):
        for a, b in ((x, one), (one, x)):
            expected, out = torch.sub(wide(a), wide(b)), torch.empty_like(x)
            call("aclnnSub", a, b, Scalar(1), out)
            assert_close(out, expected, max_ulp=1)
    out = torch.empty_like(x)
    call("aclnnAdd", column.expand(9, columns), column, Scalar(1), out)
    assert_close(out, (wide(column) + wide(column)).expand(9, columns), max_ulp=1)
    expected = wide(x) * wide(column)
    call("aclnnInplaceMul", x, column)
    assert_close(x, expected, max_ulp=1)
    if dtype.is_floating_point:
        call("aclnnAddcmul", x, column, column[0, 0], Scalar(0.5), out)
        assert_close(out, wide(x) + 0.5 * wide(column) * wide(column[0, 0]), max_ulp=2, atol=1e-6)


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16))
def test_results_beyond_the_caches(dtype: torch.dtype) -> None:
    """Such are written past them, the last, short block too; not where they are an input."""
    n = 36 * 2**20 // dtype.itemsize + 5
    x = torch.linspace(-3, 3, n).to(dtype)
    out, y = torch.empty_like(x), x.flip(0)
    for result, at in ((out, x), (x, x)):
        expected = torch.add(at, y)
        call("aclnnAdd", at, y, Scalar(1), result)
        assert torch.equal(result, expected)
    mask = torch.empty(n + 1, dtype=torch.bool)
    call("aclnnGtTensor", x, y, mask[1:])
    assert torch.equal(mask[1:], x > y)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_strides_and_broadcast(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(0, 9), max_size=4))

    def operand(seed: int) -> torch.Tensor:
        own = [1 if data.draw(st.booleans()) else n for n in shape]
        steps = [data.draw(st.integers(1, 2)) for _ in own]
        order = data.draw(st.permutations(range(len(own))))
        storage = make(tuple(own[d] * steps[d] for d in order), torch.float32, seed=seed)
        t = storage.permute([order.index(d) for d in range(len(own))])
        t = t[tuple(slice(None, None, s) for s in steps)]
        drop = data.draw(st.integers(0, len(own)))
        while drop > 0 and t.dim() > 0 and t.shape[0] == 1:
            t, drop = t[0], drop - 1
        return t

    a, b = operand(1), operand(2)
    expected = torch.mul(a, b)
    out = torch.empty_like(expected.t() if expected.dim() == 2 else expected)
    out = out.t() if expected.dim() == 2 else out
    call("aclnnMul", a, b, out)
    assert torch.equal(out, expected)


@pytest.mark.parametrize("n", (2, 3, 29, 130, 1500))
def test_short_rows_in_parallel(n: int) -> None:
    a, b = make((60000 // n, n), torch.bfloat16), make((n,), torch.bfloat16, seed=2)
    out = torch.empty_like(a)
    call("aclnnAdd", a, b, Scalar(1), out)
    assert torch.equal(out, a + b)


@pytest.mark.parametrize("dtype", FLOATS)
def test_special_values(dtype: torch.dtype) -> None:
    values = special_values(dtype)
    a, b = values[:, None], values[None, :]
    out = torch.empty(len(values), len(values), dtype=dtype)
    for name, reference in (
        ("Mul", torch.mul),
        ("Div", torch.div),
        ("Maximum", torch.maximum),
        ("Minimum", torch.minimum),
    ):
        call(f"aclnn{name}", a, b, out)
        assert_close(out, reference(a, b), max_ulp=0)


@pytest.mark.parametrize(("a", "b", "out"), (
    (torch.float32, torch.bfloat16, torch.float32), (torch.float16, torch.bfloat16, torch.float32),
    (torch.int64, torch.bfloat16, torch.bfloat16), (torch.uint8, torch.int8, torch.int16),
    (torch.bool, torch.int32, torch.int32), (torch.int32, torch.float64, torch.float64),
    (torch.float32, torch.complex64, torch.complex64),
))  # fmt: skip
def test_type_promotion(a: torch.dtype, b: torch.dtype, out: torch.dtype) -> None:
    x, y = make((50,), a), make((50,), b, seed=1)
    z = torch.empty(50, dtype=out)
    call("aclnnMul", x, y, z)
    expected = torch.mul(x, y)
    assert expected.dtype == out
    assert_close(z, expected, max_ulp=1)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("value", (3, 0.1, -2.5, True))
def test_float_tensor_with_scalar(dtype: torch.dtype, value: float) -> None:
    for _, x in layouts(make((17, 301), dtype)):
        out = torch.empty(x.shape, dtype=dtype)
        s = float(value) if dtype == torch.float64 else float(torch.tensor(value, dtype=torch.float32))
        for name, args, expected in (
            ("Adds", (Scalar(value), Scalar(1)), x.double() + s), ("Subs", (Scalar(value), Scalar(2)), x.double() - 2 * s),
            ("Muls", (Scalar(value),), x.double() * s), ("Divs", (Scalar(value),), x.double() / s),
            ("Rsubs", (Scalar(value), Scalar(2)), s - 2 * x.double()),
        ):  # fmt: skip
            if value is True and "ubs" in name:  # PyTorch has no subtraction of a bool
                with pytest.raises(OperatorError, match=f"aclnn{name}: the `-` operator with a bool operand"):
                    call(f"aclnn{name}", x, *args, out)
                continue
            call(f"aclnn{name}", x, *args, out)
            assert_close(out, expected, max_ulp=1, atol=1e-6 if dtype == torch.float32 else 0)


def test_integer_tensor_with_float_scalar() -> None:
    x = make((40,), torch.int32)
    out = torch.empty(40)
    call("aclnnMuls", x, Scalar(0.5), out)
    assert torch.equal(out, x * 0.5)
    call("aclnnAdds", x, Scalar(0.25), Scalar(1), out)
    assert torch.equal(out, x + 0.25)
    call("aclnnDivs", x, Scalar(3), out)
    assert torch.equal(out, x / 3)


def test_scalar_plus_tensor() -> None:
    x, out = make((40,), torch.float32), torch.empty(40)
    call("aclnnAddV3", Scalar(1.5), x, Scalar(2), out)
    assert_close(out, 1.5 + 2 * x.double(), max_ulp=1, atol=1e-6)


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.int64))
def test_in_place(dtype: torch.dtype) -> None:
    for strided in (False, True):
        base, b = make((30, 40), dtype), make((40,), dtype, seed=1)[None].expand(30, 40)
        b = torch.where(b == 0, torch.ones_like(b), b)
        for name, args, reference in (
            ("Add", (b, Scalar(2)), lambda t: t.add(b, alpha=2)), ("Sub", (b, Scalar(2)), lambda t: t.sub(b, alpha=2)),
            ("Mul", (b,), lambda t: t.mul(b)), ("Adds", (Scalar(3), Scalar(1)), lambda t: t + 3),
            ("Subs", (Scalar(3), Scalar(1)), lambda t: t - 3), ("Muls", (Scalar(3),), lambda t: t * 3),
            ("FloorDivide", (b,), lambda t: wide(t).div(wide(b), rounding_mode="floor")),
        ):  # fmt: skip
            x = base.clone().t().contiguous().t() if strided else base.clone()
            expected = reference(x)
            call(f"aclnnInplace{name}", x, *args)
            assert_close(x, expected, max_ulp=1, atol=1e-6)


def test_output_overlaps_an_input_partly() -> None:
    storage = torch.arange(40000.0)
    expected = storage[:-3].clone() + storage[1:-2].clone()
    call("aclnnAdd", storage[:-3], storage[1:-2], Scalar(1), storage[3:])
    assert torch.equal(storage[3:], expected)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("mode", ("trunc", "floor"))
def test_rounded_division_and_remainders(dtype: torch.dtype, mode: str) -> None:
    a, b = make((999,), dtype, low=-12, high=12), make((999,), dtype, seed=9)
    if not dtype.is_floating_point:
        b[b == 0] = 3
    out = torch.empty_like(a)
    # Halves are computed in float: PyTorch's CPU rounds the quotient to the half type before it truncates.
    x, y = (a.float(), b.float()) if dtype in (torch.bfloat16, torch.float16) else (a, b)
    call("aclnnDivMod", a, b, 1 if mode == "trunc" else 2, out)
    assert_close(out, torch.div(x, y, rounding_mode=mode).to(dtype), max_ulp=0)
    call("aclnnDivMods", a, Scalar(3), 1 if mode == "trunc" else 2, out)
    assert_close(out, torch.div(x, 3, rounding_mode=mode).to(dtype), max_ulp=0)
    call("aclnnRemainderTensorTensor", a, b, out)
    assert_close(out, torch.remainder(a, b), max_ulp=0)
    call("aclnnRemainderTensorScalar", a, Scalar(3), out)
    assert_close(out, torch.remainder(a, 3), max_ulp=0)
    call("aclnnRemainderScalarTensor", Scalar(7), b, out)
    assert_close(out, torch.remainder(7, b), max_ulp=0)
    call("aclnnFmodTensor", a, b, out)
    assert_close(out, torch.fmod(a, b), max_ulp=0)


def test_integer_division_that_has_no_value_is_defined() -> None:
    low = torch.iinfo(torch.int64).min
    a, b = torch.tensor([5, -5, 0, low, low]), torch.tensor([0, 0, 0, -1, 0])
    out = torch.empty_like(a)
    for mode in (1, 2):
        call("aclnnDivMod", a, b, mode, out)
        assert out.tolist() == [0, 0, 0, low, 0]
    call("aclnnRemainderTensorTensor", a, b, out)
    assert out.tolist() == [0] * 5


def test_true_division_of_integers_is_float() -> None:
    a, b, out = torch.tensor([1, 2, -3]), torch.tensor([2, 0, 4]), torch.empty(3)
    call("aclnnDiv", a, b, out)
    assert out.tolist() == [0.5, math.inf, -0.75]


def test_unknown_division_mode_is_named() -> None:
    with pytest.raises(OperatorError, match="aclnnDivMod: mode is 3"):
        call("aclnnDivMod", torch.ones(2), torch.ones(2), 3, torch.ones(2))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("exponent", (0, 1, 2, 3, 0.5, -0.5, -1, -2, 1.7, -3.3))
def test_power_of_a_tensor(dtype: torch.dtype, exponent: float) -> None:
    for _, x in layouts(make((5, 211), dtype, low=0.05, high=4)):
        out = torch.empty(x.shape, dtype=dtype)
        call("aclnnPowTensorScalar", x, Scalar(exponent), out)
        e = exponent if dtype == torch.float64 else float(torch.tensor(exponent, dtype=torch.float32))
        assert_close(out, torch.pow(x.double(), e), max_ulp=2)


def test_power_with_a_scalar_base() -> None:
    x, out = make((1000,), torch.float32, low=0, high=1), torch.empty(1000)
    call("aclnnPowScalarTensor", Scalar(10000.0), x, out)
    assert_close(out, torch.pow(torch.tensor(10000.0, dtype=torch.float64), x.double()), max_ulp=1)


def test_power_of_special_values() -> None:
    values = special_values(torch.float32)
    a, b = values[:, None], values[None, :]
    out = torch.empty(len(values), len(values))
    call("aclnnPowTensorTensor", a, b, out)
    assert_close(out, torch.pow(a.double(), b.double()), max_ulp=1)


def test_integer_power() -> None:
    a, out = torch.tensor([0, 1, -1, 2, -3, 7]), torch.empty(6, dtype=torch.int64)
    for exponent in (0, 1, 2, 5, 62):
        call("aclnnPowTensorScalar", a, Scalar(exponent), out)
        assert torch.equal(out, torch.pow(a, exponent))
    call("aclnnPowTensorTensor", a, torch.full((6,), -3), out)
    assert out.tolist() == [0, 1, -1, 0, 0, 0]


@pytest.mark.parametrize("dtype", ALL)
def test_clamp(dtype: torch.dtype) -> None:
    x, low, high = make((400,), dtype), make((400,), dtype, seed=1), make((400,), dtype, seed=2)
    out = torch.empty_like(x)
    lo, hi = (1, 3) if not dtype.is_floating_point else (-1.5, 2.25)
    for name, args, expected in (
        ("Clamp", (Scalar(lo), Scalar(hi)), x.clamp(lo, hi)), ("Clamp", (None, Scalar(hi)), x.clamp(max=hi)),
        ("ClampMin", (Scalar(lo),), x.clamp(min=lo)), ("ClampMax", (Scalar(hi),), x.clamp(max=hi)),
        ("ClampTensor", (low, high), x.clamp(low, high)), ("ClampMinTensor", (low,), x.clamp(min=low)),
        ("ClampMaxTensor", (high,), x.clamp(max=high)), ("Maximum", (low,), torch.maximum(x, low)),
        ("Minimum", (low,), torch.minimum(x, low)),
    ):  # fmt: skip
        call(f"aclnn{name}", x, *args, out)
        assert_close(out, expected, max_ulp=0)


def test_clamp_keeps_nan() -> None:
    x, out = special_values(torch.float32), torch.empty(len(special_values(torch.float32)))
    call("aclnnClamp", x, Scalar(-1.0), Scalar(2.0), out)
    assert_close(out, x.clamp(-1, 2), max_ulp=0)
    call("aclnnClamp", x, Scalar(float("nan")), Scalar(2.0), out)
    assert out.isnan().all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_lerp_addcmul_addcdiv(dtype: torch.dtype) -> None:
    a, b = make((300,), dtype), make((300,), dtype, seed=1)
    c = make((300,), dtype, seed=2, low=0.5, high=2)
    w = make((300,), dtype, seed=3, low=0, high=1)
    x, y, z = a.double(), b.double(), c.double()
    out = torch.empty_like(a)
    near = {
        "max_ulp": 2,
        "atol": 1e-5 if dtype == torch.float32 else 0.0 if dtype != torch.float64 else 1e-14,
    }
    call("aclnnAddcmul", a, b, c, Scalar(0.5), out)
    assert_close(out, x + 0.5 * y * z, **near)
    call("aclnnAddcdiv", a, b, c, Scalar(0.5), out)
    assert_close(out, x + 0.5 * y / z, **near)
    call("aclnnLerp", a, b, w, out)
    assert_close(out, torch.lerp(x, y, w.double()), **near)
    call("aclnnLerps", a, b, Scalar(0.75), out)
    assert_close(out, torch.lerp(x, y, 0.75), **near)
    copy = a.clone()
    call("aclnnInplaceLerps", copy, b, Scalar(0.25))
    assert_close(copy, torch.lerp(x, y, 0.25), **near)
    copy = a.clone()
    call("aclnnInplaceAddcdiv", copy, b, c, Scalar(-0.5))
    assert_close(copy, x - 0.5 * y / z, **near)


@pytest.mark.parametrize("dtype", (*INTS, torch.bool))
def test_bits(dtype: torch.dtype) -> None:
    a, b, out = make((300,), dtype), make((300,), dtype, seed=1), torch.empty(300, dtype=dtype)
    for name, reference in (("And", torch.bitwise_and), ("Or", torch.bitwise_or), ("Xor", torch.bitwise_xor)):
        call(f"aclnnBitwise{name}Tensor", a, b, out)
        assert torch.equal(out, reference(a, b))
        value = True if dtype == torch.bool else 5
        call(f"aclnnBitwise{name}Scalar", a, Scalar(value), out)
        assert torch.equal(out, reference(a, value))
    call("aclnnBitwiseNot", a, out)
    assert torch.equal(out, ~a)
    with pytest.raises(OperatorError, match="aclnnBitwiseNot: not supported for float32"):
        call("aclnnBitwiseNot", torch.ones(2), torch.ones(2))


def test_shifts_out_of_range() -> None:
    a = torch.tensor([1, -8, 5, -1], dtype=torch.int32)
    for count in (0, 3, 31, 32, 70, -1):
        b, out = torch.full((4,), count, dtype=torch.int32), torch.empty(4, dtype=torch.int32)
        call("aclnnLeftShift", a, b, out)
        assert torch.equal(out, a << b)
        call("aclnnRightShift", a, b, out)
        assert torch.equal(out, a >> b)


def test_nan_to_num() -> None:
    x = special_values(torch.float32)
    out = torch.empty_like(x)
    call("aclnnNanToNum", x, 1.5, 2.5, -3.5, out)
    assert_close(out, torch.nan_to_num(x, 1.5, 2.5, -3.5), max_ulp=0)


def test_bool_sum_and_product() -> None:
    a, b, out = make((99,), torch.bool), make((99,), torch.bool, seed=1), torch.empty(99, dtype=torch.bool)
    call("aclnnAdd", a, b, Scalar(1), out)
    assert torch.equal(out, a + b)
    call("aclnnMul", a, b, out)
    assert torch.equal(out, a * b)


def test_errors_name_operator_argument_and_shapes() -> None:
    with pytest.raises(
        OperatorError, match=r"aclnnAdd: other float32\[3\] does not broadcast with self float32\[2\]"
    ):
        call("aclnnAdd", torch.ones(2), torch.ones(3), Scalar(1), torch.ones(2))
    with pytest.raises(OperatorError, match=r"aclnnMul: out is float32\[3\], wanted float32\[2\]"):
        call("aclnnMul", torch.ones(2), torch.ones(2), torch.ones(3))
    with pytest.raises(OperatorError, match="aclnnAdd: other is null"):
        call("aclnnAdd", torch.ones(2), None, Scalar(1), torch.ones(2))
    with pytest.raises(OperatorError, match="aclnnMuls: other is null"):
        call("aclnnMuls", torch.ones(2), None, torch.ones(2))
