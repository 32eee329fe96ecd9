"""Slices by begin, end and stride with masks, against numpy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from aclnn import IntArray, OperatorError, call

SHAPE = (2, 3, 4, 5)
# What numpy has in brackets, and begin, end, strides and the masks: begin, end, ellipsis, new axis, shrink.
CASES = [
    (np.s_[0:2, 1:3, 2:4, 3:5], [0, 1, 2, 3], [2, 3, 4, 5], [1, 1, 1, 1], {}),
    (np.s_[0:-1, 1:-1, -3:-1, -2:5], [0, 1, -3, -2], [-1, -1, -1, 5], [1, 1, 1, 1], {}),
    (np.s_[0:2, 1:3], [0, 1], [2, 3], [1, 1], {"begin": 8, "end": 8, "ellipsis": 8, "new": 8, "shrink": 8}),
    (np.s_[...], [], [], [], {}),
    (np.s_[1:0:-1, 2:0:-2, 3:0:-1, 5:0:-2], [1, 2, 3, 5], [0, 0, 0, 0], [-1, -2, -1, -2], {}),
    (np.s_[:2, 1:, 0:, :5:2], [1, 1, 0, 2], [2, 0, 0, 5], [1, 1, 1, 2], {"begin": 0b1001, "end": 0b0110}),
    (np.s_[::-1, 2::-1], [9, 2], [9, 9], [-1, -1], {"begin": 1, "end": 3}),
    (np.s_[0, 1:3, -1, ::2], [0, 1, -1, 0], [9, 3, 9, 9], [1, 1, 1, 2], {"shrink": 0b101}),
    (np.s_[None, 1:2, None, 1:3], [0, 1, 0, 1], [0, 2, 0, 3], [1, 1, 1, 1], {"new": 0b101}),
    (np.s_[0:1, ..., 2:3], [0, 9, 2], [1, 9, 3], [1, 1, 1], {"ellipsis": 0b010}),
    (
        np.s_[0:2, ..., 2:3, 1:3, 0:5:2],
        [0, 9, 2, 1, 0],
        [2, 9, 3, 3, 5],
        [1, 1, 1, 1, 2],
        {"ellipsis": 0b010},
    ),
    (np.s_[0:0, 1:1], [0, 1], [0, 1], [1, 1], {}),
    (np.s_[5:9, -9:9], [5, -9], [9, 9], [1, 1], {}),
    (np.s_[0, 1, 2, 3], [0, 1, 2, 3], [1, 2, 3, 4], [1, 1, 1, 1], {"shrink": 15}),
    (np.s_[:: 2**62, 1 :: -(2**62)], [0, 1], [9, 0], [2**62, -(2**63)], {"end": 3}),
]
NAMES = ("begin", "end", "ellipsis", "new", "shrink")


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8, torch.bfloat16, torch.bool])
def test_strided_slice(dtype: torch.dtype) -> None:
    numbers = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    for where, begin, end, strides, masks in CASES:
        want = torch.from_numpy(np.array(numbers[where])).to(dtype)
        out = torch.empty_like(want)
        bits = [masks.get(name, 0) for name in NAMES]
        for x in (
            torch.from_numpy(numbers).to(dtype),
            torch.from_numpy(numbers.T.copy()).to(dtype).permute(3, 2, 1, 0),
        ):
            call("aclnnStridedSlice", x, IntArray(begin), IntArray(end), IntArray(strides), *bits, out)
            assert torch.equal(out, want), (where, masks)


def test_bad_input() -> None:
    x, out = torch.ones(2, 3), torch.empty(1, 3)
    with pytest.raises(OperatorError, match="aclnnStridedSlice: out is .*the slice is"):
        call("aclnnStridedSlice", x, IntArray([0]), IntArray([2]), IntArray([1]), 0, 0, 0, 0, 0, out)
    with pytest.raises(OperatorError, match="aclnnStridedSlice: strides has a 0"):
        call("aclnnStridedSlice", x, IntArray([0]), IntArray([1]), IntArray([0]), 0, 0, 0, 0, 0, out)
    with pytest.raises(OperatorError, match="index 2 is out of range for dimension 0"):
        call("aclnnStridedSlice", x, IntArray([2]), IntArray([3]), IntArray([1]), 0, 0, 0, 0, 1, out[0])
    three = IntArray([0, 0, 0])
    with pytest.raises(OperatorError, match="begin names more dimensions than self"):
        call("aclnnStridedSlice", x, three, three, IntArray([1, 1, 1]), 0, 0, 0, 0, 0, out)
    with pytest.raises(OperatorError, match="have 1, 3 and 1 values"):
        call("aclnnStridedSlice", x, IntArray([0]), three, IntArray([1]), 0, 0, 0, 0, 0, out)
