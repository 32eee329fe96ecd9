# SPDX-License-Identifier: Apache-2.0
"""MoeUpdateExpert: copies of experts and pruned choices, number for number."""

from __future__ import annotations

import math

import pytest
import torch
from aclnn import OperatorError, call
from compare import make

E, F, T, K, WORLD = 12, 5, 33, 4, 8


def table() -> torch.Tensor:
    g = torch.Generator().manual_seed(1)
    t = torch.randint(0, 40, (E, F), generator=g, dtype=torch.int32)
    t[:, 0] = torch.randint(1, F, (E,), generator=g)
    return t


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("ids", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("scale", [None, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_update(mode: int, ids: torch.dtype, scale: torch.dtype | None, masked: bool) -> None:
    g = torch.Generator().manual_seed(2)
    experts, eplb, rank = torch.randint(0, E, (T, K), generator=g).to(ids), table(), 5
    scales = make((T, K), scale, 3, 0, 0.25) if scale is not None else None
    threshold = make((1, K), torch.float32, 4, 0, 0.5) if scale is not None else None
    active = torch.arange(T) < 20 if masked else None
    out, mask = torch.empty(T, K, dtype=ids), torch.empty(T, K, dtype=torch.bool)
    call("aclnnMoeUpdateExpert", experts, eplb, scales, threshold, active, rank, WORLD, mode, out, mask)
    for i in range(T):
        for k in range(K):
            row = eplb[experts[i, k]].tolist()
            copy = rank // math.ceil(WORLD / row[0]) if mode == 0 else i % row[0]
            assert out[i, k] == row[1 + (copy if row[0] > 1 else 0)]
    want = torch.ones(T, K, dtype=torch.bool)
    if scales is not None and threshold is not None:
        want = scales.float() >= threshold * scales.float().sum(1, keepdim=True)
    if active is not None:
        want = want & active[:, None]
    assert (mask != want).sum() <= 1  # sums in another order


def test_refuses() -> None:
    experts, eplb = torch.zeros(T, K, dtype=torch.int32), table()
    out, mask = torch.empty_like(experts), torch.empty(T, K, dtype=torch.bool)
    bad = eplb.clone()
    bad[0, 0] = F
    for args, text in (
        ((experts, eplb, None, None, None, -1, WORLD, 0), "localRankId is -1"),
        ((experts, eplb, None, None, None, 0, WORLD, 2), "balanceMode is 2"),
        ((experts + E, eplb, None, None, None, 0, WORLD, 0), "expertIds"),
        ((experts, bad, None, None, None, 0, WORLD, 0), f"eplbTable has {F} copies of expert 0"),
        ((experts, eplb, torch.ones(T, K), None, None, 0, WORLD, 0), "pruningThresholdOptional is null"),
        ((experts, eplb, None, None, torch.ones(3, dtype=torch.bool), 0, WORLD, 0), "activeMaskOptional is"),
    ):
        with pytest.raises(OperatorError, match="aclnnMoeUpdateExpert") as e:
            call("aclnnMoeUpdateExpert", *args, out, mask)
        assert text in e.value.text
