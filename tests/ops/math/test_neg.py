"""aclnnNeg."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import COMPLEX, FLOATS, INTS, SHAPES, assert_close, layouts, make, special_values


@pytest.mark.parametrize("dtype", FLOATS + INTS + COMPLEX)
def test_every_dtype_shape_and_layout(dtype: torch.dtype) -> None:
    for shape in SHAPES:
        for _, x in layouts(make(shape, dtype)):
            out = torch.empty(shape, dtype=dtype)
            call("aclnnNeg", x, out)
            assert_close(out, torch.neg(x), max_ulp=0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_special_values_keep_their_sign(dtype: torch.dtype) -> None:
    x = special_values(dtype)
    out = torch.empty_like(x)
    call("aclnnNeg", x, out)
    assert_close(out, torch.neg(x), max_ulp=0)
    assert torch.equal(torch.signbit(out), torch.signbit(torch.neg(x)))


def test_overlapping_output_reads_the_old_input() -> None:
    storage = torch.arange(10.0)
    expected = torch.neg(storage[:8].clone())
    call("aclnnNeg", storage[:8], storage[2:])
    assert torch.equal(storage[2:], expected)


def test_wrong_shape_is_named() -> None:
    with pytest.raises(OperatorError, match="aclnnNeg.*float32\\[3\\]"):
        call("aclnnNeg", torch.ones(2), torch.ones(3))
