"""Forms of operators that share a kernel with one tested elsewhere: in place, with a scalar, with two outputs.

PyTorch in float64 is the reference (integers: PyTorch itself).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from aclnn import Scalar, call
from compare import FLOATS, INTS, assert_close, layouts, make, special_values

T = torch.Tensor
# operator without "aclnnInplace": (arguments after the tensor, reference). `b` is a second tensor without zeros.
Form = tuple[Callable[[T], tuple], Callable[[T, T], T]]
ANY: dict[str, Form] = {
    "Div": (lambda b: (b,), torch.div),
    "DivMod": (lambda b: (b, 1), lambda a, b: torch.div(a, b, rounding_mode="trunc")),
    "DivMods": (lambda b: (Scalar(3), 2), lambda a, b: torch.div(a, 3, rounding_mode="floor")),
    "Divs": (lambda b: (Scalar(3),), lambda a, b: torch.div(a, 3)),
    "FloorDivides": (lambda b: (Scalar(3),), lambda a, b: torch.div(a, 3, rounding_mode="floor")),
    "FmodScalar": (lambda b: (Scalar(3),), lambda a, b: torch.fmod(a, 3)),
    "FmodTensor": (lambda b: (b,), torch.fmod),
    "RemainderTensorScalar": (lambda b: (Scalar(3),), lambda a, b: torch.remainder(a, 3)),
    "RemainderTensorTensor": (lambda b: (b,), torch.remainder),
    "ClampMax": (lambda b: (Scalar(2),), lambda a, b: a.clamp(max=2)),
    "ClampMaxTensor": (lambda b: (b,), lambda a, b: a.clamp(max=b)),
    "ClampMinTensor": (lambda b: (b,), lambda a, b: a.clamp(min=b)),
    "Hardtanh": (lambda b: (Scalar(-1), Scalar(2)), lambda a, b: F.hardtanh(a, -1, 2)),
    "PowTensorScalar": (lambda b: (Scalar(2),), lambda a, b: torch.pow(a, 2)),
    "LogicalAnd": (lambda b: (b,), lambda a, b: torch.logical_and(a, b).to(a.dtype)),
    "LogicalOr": (lambda b: (b,), lambda a, b: torch.logical_or(a, b).to(a.dtype)),
    "Addcmul": (lambda b: (b, b, Scalar(2)), lambda a, b: torch.addcmul(a, b, b, value=2)),
    "Round": (lambda b: (), lambda a, b: torch.round(a)),
    "Trunc": (lambda b: (), lambda a, b: torch.trunc(a)),
}  # fmt: skip
FLOAT_ONLY: dict[str, Form] = {
    "Atan2": (lambda b: (b,), torch.atan2),
    "Elu": (lambda b: (Scalar(1.5), Scalar(1), Scalar(1)), lambda a, b: F.elu(a, 1.5)),
    "Hardsigmoid": (lambda b: (), lambda a, b: F.hardsigmoid(a)),
    "Hardswish": (lambda b: (), lambda a, b: F.hardswish(a)),
    "LeakyRelu": (lambda b: (Scalar(0.25),), lambda a, b: F.leaky_relu(a, 0.25)),
    "Lerp": (lambda b: (b, torch.full_like(b, 0.25)), lambda a, b: torch.lerp(a, b, 0.25)),
    "Mish": (lambda b: (), lambda a, b: F.mish(a)),
    "PowTensorTensor": (lambda b: (b,), torch.pow),
    "Sigmoid": (lambda b: (), lambda a, b: torch.sigmoid(a)),
    "Tanh": (lambda b: (), lambda a, b: torch.tanh(a)),
}  # fmt: skip
BITS: dict[str, Form] = {
    "BitwiseAndScalar": (lambda b: (Scalar(5),), lambda a, b: a & 5),
    "BitwiseAndTensor": (lambda b: (b,), torch.bitwise_and),
    "BitwiseOrScalar": (lambda b: (Scalar(5),), lambda a, b: a | 5),
    "BitwiseOrTensor": (lambda b: (b,), torch.bitwise_or),
    "BitwiseXorScalar": (lambda b: (Scalar(5),), lambda a, b: a ^ 5),
    "BitwiseXorTensor": (lambda b: (b,), torch.bitwise_xor),
}
# True division of integers in place has no result of their type.
INTEGER = [n for n in ANY if n not in ("Div", "Divs")]


def operands(name: str, dtype: torch.dtype) -> tuple[T, T]:
    a, b = make((9, 43), dtype), make((9, 43), dtype, seed=1)
    if name.startswith("Pow") and dtype.is_floating_point:
        a = a.abs() + 0.25
    return a, torch.where(b == 0, torch.ones_like(b), b)


def run_in_place(name: str, form: Form, dtype: torch.dtype, **tolerance: float) -> None:
    arguments, reference = form
    a, b = operands(name, dtype)
    # Halves are computed in float, and what is exact there is not in float64: floor(a / b) next to a whole number.
    halves = dtype in (torch.bfloat16, torch.float16)
    exact = name.startswith(("DivMod", "Floor", "Fmod", "Remainder"))
    wide = (lambda t: t.float()) if halves else (lambda t: t.double() if not exact else t)
    expected = reference(wide(a), wide(b)) if dtype.is_floating_point else reference(a, b)
    for _, x in layouts(a):
        own = x.clone(memory_format=torch.preserve_format)
        call(f"aclnnInplace{name}", own, *arguments(b))
        assert_close(own, expected, **tolerance)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", [*ANY, *FLOAT_ONLY])
def test_floats_in_place(name: str, dtype: torch.dtype) -> None:
    # Units of the largest term where two terms cancel.
    atol = 1e-14 if dtype == torch.float64 else 2e-6
    run_in_place(name, (ANY | FLOAT_ONLY)[name], dtype, max_ulp=4, atol=atol)


@pytest.mark.parametrize("dtype", INTS)
@pytest.mark.parametrize("name", [*INTEGER, *BITS])
def test_integers_in_place(name: str, dtype: torch.dtype) -> None:
    if dtype == torch.uint8 and name == "Hardtanh":
        pytest.skip("PyTorch refuses a negative limit for unsigned integers")
    run_in_place(name, (ANY | BITS)[name], dtype)


def test_nan_to_num_in_place() -> None:
    for dtype in FLOATS:
        x = special_values(dtype)
        expected = torch.nan_to_num(x, 1.5, 2.5, -3.5)
        call("aclnnInplaceNanToNum", x, 1.5, 2.5, -3.5)
        assert_close(x, expected, max_ulp=0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_two_floats(dtype: torch.dtype) -> None:
    a, b = make((5, 211), dtype), make((5, 211), dtype, seed=1)
    out = torch.empty_like(a)
    call("aclnnAtan2", a, b, out)
    assert_close(out, torch.atan2(a.double(), b.double()), max_ulp=2)
    call("aclnnRsub", a, b, Scalar(2), out)
    assert_close(out, b.double() - 2 * a.double(), max_ulp=1, atol=0 if dtype == torch.float64 else 1e-6)
    call("aclnnHardtanh", a, Scalar(-1.5), Scalar(2.25), out)
    assert_close(out, F.hardtanh(a, -1.5, 2.25), max_ulp=0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_gradients_with_more_arguments(dtype: torch.dtype) -> None:
    x, g = make((5, 211), dtype, low=-6, high=6), make((5, 211), dtype, seed=1)
    tolerance = {"max_ulp": 4, "atol": 1e-14 if dtype == torch.float64 else 4e-6}
    for name, function in (("HardswishBackwardV2", F.hardswish), ("LogSigmoidBackward", F.logsigmoid)):
        leaf = x.double().clone().requires_grad_()
        function(leaf).backward(g.double())
        out = torch.empty_like(x)
        buffer = (torch.empty_like(x),) if name == "LogSigmoidBackward" else ()
        if buffer:
            call("aclnnLogSigmoidForward", x, out, *buffer)
            assert_close(out, function(x.double()), **tolerance)
        call(f"aclnn{name}", g, x, *buffer, out)
        assert_close(out, leaf.grad, **tolerance)


@pytest.mark.parametrize("dtype", (*FLOATS, *INTS))
def test_with_a_scalar(dtype: torch.dtype) -> None:
    x = make((300,), dtype, low=-12, high=12)
    wide = x.float() if dtype in (torch.bfloat16, torch.float16) else x
    other = torch.where(make((300,), dtype, seed=1) == 0, torch.ones_like(x), make((300,), dtype, seed=1))
    wide_other = other.float() if dtype in (torch.bfloat16, torch.float16) else other
    out = torch.empty_like(x)
    for name, args, expected in (
        ("FloorDivides", (Scalar(3),), torch.div(wide, 3, rounding_mode="floor")),
        ("FloorDivide", (other,), torch.div(wide, wide_other, rounding_mode="floor")),
        ("FmodScalar", (Scalar(3),), torch.fmod(wide, 3)),
    ):
        call(f"aclnn{name}", x, *args, out)
        assert_close(out, expected, max_ulp=0)
    less = torch.empty(300, dtype=torch.bool)
    call("aclnnLessScalar", x, Scalar(2), less)
    assert torch.equal(less, torch.lt(x, 2))


@pytest.mark.parametrize("dtype", INTS)
def test_shift_by_a_scalar(dtype: torch.dtype) -> None:
    x = make((300,), dtype)
    for count in (0, 1, 3):
        out = torch.empty_like(x)
        call("aclnnLeftShifts", x, Scalar(count), out)
        assert torch.equal(out, x << count)


@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
def test_complex_from_parts(dtype: torch.dtype) -> None:
    a, b = make((7, 31), dtype), make((31,), dtype, seed=1)
    out = torch.empty((7, 31), dtype=torch.complex64 if dtype == torch.float32 else torch.complex128)
    call("aclnnComplex", a, b, out)
    assert torch.equal(out, torch.complex(a, b.expand(7, 31).contiguous()))
    call("aclnnPolar", a.abs(), b, out)
    assert_close(out, torch.polar(a.abs().double(), b.expand(7, 31).double()), max_ulp=4, atol=1e-6)
