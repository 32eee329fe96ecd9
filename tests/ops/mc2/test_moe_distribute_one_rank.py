# SPDX-License-Identifier: Apache-2.0
"""Tokens to their experts and back in a group of one rank, by each version; groups of several, and what is refused:
tests/python/test_moe_distribute.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from aclnn import call

TOKENS, CHOICES, EXPERTS, HIDDEN = 6, 2, 4, 16
ROWS = TOKENS * CHOICES
# What a version has between the first arguments and the group, and behind the type of counts.
DISPATCH: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "": ((), ()), "V2": ((), ("",)), "V3": ((None,), ("", 0, 0, 0)), "V4": ((None, None), ("", 0, 0, 0)),
}  # fmt: skip
COMBINE: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "": ((), ()), "V2": ((None,), ("",)), "V3": ((None,) * 6, ("", 0, 0, 0)), "V4": ((None,) * 7, ("", 0, 0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("version", DISPATCH)
def test_there_and_back(group: str, version: str) -> None:
    torch.manual_seed(5)
    x = torch.randn(TOKENS, HIDDEN).half()
    experts = torch.stack([torch.randperm(EXPERTS)[:CHOICES] for _ in range(TOKENS)]).int()
    weights = torch.rand(TOKENS, CHOICES)
    place = (group, 1, 0, EXPERTS, "", 0, 0, 0, 0, 0)
    rows = torch.zeros(ROWS, HIDDEN).half()
    index = torch.zeros(ROWS * (128 if version else 1), dtype=torch.int32)
    numbers, counts = torch.zeros(EXPERTS, dtype=torch.int64), torch.zeros(EXPERTS, dtype=torch.int32)
    ends, behind = DISPATCH[version]
    call(
        f"aclnnMoeDistributeDispatch{version}", x, experts, None, None, weights, *ends, *place, 0, 0, 1, *behind,
        rows, torch.zeros(ROWS), index, numbers, counts, torch.zeros(1, dtype=torch.int32), torch.zeros(ROWS),
    )  # fmt: skip
    assert numbers.tolist() == [int((experts == expert).sum()) for expert in range(EXPERTS)]
    want = torch.cat([x[(experts == expert).any(1)] for expert in range(EXPERTS)])
    assert torch.equal(rows, want)
    back = torch.zeros_like(x)
    between, last = COMBINE[version]
    call(
        f"aclnnMoeDistributeCombine{version}", rows * 2, experts, index, counts, weights, None, None, None, None, None,
        None, *between, *place, 0, 0, 0, 0, *last, back,
    )  # fmt: skip
    wanted = 2 * x.double() * weights.double().sum(1, keepdim=True)
    torch.testing.assert_close(back.double(), wanted, rtol=2e-3, atol=1e-5)
