"""VarCorrection, VarMean, Std, StdMeanCorrection: accumulated in double, two units for rounding."""

from __future__ import annotations

import pytest
import torch
from aclnn import IntArray, OperatorError, call
from compare import FLOATS, assert_close, layouts, make

CASES = [
    ((), []),
    ((1,), [0]),
    ((7,), [0]),
    ((3, 5), [0]),
    ((3, 5), [1]),
    ((2, 3, 4, 5), [1, 3]),
    ((129, 1031), [0]),
    ((129, 1031), [1]),
    ((129, 1031), []),
    ((0, 3), [0]),
    ((3, 0), [0]),
    ((5000, 3), [0]),
]


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("correction", [0, 1, 2])
def test_var_and_std(dtype: torch.dtype, correction: int) -> None:
    for shape, dims in CASES:
        for _, x in layouts(make(shape, dtype)):
            wide, dim = x.double(), dims or None
            var, mean = torch.var_mean(wide, dim, correction=correction)
            v, m = torch.empty(var.shape, dtype=dtype), torch.empty(var.shape, dtype=dtype)
            call("aclnnVarMean", x, IntArray(dims), correction, False, v, m)
            atol = 1e-13 if dtype == torch.float64 else 1e-10  # torch rounds in double too
            assert_close(v, var, 2, atol)
            assert_close(m, mean, 2, atol)
            call("aclnnVarCorrection", x, IntArray(dims), correction, False, v)
            assert_close(v, var, 2, atol)
            call("aclnnStd", x, IntArray(dims), correction, False, v)
            assert_close(v, var.sqrt(), 2, atol)
            call("aclnnStdMeanCorrection", x, IntArray(dims), correction, False, v, m)
            assert_close(m, mean, 2, atol)


def test_large_mean_does_not_cancel() -> None:
    x = make((4000,), torch.float32) + 1e5
    out = torch.empty(())
    call("aclnnVarCorrection", x, IntArray([]), 1, False, out)
    assert_close(out, x.double().var(), 1)


def test_integers_are_refused() -> None:
    with pytest.raises(OperatorError, match=r"aclnnStd: self is int32\[3\], want a floating point type"):
        call("aclnnStd", torch.zeros(3, dtype=torch.int32), IntArray([]), 1, False, torch.zeros(()))
