# SPDX-License-Identifier: Apache-2.0
"""Products with weights of int8 that are summed over ranks, in a group of one rank. Groups of several: tests/python/test_distributed.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from aclnn import OperatorError, call
from test_mc2 import FLOATS, ON_FAILURE, SUM, near

NAME = "aclnnWeightQuantMatmulAllReduce"
M, K, N = 6, 96, 40


def operands(dtype: torch.dtype, groups: int, one: bool = False) -> tuple[torch.Tensor, ...]:
    """x1, x2, bias, scale, offset, x3."""
    g = torch.Generator().manual_seed(groups)
    x2 = torch.randint(-128, 128, (K, N), generator=g, dtype=torch.int8)
    shape = (1,) if one else (groups, N)
    x1, bias, x3 = (torch.randn(s, generator=g).to(dtype) for s in ((M, K), (N,), (M, N)))
    scale = (torch.rand(shape, generator=g) * 0.01 + 0.005).to(dtype)
    return x1, x2, bias, scale, torch.randint(-9, 9, shape, generator=g).to(dtype), x3


def product(x1: torch.Tensor, x2: torch.Tensor, scale: torch.Tensor, offset: Any, rows: int) -> torch.Tensor:
    wide = [
        t.double() if t.dim() == 1 else t.double().repeat_interleave(rows, 0)[:K] for t in (scale, offset)
    ]
    return x1.double() @ ((x2.double() + wide[1]) * wide[0])


def run(version: str, group: str, out: torch.Tensor, rows: int, *given: Any) -> torch.Tensor:
    x1, x2, bias, scale, offset, x3 = given
    mode = ("aiv",) if version == "V2" else ()
    call(f"{NAME}{version}", x1, x2, bias, scale, offset, x3, group, SUM, *mode, 0, ON_FAILURE, rows, out)
    return out


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("version", ["", "V2"])
@pytest.mark.parametrize(("groups", "rows"), [(1, 0), (3, 32), (2, 64)])
def test_weights(group: str, groups: int, rows: int, version: str, dtype: torch.dtype) -> None:
    """Scales of columns, and of groups of rows, the last of which may be short."""
    x1, x2, bias, scale, offset, x3 = operands(dtype, groups)
    for weight in (x2, x2.t().contiguous().t()):
        out = run(version, group, torch.empty(M, N, dtype=dtype), rows, x1, weight, bias, scale, offset, x3)
        want = product(x1, x2, scale, offset, rows or K)
        near(out, want + bias.double() + x3.double(), dtype)
    plain = run(version, group, torch.empty(M, N, dtype=dtype), rows, x1, x2, None, scale, None, None)
    near(plain, product(x1, x2, scale, torch.zeros_like(scale), rows or K), dtype)


@pytest.mark.parametrize("dtype", FLOATS)
def test_one_scale_and_leading_dimensions(group: str, dtype: torch.dtype) -> None:
    x1, x2, _, scale, offset, _ = operands(dtype, 1, True)
    out = run(
        "", group, torch.empty(2, 3, N, dtype=dtype), 0, x1.view(2, 3, K), x2, None, scale, offset, None
    )
    near(out.view(M, N), product(x1, x2, scale, offset, 0), dtype)
    columns = run(
        "",
        group,
        torch.empty(M, N, dtype=dtype),
        0,
        x1,
        x2,
        None,
        scale.expand(N).contiguous(),
        offset.expand(N).contiguous(),
        None,
    )
    assert torch.equal(columns, out.view(M, N))


@pytest.mark.parametrize(
    ("place", "bad", "message"),
    [
        (3, None, "antiquantScale is null"),
        (1, torch.ones(K, N), "x2 is float32.*wanted int8 with antiquantScale"),
        (0, torch.ones(M, K, dtype=torch.int8), "x1 is int8"),
        (3, torch.ones(3, N).int(), "antiquantScale is int32"),
        (3, torch.ones(2, N), r"antiquantScale is float32\[2,40\], wanted floating point .* \[3,40\]"),
        (4, torch.ones(N), r"antiquantOffset is float32\[40\], wanted"),
        (2, torch.ones(3), r"bias is float32\[3\], wanted 40"),
        (5, torch.ones(M, 3), "x3 is float32"),
    ],
)
def test_refused(group: str, place: int, bad: Any, message: str) -> None:
    given: list[Any] = list(operands(torch.float32, 3))
    given[place] = bad
    with pytest.raises(OperatorError, match=f"{NAME}: .*{message}"):
        run("", group, torch.empty(M, N), 32, *given)


def test_refused_groups(group: str) -> None:
    given = operands(torch.float32, 3)
    with pytest.raises(OperatorError, match=f"{NAME}: antiquantGroupSize is -1"):
        run("", group, torch.empty(M, N), -1, *given)
