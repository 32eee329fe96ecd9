# SPDX-License-Identifier: Apache-2.0
"""A message names the operator, the argument in the interface's words, what was found and what is wanted."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from aclnn import (
    BoolArray,
    FloatArray,
    IntArray,
    OperatorError,
    Scalar,
    ScalarList,
    _call,
    base,
    call,
    load,
    signatures,
)

ONES, FIVE, LINE = torch.ones(4, 4), torch.ones(5, 3), torch.ones(4)
INTS, TRUE, COMPLEX = ONES.int(), ONES.bool(), ONES.to(torch.complex64)

# operator, arguments, all of the message after the operator's name
CASES: list[tuple[str, tuple[Any, ...], str]] = [
    # Shapes that do not broadcast: the pair that conflicts.
    ("Add", (ONES, FIVE, Scalar(1), ONES), "other float32[5,3] does not broadcast with self float32[4,4]"),
    ("GeluBackward", (FIVE, ONES, ONES), "self float32[4,4] does not broadcast with gradOutput float32[5,3]"),
    (
        "Addcmul",
        (torch.ones(4, 1), LINE, FIVE, Scalar(1), ONES),
        "tensor2 float32[5,3] does not broadcast with self float32[4,1]",
    ),
    (
        "Addcmul",
        (torch.ones(1, 1), LINE, FIVE, Scalar(1), ONES),
        "tensor2 float32[5,3] does not broadcast with tensor1 float32[4]",
    ),
    ("Rsub", (FIVE, ONES, Scalar(1), ONES), "other float32[4,4] does not broadcast with self float32[5,3]"),
    # An output of another shape: which was wanted.
    (
        "Exp",
        (ONES, FIVE),
        "out is float32[5,3], wanted float32[4,4], the broadcast shape of the inputs (self is float32[4,4])",
    ),
    (
        "GeluV2",
        (ONES, 0, FIVE),
        "y is float32[5,3], wanted float32[4,4], the broadcast shape of the inputs (x is float32[4,4])",
    ),
    (
        "InplaceMul",
        (LINE, ONES),
        "selfRef is float32[4], wanted float32[4,4], the broadcast shape of the inputs (selfRef is float32[4])",
    ),
    ("VarMean", (ONES, IntArray([0]), 1, False, LINE, FIVE), "meanOut is float32[5,3], self float32[4,4] reduced gives float32[4]"),
    # Types: what the operator has.
    ("Exp", (COMPLEX, ONES), "result type complex64 (of complex64[4,4]) can't be cast to the desired output type float32 of out"),
    ("GeluV2", (ONES, 0, INTS), "result type float32 (of float32[4,4]) can't be cast to the desired output type int32 of y"),
    ("Gelu", (COMPLEX, COMPLEX), "not supported for complex64 (self is complex64[4,4]), wanted floating point tensors"),
    ("BitwiseNot", (ONES, ONES), "not supported for float32 (self is float32[4,4]), wanted integer tensors"),
    ("Amax", (COMPLEX, IntArray([0]), False, COMPLEX[0]), "not supported for self complex64[4,4], out complex64[4], wanted floating point or integer tensors"),
    ("Signbit", (ONES, ONES), "out is float32[4,4], wanted a bool tensor"),
    ("Neg", (TRUE, TRUE), "the `-` operator with bool operands (self is bool[4,4]) is not supported: use `^` or logical_xor(), and `~` or logical_not() to invert a mask"),
    # Lists: the interface's name of the list.
    ("ForeachAbs", ([ONES], [FIVE]), "tensor 0 is float32[4,4] in list x and float32[5,3] in list out"),
    ("ForeachLerpList", ([ONES], [ONES], [FIVE], [ONES]), "tensor 0 is float32[5,3] in list weight and float32[4,4] in list out"),
    ("ForeachSqrt", ([COMPLEX, COMPLEX], [COMPLEX, COMPLEX]), "not supported for complex64[4,4] (tensor 0 of list x), wanted floating point tensors"),
    # Dimensions: which there are.
    ("Gather", (ONES, 2, INTS, ONES), "dim is 2, self float32[4,4] allows [-2, 1]"),
    ("Flip", (ONES, IntArray([-7]), ONES), "dims is -7, self float32[4,4] allows [-2, 1]"),
    ("Flip", (ONES, IntArray([0, -2]), ONES), "dims[1] is -2 again, self is float32[4,4]: wanted each dimension once"),
    ("IndexAdd", (ONES, 9, INTS[0], ONES, Scalar(1), ONES), "dim is 9, self float32[4,4] allows [-2, 1]"),
    ("SwiGlu", (ONES, 5, ONES), "dim is 5, x float32[4,4] allows [-2, 1]"),
    ("SwiGluGrad", (FIVE, ONES, 0, ONES), "yGrad is float32[5,3], wanted the shape of float32[4,4] halved along dim 0"),
    ("Amax", (ONES, IntArray([0, -2]), False, LINE), "dim 0 appears twice, self float32[4,4]: wanted each dimension once"),
    ("Cat", ([ONES, ONES], -3, ONES), "dim is -3, out float32[4,4] allows [-2, 1]"),
    ("Cat", ([ONES, ONES], 0, ONES), "the parts have 8 elements along dimension 0, the whole is float32[4,4]: wanted 4"),
    # Values.
    ("InplaceRandom", (ONES, 3, 3, 0, 0), "from 3 to 3 is no range, wanted from < to"),
    ("Flip", (ONES, IntArray([0]), FIVE), "out is float32[5,3], self is float32[4,4], wanted the same shape"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "args", "text"), CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)])
def test_message(op: str, args: tuple[Any, ...], text: str) -> None:
    with pytest.raises(OperatorError) as error:
        call(f"aclnn{op}", *args)
    assert error.value.text == f"aclnn{op}: {text}"
    assert error.value.phase == 1  # in the call that made the mistake, not when the stream comes to it


def plain(kind: str) -> Any:
    """An argument of the C type that suits most operators."""
    values = {
        "aclTensor*": ONES, "aclTensorList*": [ONES, ONES], "aclScalar*": Scalar(1.0),
        "aclScalarList*": ScalarList([Scalar(1.0), Scalar(1.0)]), "aclIntArray*": IntArray([0]),
        "aclFloatArray*": FloatArray([1.0]), "aclBoolArray*": BoolArray([True]), "char*": "none",
        "aclDataType": torch.float32,
    }  # fmt: skip
    return values.get(kind, 0)


# The interface's word for what the operator calls logits.
SYNONYMS = {"input": "logits", "logProb": "logits"}


def names(message: str, argument: str) -> bool:
    """Endings that say the direction of an argument (valuesOut, varRef) may lack; the output of an operator is one."""
    words = re.findall(r"\w+", message.partition(":")[2])
    if "output" in words and argument.lower().endswith("out"):
        return True
    return any(w == SYNONYMS.get(argument) or (len(w) > 0 and argument.startswith(w)) for w in words)


def test_null_is_named() -> None:
    """Every pointer of every operator, one at a time: who complains of a null names that argument."""
    base()
    ops, wrong, complaints = load("libopapi.so"), [], 0
    for op, signature in signatures().items():
        if not hasattr(ops, f"{op}GetWorkspaceSize"):
            continue
        for i, (kind, argument) in enumerate(signature):
            if not kind.endswith("*"):
                continue
            args = [plain(k) for k, _ in signature]
            args[i] = None
            try:
                _call(op, args, None, ())  # call() would be recorded as a test of the operator
            except OperatorError as error:
                if "is null" in error.text or "are null" in error.text:
                    complaints += 1
                    if not names(error.text, argument):
                        wrong.append((op, argument, error.text))
    assert wrong == []
    assert complaints > 500
