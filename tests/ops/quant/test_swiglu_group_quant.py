# SPDX-License-Identifier: Apache-2.0
"""SwiGLU quantised to hifloat8 by groups of rows, and its gradient, against float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from aclnn import HIFLOAT8, OperatorError, Typed, call
from compare import assert_close, layouts, make
from narrow import hif8_value
from quant_cases import FLOATS

VALUES = torch.tensor([hif8_value(c) for c in range(256)], dtype=torch.float64)
TABLE = VALUES[VALUES.isfinite()].unique()


def gated(x: torch.Tensor, limit: float) -> torch.Tensor:
    a, b = x.chunk(2, -1)
    return F.silu(a.clamp(max=limit)) * b.clamp(-limit, limit) if limit > 0 else F.silu(a) * b


def run(x: torch.Tensor, **change: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    half = (*x.shape[:-1], x.shape[-1] // 2)
    groups = change.get("groups")
    given = {
        "weight": None, "groups": None, "scale": None, "type": HIFLOAT8, "mode": 3, "block": 0, "round": False, "limit": 0.0, "max": 15.0,
        "origin": True, "y": Typed(torch.full(half, 99, dtype=torch.uint8), HIFLOAT8),
        "y_scale": torch.full((1 if groups is None else len(groups),), 99.0), "y_origin": torch.full(half, 99, dtype=x.dtype),
    } | change  # fmt: skip
    call("aclnnSwigluGroupQuant", x, *given.values())
    return given["y"].bytes, given["y_scale"], given["y_origin"]


@pytest.mark.parametrize("source", FLOATS, ids=str)
@pytest.mark.parametrize("limit", [-1.0, 0.75])
@pytest.mark.parametrize("counts", [None, [3, 0, 5], [2, 4], [9, 100]])
def test_forward(source: torch.dtype, limit: float, counts: list[int] | None) -> None:
    """Of values half-way the other neighbour may be meant; groups end with the rows."""
    for shape in ((11, 66), (1, 11, 8)):
        weight = make((11, 1), torch.float32, 1)
        for _, x in layouts(make(shape, source)):
            for w in (None, weight):
                index = None if counts is None else torch.tensor(counts)
                y, scale, origin = run(x, groups=index, weight=w, limit=limit)
                z = gated(x.double(), limit) * (1 if w is None else w.double())
                assert_close(origin, z, 2, 1e-6)
                z = z.flatten(0, -2)
                ends = [11] if counts is None else torch.tensor(counts).cumsum(0).clamp(max=11).tolist()
                for g, (first, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
                    top = z[first:end].abs().max() if end > first else torch.zeros(())
                    assert_close(scale[g], top.clamp(min=1e-8) / 15, 8)
                    want = z[first:end] / scale[g].double()
                    got = VALUES[y.flatten(0, -2)[first:end].long()]
                    near = (want[..., None] - TABLE).abs().amin(-1)
                    assert ((got - want).abs() <= near + 1e-5).all()
                assert y.flatten(0, -2)[ends[-1] :].eq(0).all()


def test_without_what_was_not_asked_for() -> None:
    x = make((4, 8), torch.bfloat16)
    first = run(x)
    again = run(x, origin=False, y_origin=torch.empty(0, dtype=x.dtype))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    empty = run(torch.empty(0, 8))
    assert_close(empty[1], torch.tensor([1e-8 / 15], dtype=torch.float64), 4)


@pytest.mark.parametrize("source", FLOATS, ids=str)
@pytest.mark.parametrize("limit", [0.0, 0.75])
@pytest.mark.parametrize("counts", [None, [3, 0, 5]])
def test_gradient(source: torch.dtype, limit: float, counts: list[int] | None) -> None:
    index = None if counts is None else torch.tensor(counts)
    rows = 11 if counts is None else sum(counts)
    weight = make((11, 1), torch.float32, 1)
    for _, x in layouts(make((11, 66), source)):
        for _, grad in layouts(make((11, 33), source, 2)):
            for w in (None, weight):
                leaf = x.double().requires_grad_(True)
                z = gated(leaf, limit)
                by = torch.ones(11, 1, dtype=torch.float64) if w is None else w.double()
                (want,) = torch.autograd.grad(z, leaf, grad.double() * by)
                origin, dx = make((11, 33), source, 3), torch.full((11, 66), 99, dtype=source)
                dw = torch.full((11, 1), 99.0) if w is not None else torch.empty(0)
                call("aclnnSwigluGroupQuantGrad", grad, x, w, origin, index, limit, dx, dw)
                want[rows:] = 0
                assert_close(dx, want, 4, 4e-6)
                if w is not None:
                    sums = (grad.double() * origin.double()).sum(-1, keepdim=True)
                    sums[rows:] = 0
                    assert_close(dw, sums, 1)


def test_a_value_at_its_limit_has_no_gradient() -> None:
    x, dx = torch.tensor([[0.5, 0.25, 0.5, -0.5]]), torch.empty(1, 4)
    call("aclnnSwigluGroupQuantGrad", torch.ones(1, 2), x, None, None, None, 0.5, dx, torch.empty(0))
    assert dx[0, 0] == 0 and dx[0, 1] != 0 and dx[0, 2:].tolist() == [0, 0]


def test_refusals() -> None:
    x, weight = make((4, 8), torch.float32), torch.ones(4)

    def refused(match: str, given: torch.Tensor = x, **change: Any) -> None:
        with pytest.raises(OperatorError, match=f"aclnnSwigluGroupQuant: {match}"):
            run(given, **change)

    refused("x is int32", x.int())
    refused("x is float32\\[4,7\\], wanted an even", x[:, 1:])
    refused("weightOptional is float32\\[3\\]", weight=torch.ones(3))
    refused("groupIndexOptional is float32", groups=weight)
    refused("groupIndexOptional\\[1\\] is -1", groups=torch.tensor([2, -1]))
    refused("quantMode is 2", mode=2)
    refused("blockSize is 32", block=32)
    refused("roundScale is true", round=True)
    refused("dstTypeMax is 0", max=0.0)
    refused("dstType is 36", type=36)
    refused("yOut is int8.*wanted hifloat8", y=torch.empty(4, 4, dtype=torch.int8), type=2)
    refused("yOut is null", y=None)
    refused("yScaleOut is null", y_scale=None)
    refused("yScaleOut is float32\\[2\\], wanted 1", y_scale=torch.ones(2))
    refused("yOriginOut is null", y_origin=None)
    refused("yOriginOut is float32\\[4,8\\]", y_origin=x)
    grad, dx = torch.ones(4, 4), torch.empty(4, 8)

    def refused_grad(match: str, *args: Any) -> None:
        with pytest.raises(OperatorError, match=f"aclnnSwigluGroupQuantGrad: {match}"):
            call("aclnnSwigluGroupQuantGrad", *args)

    refused_grad("gradY is null", None, x, None, None, None, 0.0, dx, None)
    refused_grad("x is null", grad, None, None, None, None, 0.0, dx, None)
    refused_grad("gradXOut is null", grad, x, None, None, None, 0.0, None, None)
    refused_grad("gradY is float32\\[4,8\\]", x, x, None, None, None, 0.0, dx, None)
    refused_grad("gradXOut is float32\\[4,4\\]", grad, x, None, None, None, 0.0, grad, None)
    refused_grad("yOriginOptional is null", grad, x, weight, None, None, 0.0, dx, weight)
    refused_grad("gradWeightOutOptional is null", grad, x, weight, grad, None, 0.0, dx, None)
    refused_grad("yOriginOptional is float32\\[4,8\\]", grad, x, weight, x, None, 0.0, dx, weight)
    refused_grad(
        "gradWeightOutOptional is float32\\[2\\]", grad, x, weight, grad, None, 0.0, dx, torch.ones(2)
    )
