# SPDX-License-Identifier: Apache-2.0
"""Products of int8 that are summed over ranks, with int8 on the way, in a group of one rank. Groups of several: tests/python/test_distributed.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from aclnn import OperatorError, call
from test_mc2 import FLOATS, ON_FAILURE, SUM, TOLERANCE, near

NAME = "aclnnQuantMatmulAllReduceV"


def operands(m: int = 6, k: int = 40, n: int = 300) -> tuple[torch.Tensor, ...]:
    """x1, x2, bias, a scale for each column, one for each row, those of what is sent and of the sums."""
    g = torch.Generator().manual_seed(m + k + n)
    x1, x2 = (torch.randint(-128, 128, s, generator=g, dtype=torch.int8) for s in ((m, k), (k, n)))
    bias = torch.randint(-1000, 1000, (n,), generator=g, dtype=torch.int32)
    scale, rows = (torch.rand(c, generator=g) / 2**7 + 2**-8 for c in (n, m))
    sent, total = ((torch.rand(n, generator=g) + 0.5) * 0.1 for _ in range(2))
    return x1, x2, bias, scale, rows, sent, total


def product(
    x1: torch.Tensor, x2: torch.Tensor, bias: Any, scale: torch.Tensor, rows: Any, x3: Any
) -> torch.Tensor:
    y = x1.double() @ x2.double() + (0 if bias is None else bias.double())
    y = y * scale.double() * (1 if rows is None else rows.double()[:, None])
    return y + (0 if x3 is None else x3.double())


def call_version(version: int, ops: tuple[Any, ...], group: str, out: torch.Tensor) -> None:
    """ops: x1, x2, bias, x3, scale, rows, sent, total, as the third version orders them."""
    x1, x2, bias, x3, scale, rows, sent, total = ops
    scales = (scale, rows) if version == 3 else (rows, scale)
    mode = ("aiv",) if version == 5 else ()
    end = () if version == 3 else (0, 0)
    call(
        f"{NAME}{version}",
        x1,
        x2,
        bias,
        x3,
        *scales,
        sent,
        total,
        group,
        SUM,
        *mode,
        0,
        ON_FAILURE,
        *end,
        out,
    )


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("version", [3, 4, 5])
def test_floats_on_the_way(group: str, version: int, dtype: torch.dtype) -> None:
    x1, x2, bias, scale, rows, _, _ = operands()
    x3 = torch.randn(6, 300).to(dtype)
    for b, r, z in ((bias, rows, x3), (None, None, None)):
        out = torch.empty(6, 300, dtype=dtype)
        call_version(version, (x1, x2, b, z, scale, r, None, None), group, out)
        near(out, product(x1, x2, b, scale, r, z), dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("shape", [(6, 40, 300), (1, 1, 1), (5, 0, 4), (0, 4, 3), (3, 4, 0), (300, 7, 5)])
def test_int8_on_the_way(group: str, shape: tuple[int, int, int], version: int, dtype: torch.dtype) -> None:
    """Half a step of each of the two roundings, and what is out of the range of int8 ends at its end."""
    x1, x2, bias, scale, rows, sent, total = operands(*shape)
    x3 = torch.randn(shape[0], shape[2]).to(dtype)
    out = torch.full(x3.shape, 7.0).to(dtype)
    ways = (sent.to(dtype), total.to(dtype).view(1, -1))
    call_version(version, (x1, x2, bias, x3, scale, rows, *ways), group, out)
    first, second = (w.double().flatten() for w in ways)
    steps = (product(x1, x2, bias, scale, rows, x3) / first).clamp(-128, 127)
    want = (steps * first / second).clamp(-128, 127) * second
    slack = first / 2 + second / 2 + TOLERANCE[dtype] * want.abs() + 1e-5
    assert ((out.double() - want).abs() <= slack).all()
    near_half = ((steps - steps.floor() - 0.5).abs() < 1e-3) | (
        (lambda s: (s - s.floor() - 0.5).abs() < 1e-3)(steps.round() * first / second)
    )
    exact = (steps.round() * first / second).clamp(-128, 127).round() * second
    assert torch.allclose(out.double()[~near_half], exact[~near_half], rtol=TOLERANCE[dtype], atol=1e-6)


def test_packed_scales(group: str) -> None:
    x1, x2, _, _, _, sent, total = operands(n=5)
    scale = torch.tensor([2.0**-4, 2.0**-5, 2.0**-6, 2.0**-4, 2.0**-7])
    packed = scale.view(torch.int32).long() | 1 << 46
    outs = [torch.empty(6, 5) for _ in range(2)]
    for s, out in zip((scale, packed), outs, strict=True):
        call_version(3, (x1, x2, None, None, s, None, sent, total), group, out)
    assert torch.equal(*outs)


@pytest.mark.parametrize(
    ("version", "place", "bad", "message"),
    [
        (3, 4, None, "dequantScale is null"),
        (4, 5, None, "x2Scale is null"),
        (5, 6, None, "commQuantScale1 is null and the other is not"),
        (3, 7, None, "commQuantScale2 is null and the other is not"),
        (3, 6, torch.ones(3), r"commQuantScale1 is float32\[3\], wanted 5 floats"),
        (3, 7, torch.ones(5).int(), r"commQuantScale2 is int32\[5\]"),
        (3, 0, torch.ones(6, 40), "x1 is float32"),
        (4, 12, 32, "groupSize is 32, wanted 0"),
        (4, 13, 1, "commQuantMode is 1, wanted 0"),
        (5, 10, "pigeon", "commMode is 'pigeon'"),
        (3, 8, "nobody", "in no communicator called 'nobody'"),
        (3, 12, torch.empty(6, 4), r"output is float32\[6,4\], wanted the shape"),
    ],
)
def test_refused(group: str, version: int, place: int, bad: Any, message: str) -> None:
    x1, x2, bias, scale, rows, sent, total = operands(n=5)
    scales = (scale, rows) if version == 3 else (rows, scale)
    mode = ("aiv",) if version == 5 else ()
    end = () if version == 3 else (0, 0)
    args = [
        x1,
        x2,
        bias,
        None,
        *scales,
        sent,
        total,
        group,
        SUM,
        *mode,
        0,
        ON_FAILURE,
        *end,
        torch.empty(6, 5),
    ]
    args[place] = bad
    with pytest.raises(OperatorError, match=f"{NAME}{version}: .*{message}"):
        call(f"{NAME}{version}", *args)
