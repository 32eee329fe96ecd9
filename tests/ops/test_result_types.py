# SPDX-License-Identifier: Apache-2.0
"""The type of a result, by PyTorch's rule, for every family of operators: an output either gets what PyTorch on
the CPU computes into it, or is refused where PyTorch refuses it. Every operator of PyTorch's own list:
tests/python/test_result_types_torch.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from aclnn import OperatorError, Scalar, ScalarList, call

DTYPES = (
    torch.bool, torch.uint8, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.complex64,
)  # fmt: skip
NUMBERS: tuple[Any, ...] = (True, 3, 1.5, 1 + 2j)
# Refused by PyTorch on the CPU only because a kernel is missing there, or the other way round.
NO_CPU_KERNEL = ("not implemented for", "Found dtype", "not supported for")


def values(dtype: torch.dtype, seed: int, shape: tuple[int, ...] = (5,)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, 9, shape, generator=generator).to(dtype)


def attempt(run: Callable[[], Any]) -> str | None:
    """None, or the error's text."""
    try:
        run()
    except (RuntimeError, OperatorError, TypeError) as error:
        return str(error)
    return None


def same(
    device: Callable[[], Any], cpu: Callable[[], Any], actual: torch.Tensor, expected: torch.Tensor
) -> int:
    """Both refuse, or both give the same; 1 if they were compared. The refusal names types."""
    wanted = attempt(cpu)
    found = attempt(device)
    if wanted is not None and any(text in wanted for text in NO_CPU_KERNEL):
        return 0
    if wanted is None and found is not None and "not supported for" in found:
        return 0  # no kernel for this type at all, which is told
    assert (found is None) == (wanted is None), f"device: {found}\nCPU: {wanted}"
    if found is None:
        near = 0.02 if torch.bfloat16 in (actual.dtype, expected.dtype) else 5e-3
        torch.testing.assert_close(actual, expected, rtol=near, atol=near, equal_nan=True)
    return 1


UNARY = {
    "Sqrt": torch.sqrt, "Exp": torch.exp, "Cos": torch.cos, "Reciprocal": torch.reciprocal, "Floor": torch.floor,
    "Sigmoid": torch.sigmoid, "Log": torch.log, "Neg": torch.neg, "Rsqrt": torch.rsqrt, "Erf": torch.erf,
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_argument(name: str) -> None:
    compared = 0
    for dtype in DTYPES:
        x = values(dtype, 1)
        for out_type in DTYPES:
            if torch.float16 in (dtype, out_type) and torch.bfloat16 in (dtype, out_type):
                continue
            out, expected = torch.zeros(5, dtype=out_type), torch.zeros(5, dtype=out_type)
            compared += same(
                lambda x=x, out=out: call(f"aclnn{name}", x, out),
                lambda x=x, expected=expected: UNARY[name](x, out=expected),
                out, expected,
            )  # fmt: skip
    assert compared > 5


# operator: reference, whether it takes alpha
BINARY: dict[str, tuple[Callable[..., Any], bool]] = {
    "Add": (torch.add, True), "Sub": (torch.sub, True), "Mul": (torch.mul, False), "Div": (torch.div, False),
    "FloorDivide": (torch.floor_divide, False), "Remainder": (torch.remainder, False),
    "Pow": (torch.pow, False), "BitwiseAnd": (torch.bitwise_and, False), "Eq": (torch.eq, False),
}  # fmt: skip
TENSOR_NAMES = {"Remainder": "RemainderTensorTensor", "Pow": "PowTensorTensor", "BitwiseAnd": "BitwiseAndTensor",
                "Eq": "EqTensor"}  # fmt: skip
SCALAR_NAMES = {"Remainder": "RemainderTensorScalar", "Pow": "PowTensorScalar", "BitwiseAnd": "BitwiseAndScalar",
                "Eq": "EqScalar"}  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
def test_two_tensors_in_place(name: str) -> None:
    reference, alpha = BINARY[name]
    compared = 0
    for dtype in DTYPES:
        for other_type in DTYPES:
            for shape in ((5,), ()):
                x, y = values(dtype, 1), values(other_type, 2, shape)
                expected = x.clone()
                more = (Scalar(1),) if alpha else ()
                compared += same(
                    lambda x=x, y=y, more=more: call(f"aclnnInplace{TENSOR_NAMES.get(name, name)}", x, y, *more),
                    lambda e=expected, y=y: getattr(e, reference.__name__ + "_")(y),
                    x, expected,
                )  # fmt: skip
    assert compared > 20


@pytest.mark.parametrize("name", BINARY)
def test_a_tensor_and_a_number(name: str) -> None:
    reference, alpha = BINARY[name]
    compared = 0
    for dtype in DTYPES:
        for number in NUMBERS:
            x = values(dtype, 1)
            expected = x.clone()
            more = (Scalar(1),) if alpha else ()
            scalar_name = SCALAR_NAMES.get(name, name + "s")
            compared += same(
                lambda x=x, number=number, n=scalar_name: call(f"aclnnInplace{n}", x, Scalar(number), *more),
                lambda e=expected, number=number: getattr(e, reference.__name__ + "_")(number),
                x, expected,
            )  # fmt: skip
            for out_type in (torch.bool, torch.int64, torch.float32, torch.float64):
                x = values(dtype, 1)
                out, expected = torch.zeros(5, dtype=out_type), torch.zeros(5, dtype=out_type)
                compared += same(
                    lambda x=x, number=number, n=scalar_name, out=out: call(f"aclnn{n}", x, Scalar(number), *more, out),
                    lambda x=x, number=number, e=expected: reference(x, number, out=e),
                    out, expected,
                )  # fmt: skip
    assert compared > 20


def test_results_wrap_in_their_type_before_they_are_widened() -> None:
    a, b, out = (
        torch.full((3,), 200, dtype=torch.uint8),
        torch.full((3,), 100, dtype=torch.uint8),
        torch.zeros(3),
    )
    call("aclnnAdd", a, b, Scalar(1), out)
    assert out.tolist() == [44.0] * 3
    wide = torch.zeros(2, 3, dtype=torch.int64)[:, ::2]
    call("aclnnSub", b.expand(2, 3)[:, ::2], a.expand(2, 3)[:, ::2], Scalar(1), wide)
    assert wide.flatten().tolist() == [156] * 4
    truth, number = torch.ones(3, dtype=torch.bool), torch.zeros(3, dtype=torch.int32)
    call("aclnnAdd", truth, truth, Scalar(1), number)
    assert number.tolist() == [1] * 3


def test_clamp_and_hardtanh() -> None:
    for dtype in (torch.int64, torch.float16, torch.float32):
        for low in (2, 2.5):
            x = values(dtype, 1)
            out, expected = torch.zeros_like(x), torch.zeros_like(x)
            same(lambda: call("aclnnClamp", x, Scalar(low), Scalar(4), out),
                 lambda: torch.clamp(x, low, 4, out=expected), out, expected)  # fmt: skip
    x = values(torch.int64, 1)
    call("aclnnInplaceHardtanh", x, Scalar(2.0), Scalar(4.0))  # the bounds take the tensor's type
    assert torch.equal(x, values(torch.int64, 1).clamp(2, 4))


INT, FLOAT, BOOL = torch.ones(3, dtype=torch.int64), torch.ones(3), torch.ones(3, dtype=torch.bool)
ONE = torch.ones(())
# The call, and what its message must say beside the operator.
REFUSED: tuple[tuple[str, tuple[Any, ...], str], ...] = (
    ("aclnnInplaceAdds", (INT, Scalar(1.5), Scalar(1)),
     r"result type float32 \(of int64\[3\] and a float scalar\) can't be cast to the desired output type int64 of self"),
    ("aclnnInplaceSqrt", (INT,), r"result type float32 \(of int64\[3\]\).* int64 of self: work out of place"),
    ("aclnnAdds", (INT, Scalar(2), Scalar(1), BOOL), r"result type int64.*bool of out"),
    ("aclnnMuls", (FLOAT, Scalar(1j), FLOAT.clone()), r"result type complex64.*a complex scalar"),
    ("aclnnAdd", (INT, INT, Scalar(1.5), INT), "alpha is float64, wanted an integer for a result of type int64"),
    ("aclnnAdd", (FLOAT, FLOAT, Scalar(True), FLOAT), "alpha is a bool"),
    ("aclnnNeg", (BOOL, BOOL.clone()), r"`-` operator with bool operands \(self is bool\[3\]\).*logical_not"),
    ("aclnnSub", (BOOL, INT, Scalar(1), INT), r"`-` operator with a bool operand \(self is bool\[3\]\)"),
    ("aclnnSubs", (INT, Scalar(True), Scalar(1), INT), r"bool operand \(the scalar\)"),
    ("aclnnFloor", (BOOL, BOOL.clone()), "not implemented for bool"),
    ("aclnnSignbit", (FLOAT, INT), "out is int64.*wanted a bool tensor"),
    ("aclnnAddcdiv", (FLOAT, INT, INT, Scalar(1), FLOAT), r"integer division.*tensor1 is int64\[3\]"),
    ("aclnnAddcmul", (INT, FLOAT, INT, Scalar(1), INT), "result type float32"),
    ("aclnnLerps", (INT, INT, Scalar(0.5), INT), "result type float32"),
    ("aclnnSWhere", (BOOL, INT, FLOAT, INT), r"result type float32 \(of int64\[3\], float32\[3\]\)"),
    ("aclnnAddr", (torch.ones(3, 3, dtype=torch.int64), FLOAT, INT, None, None, torch.ones(3, 3, dtype=torch.int64)),
     "result type float32"),
    ("aclnnSilu", (INT, INT.clone()), "result type float32"),
    ("aclnnMseLoss", (FLOAT, FLOAT, 1, torch.ones((), dtype=torch.int64)), "result type float32"),
    ("aclnnGlu", (torch.ones(4), 0, torch.ones(2, dtype=torch.int64)), "result type float32"),
    ("aclnnComplex", (INT, INT, torch.ones(3, dtype=torch.complex64)), r"real is int64\[3\]"),
    ("aclnnCumsum", (FLOAT, 0, torch.float32, INT), "sums of float32 can't be cast"),
    ("aclnnCumsum", (BOOL, 0, torch.bool, BOOL.clone()), "sums of bool"),
    ("aclnnMean", (FLOAT, None, False, torch.float32, torch.ones((), dtype=torch.int64)), "result type float"),
    ("aclnnAmax", (FLOAT, None, False, torch.ones((), dtype=torch.int64)), "wanted the type of self float32"),
    ("aclnnAmin", (FLOAT, None, False, torch.ones((), dtype=torch.complex64)), "wanted the type of self float32"),
    ("aclnnMax", (FLOAT, torch.ones((), dtype=torch.float64)), "wanted the type of self float32"),
    ("aclnnRoundDecimals", (FLOAT, 2, INT), "result type float32"),
    ("aclnnRoundDecimals", (INT, 0, INT), "not supported for int64"),
    ("aclnnForeachAddScalarV2", ([INT], Scalar(1.5), [INT]), "result type float32.*a float scalar"),
    ("aclnnForeachMulList", ([INT], [FLOAT], [INT]), "result type float32"),
    ("aclnnForeachSqrt", ([FLOAT], [INT]), "result type float32"),
    ("aclnnForeachAddScalarList", ([FLOAT, INT], ScalarList([Scalar(1.5), Scalar(1.5)]), [FLOAT, INT]), "float scalar"),
)  # fmt: skip


@pytest.mark.parametrize(("name", "args", "text"), REFUSED, ids=lambda a: a if isinstance(a, str) else "")
def test_what_is_refused_says_why(name: str, args: tuple[Any, ...], text: str) -> None:
    with pytest.raises(OperatorError, match=f"{name}: .*{text}") as error:
        call(name, *args)
    assert error.value.phase == 1  # where it was called


def test_copies_convert() -> None:
    """What is an assignment in PyTorch stays one."""
    out = torch.zeros(3, dtype=torch.int64)
    call("aclnnInplaceCopy", out, torch.tensor([1.9, -2.7, 3.0]))
    assert out.tolist() == [1, -2, 3]
    call("aclnnInplaceFillScalar", out, Scalar(2.5))
    assert out.tolist() == [2, 2, 2]
    call("aclnnInplaceMaskedFillScalar", out, torch.tensor([True, False, True]), Scalar(4.5))
    assert out.tolist() == [4, 2, 4]
    call("aclnnForeachCopy", [torch.tensor([1.9, 2.9, 3.9])], [out])
    assert out.tolist() == [1, 2, 3]
    call("aclnnAbs", torch.tensor([3 + 4j, 1j], dtype=torch.complex64), real := torch.zeros(2))
    assert real.tolist() == [5.0, 1.0]
