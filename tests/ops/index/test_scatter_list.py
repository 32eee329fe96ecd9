# SPDX-License-Identifier: Apache-2.0
"""Writes into a list of caches, against PyTorch's slices."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import layouts, make

NAME = "aclnnScatterList"
DTYPES = (
    torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.uint8, torch.bool,
)  # fmt: skip


def reference(
    var: list[torch.Tensor], indice: torch.Tensor, updates: torch.Tensor, mask: torch.Tensor | None, axis: int
) -> list[torch.Tensor]:
    want = [v.clone() for v in var]
    for i, v in enumerate(want):
        if mask is None or mask[i]:
            v.narrow(axis, int(indice[i]), updates.shape[axis]).copy_(updates[i])
    return want


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("index", [torch.int32, torch.int64], ids=str)
def test_axes_and_masks(dtype: torch.dtype, index: torch.dtype) -> None:
    for shape in ((4, 9, 5), (7,), (3, 3, 8, 4)):
        for axis in range(-len(shape), 0):
            short = list(shape)
            short[axis] = 2
            indice = torch.tensor([0, shape[axis] - 2, 1], dtype=index)
            for _, updates in layouts(make((3, *short), dtype, 1)):
                for mask in (
                    None,
                    torch.tensor([1, 0, 2], dtype=torch.uint8),
                    torch.tensor([False, True, True]),
                ):
                    for k in range(3):
                        var = [
                            list(layouts(make(shape, dtype, 2 + i)))[min(k, len(shape) - 1)][1]
                            for i in range(3)
                        ]
                        want = reference(var, indice, updates, mask, axis)
                        call(NAME, var, indice, updates, mask, "update", axis)
                        assert all(torch.equal(v, w) for v, w in zip(var, want, strict=True))


def test_empty_and_whole() -> None:
    var, index = [torch.ones(3, 4)], torch.zeros(1, dtype=torch.int64)
    call(NAME, var, index, torch.empty(1, 3, 0), None, None, -1)
    assert var[0].eq(1).all()
    call(NAME, var, index, torch.zeros(1, 3, 4), None, "update", -2)
    assert var[0].eq(0).all()


def test_wrong_indices_write_nothing() -> None:
    for bad in (-1, 3, 2**31 - 1):
        var, indice = [torch.ones(3, 4) for _ in range(2)], torch.tensor([0, bad], dtype=torch.int32)
        with pytest.raises(
            OperatorError,
            match=rf"{NAME}: index {bad} at position \[1\] of indice is out of range, wanted 0 to 2",
        ):
            call(NAME, var, indice, torch.zeros(2, 3, 2), None, "update", -1)
        assert all(v.eq(1).all() for v in var)
        call(NAME, var, indice, torch.zeros(2, 3, 2), torch.tensor([1, 0], dtype=torch.uint8), "update", -1)
        assert var[0][:, :2].eq(0).all() and var[1].eq(1).all()


def test_bad_input() -> None:
    var = [torch.ones(3, 4) for _ in range(2)]
    good = [var, torch.zeros(2, dtype=torch.int64), torch.zeros(2, 3, 1), None, "update", -1]
    call(NAME, *good)
    for at, bad, text in (
        (0, None, "varRef is null"),
        (0, [var[0], None], "tensor 1 of varRef is null"),
        (0, [var[0], torch.ones(4, 4)], "updates is float32[2,3,1], tensor 1 of varRef is float32[4,4]"),
        (0, var[:1], "indice is int64[2], wanted one dimension of 1"),
        (1, None, "indice is null"),
        (1, torch.zeros(2), "indice is float32"),
        (1, torch.zeros(2, 2, dtype=torch.int64), "indice is int64[2,2]"),
        (2, None, "updates is null"),
        (2, torch.zeros(3, 3, 1), "updates is float32[3,3,1], wanted 2"),
        (2, torch.zeros(2, 3, 1).half(), "updates is float16"),
        (3, torch.ones(3, dtype=torch.uint8), "maskOptional is uint8[3]"),
        (3, torch.ones(2), "maskOptional is float32"),
        (4, "add", "reduceOptional is 'add', wanted update"),
        (5, 1, "axis is 1"),
        (5, -3, "axis is -3"),
    ):
        with pytest.raises(OperatorError, match=NAME) as e:
            call(NAME, *good[:at], bad, *good[at + 1 :])
        assert text in e.value.text, e.value.text
