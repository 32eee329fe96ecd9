"""Softmax of scores within windows with their mask and bias, against float64."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import FLOATS, assert_close, make

ATOL = {torch.float32: 1e-6, torch.bfloat16: 4e-3, torch.float16: 5e-4, torch.float64: 1e-13}


@pytest.mark.parametrize("dtype", FLOATS)
def test_windows(dtype: torch.dtype) -> None:
    b, w, n, s1, s2 = 2, 3, 4, 5, 33
    x = make((b, w, n, s1, s2), dtype)
    masks = [None, *(make(shape, dtype, 1) for shape in ((w, s1, s2), (w, 1, s1, s2), (1, w, 1, s1, s2)))]
    biases = [make(shape, dtype, 2) for shape in ((n, s1, s2), (1, n, s1, s2), (1, 1, n, s1, s2))]
    for mask in masks:
        for bias in biases:
            want = x.double() * 0.5 + bias.double().view(1, 1, n, s1, s2)
            if mask is not None:
                want = want + mask.double().view(1, w, 1, s1, s2)
            want = want.softmax(-1)
            for shape in ((b, w, n, s1, s2), (b * w, n, s1, s2)):
                out = torch.empty(shape, dtype=dtype)
                call("aclnnMaskedSoftmaxWithRelPosBias", x.view(shape), mask, bias, 0.5, 0, out)
                assert_close(out.view(want.shape), want, 4, ATOL[dtype])


def test_strided_and_in_place() -> None:
    """Scores cut from a wider tensor, and the result in their place."""
    x, bias = make((2, 1, 2, 4, 16), torch.float32)[..., ::2], make((2, 4, 8), torch.float32, 1)
    want = (x.double() + bias.double()).softmax(-1)
    call("aclnnMaskedSoftmaxWithRelPosBias", x, None, bias, 1.0, 0, x)
    assert_close(x, want, 4, 1e-6)


def test_bad_input() -> None:
    x, bias, out = torch.ones(2, 3, 4, 5, 6), torch.ones(4, 5, 6), torch.empty(2, 3, 4, 5, 6)
    with pytest.raises(
        OperatorError, match="relativePosBias is .*want 4 matrices of the last two dimensions"
    ):
        call("aclnnMaskedSoftmaxWithRelPosBias", x, None, torch.ones(3, 5, 6), 1.0, 0, out)
    with pytest.raises(OperatorError, match="attenMaskOptional is .*want 3 matrices"):
        call("aclnnMaskedSoftmaxWithRelPosBias", x, torch.ones(3, 4, 5, 6), bias, 1.0, 0, out)
    with pytest.raises(OperatorError, match="x is .*want floating point of 4 or 5 dimensions"):
        call("aclnnMaskedSoftmaxWithRelPosBias", x[0, 0], None, bias, 1.0, 0, out[0, 0])
