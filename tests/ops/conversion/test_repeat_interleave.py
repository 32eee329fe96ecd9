"""aclnnRepeatInterleave, ...Int, ...WithDim, ...IntWithDim, ...Tensor, ...Grad."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import COMPLEX, FLOATS, INTS, assert_close, layouts, make

ALL = (*FLOATS, *INTS, torch.bool, *COMPLEX)


@pytest.mark.parametrize("dtype", ALL)
def test_one_count(dtype: torch.dtype) -> None:
    for shape in ((6,), (3, 4, 5), (0, 3), (40, 300)):
        for _, x in layouts(make(shape, dtype)):
            for repeats in (3,) if shape == (40, 300) else (0, 1, 3):
                expected = x.repeat_interleave(repeats)
                out = torch.empty_like(expected)
                call("aclnnRepeatInterleaveInt", x, repeats, out.numel(), out)
                assert torch.equal(out, expected)
                call("aclnnRepeatInterleave", x, torch.tensor(repeats), out.numel(), out)
                assert torch.equal(out, expected)
                for dim in range(-1, len(shape)):
                    expected = x.repeat_interleave(repeats, dim)
                    for _, out in layouts(torch.empty_like(expected, memory_format=torch.contiguous_format)):
                        call("aclnnRepeatInterleaveIntWithDim", x, repeats, dim, out.shape[dim], out)
                        assert torch.equal(out, expected)


@pytest.mark.parametrize("dtype", ALL)
def test_own_counts(dtype: torch.dtype) -> None:
    for _, x in layouts(make((3, 4, 5), dtype)):
        for dim, counts in (
            (0, [1, 0, 3]),
            (1, [2, 2, 0, 1]),
            (2, [0, 0, 1, 5, 0]),
            (-1, [2]),
            (0, [0, 0, 0]),
        ):
            repeats = torch.tensor(counts)
            expected = x.repeat_interleave(repeats, dim)
            out = torch.empty_like(expected)
            call("aclnnRepeatInterleaveWithDim", x, repeats, dim, out.shape[dim], out)
            assert torch.equal(out, expected)
            if dtype in FLOATS:
                grad = make(tuple(expected.shape), dtype, seed=2)
                result = torch.empty((3, 4, 5), dtype=dtype)
                call("aclnnRepeatInterleaveGrad", grad, repeats, dim, result)
                leaf = x.detach().clone().double().requires_grad_()
                leaf.repeat_interleave(repeats, dim).backward(grad.double())
                assert_close(result, leaf.grad, max_ulp=1, atol=1e-6)
        repeats = torch.arange(60).remainder(3)
        expected = x.repeat_interleave(repeats)
        out = torch.empty_like(expected)
        call("aclnnRepeatInterleave", x, repeats, out.numel(), out)
        assert torch.equal(out, expected)


def test_positions() -> None:
    repeats = torch.tensor([2, 0, 3, 1])
    for dtype in (torch.int64, torch.int32):
        out = torch.empty(6, dtype=dtype)
        call("aclnnRepeatInterleaveTensor", repeats.to(dtype), 6, out)
        assert torch.equal(out, torch.repeat_interleave(repeats).to(dtype))


def test_bad_input_is_named() -> None:
    x = torch.ones(2, 3)
    for name, args, text in (
        ("aclnnRepeatInterleaveInt", (x, 2, 12, torch.empty(13)), "repeats 2"),
        ("aclnnRepeatInterleaveIntWithDim", (x, 2, 2, 6, torch.empty(2, 6)), "dim is 2"),
        (
            "aclnnRepeatInterleaveWithDim",
            (x, torch.tensor([1, 2, 3]), 0, 6, torch.empty(6, 3)),
            "wanted 1 or 2 elements",
        ),
        (
            "aclnnRepeatInterleaveWithDim",
            (x, torch.tensor([1, -2]), 0, 6, torch.empty(6, 3)),
            "repeats is -2",
        ),
        (
            "aclnnRepeatInterleaveWithDim",
            (x, torch.tensor([1, 2]), 0, 6, torch.empty(6, 3)),
            "sum up to 3, out has 6",
        ),
    ):
        with pytest.raises(OperatorError, match=f"{name}: .*{text}"):
            call(name, *args)
