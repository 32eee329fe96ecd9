# SPDX-License-Identifier: Apache-2.0
"""Tokens to their experts and back in a group of one rank, by each version; groups of several, and what is refused:
tests/python/test_moe_distribute.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from aclnn import OperatorError, call

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


FLOATS = (torch.float16, torch.bfloat16, torch.float32)
NORM = "aclnnMoeDistributeCombineAddRmsNorm"


def norm_arguments(group: str, dtype: torch.dtype, version: str) -> tuple[list[Any], torch.Tensor]:
    """A call whose rows are results of experts as a dispatch numbers them, and the sum that it must give."""
    torch.manual_seed(6)
    experts = torch.stack([torch.randperm(EXPERTS)[:CHOICES] for _ in range(TOKENS)]).int()
    rows, weights = torch.randn(ROWS, HIDDEN).to(dtype), torch.rand(TOKENS, CHOICES)
    residual, shared = torch.randn(TOKENS, 1, HIDDEN).to(dtype), torch.randn(TOKENS, HIDDEN).to(dtype)
    want, at = residual[:, 0].double() + shared.double(), 0
    for expert in range(EXPERTS):
        for token, choice in (experts == expert).nonzero().tolist():
            want[token] += weights[token, choice].double() * rows[at].double()
            at += 1
    counts = torch.tensor([int((experts == e).sum()) for e in range(EXPERTS)]).cumsum(0).int()
    between, last = ((None,) * 5, (0, 0, 0)) if version else ((), ())
    args = [
        rows, experts, torch.zeros(ROWS * 128, dtype=torch.int32), counts, weights, residual, torch.rand(HIDDEN).to(dtype),
        None, None, None, None, None, None, shared, *between, group, 1, 0, EXPERTS, "", 0, 0, 0, 0, 0, 0, 0, 0, 0, "",
        1e-5, *last, torch.zeros_like(residual), torch.zeros(TOKENS, 1, 1), torch.zeros_like(residual),
    ]  # fmt: skip
    return args, want


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("version", ["", "V2"])
def test_a_norm_behind(group: str, dtype: torch.dtype, version: str) -> None:
    args, want = norm_arguments(group, dtype, version)
    call(NORM + version, *args)
    y, scale, x = args[-3:]
    relative = {torch.float16: 2**-11, torch.bfloat16: 2**-8, torch.float32: 2**-22}[dtype] * 1.01
    torch.testing.assert_close(x[:, 0].double(), want, rtol=relative, atol=1e-6)
    inverse = 1 / (x.double().square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(scale.double(), inverse, rtol=1e-6, atol=0.0)
    torch.testing.assert_close(y.double(), x.double() * inverse * args[6].double(), rtol=relative, atol=1e-6)
    flat = [*args[:5], args[5][:, 0], *args[6:-3], torch.zeros(TOKENS, HIDDEN).to(dtype), torch.zeros(TOKENS),
            torch.zeros(TOKENS, HIDDEN).to(dtype)]  # fmt: skip
    call(NORM + version, *flat)
    assert torch.equal(flat[-1], x[:, 0]) and torch.equal(flat[-3], y[:, 0])


def test_a_norm_refuses(group: str) -> None:
    good, _ = norm_arguments(group, torch.float16, "V2")
    wrong: tuple[tuple[int, Any, str], ...] = (
        (0, None, "expandX is null"),
        (5, None, "residualX is null"),
        (5, torch.zeros(TOKENS, 2, HIDDEN).half(), "residualX is float16[6,2,16], wanted [T,1,H]"),
        (5, torch.zeros(TOKENS, 1, HIDDEN), "residualX is float32[6,16], wanted the type of expandX"),
        (5, torch.zeros(TOKENS - 1, 1, HIDDEN).half(), "residualX is float16[5,16]"),
        (6, None, "gamma is null"),
        (6, torch.zeros(HIDDEN + 1).half(), "gamma is float16[17], wanted [16]"),
        (6, torch.zeros(HIDDEN).int(), "gamma is int32[16]"),
        (13, torch.zeros(TOKENS, HIDDEN), "sharedExpertX is float32[6,16]"),
        (14, torch.zeros(4).int(), "elasticInfo is int32[4], wanted none"),
        (16, torch.zeros(1, HIDDEN).half(), "constExpertAlpha1, constExpertAlpha2 or constExpertV is given"),
        (20, 2, "epWorldSize is 2"),
        (23, "tp", None),
        (24, 2, "tpWorldSize is 2"),
        (30, 1, "outDtype is 1"),
        (34, float("nan"), None),
        (36, 1, "oriX is null, but copyExpertNum is 1"),
        (37, 1, "constExpertNum is 1"),
        (-3, None, "yOut is null"),
        (-3, torch.zeros(TOKENS, 1, HIDDEN), "yOut is float32[6,16]"),
        (-2, None, "rstdOut is null"),
        (-2, torch.zeros(TOKENS - 1), "rstdOut is float32[5], wanted float32 of 6 elements"),
        (-2, torch.zeros(TOKENS).half(), "rstdOut is float16[6]"),
        (-1, None, "xOut is null"),
        (-1, torch.zeros(TOKENS, 1, HIDDEN + 1).half(), "xOut is float16[6,17]"),
    )
    for at, bad, text in wrong:
        args = list(good)
        args[at] = bad
        if text is None:
            call(NORM + "V2", *args)
            continue
        with pytest.raises(OperatorError, match=f"{NORM}V2: ") as e:
            call(NORM + "V2", *args)
        assert text in e.value.text, (text, e.value.text)
