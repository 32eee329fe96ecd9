# SPDX-License-Identifier: Apache-2.0
"""Causal convolutions with a cache of states, and with a mask, against float64."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from aclnn import OperatorError, call
from compare import assert_close, layouts, make

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
INT = torch.int32


def ints(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=INT)


def reference(x: torch.Tensor, w: torch.Tensor, states: torch.Tensor, o: dict[str, Any]) -> tuple:
    """What the operator documents, on copies in float64: the output (NaN for padding) and the states."""
    x, w, states = x.double(), w.double(), states.double().clone()
    flat, taps, size = x.reshape(-1, x.shape[-1]), w.shape[0], states.shape[1]
    starts = (
        o["starts"].tolist()
        if o.get("starts") is not None
        else [i * x.shape[1] for i in range(x.shape[0] + 1)]
    )
    out = torch.full_like(flat, float("nan"))
    for b, (begin, end) in enumerate(itertools.pairwise(starts)):
        lines, last = o.get("lines"), o.get("last")
        read = write = b if lines is None else lines[b]
        if last is not None:
            read, write = lines[b, o["initial"][b]], lines[b, last[b]]
        if int(read) == -1 or begin == end:
            continue
        new = flat[begin:end]
        offset = int(o["accepted"][b]) - 1 if o.get("accepted") is not None else size - (taps - 1)
        kept = states[int(read)][: offset + taps - 1]
        if o.get("computed") is not None and o["computed"][b] == 0:
            offset, kept = 0, torch.zeros(taps - 1, x.shape[-1], dtype=torch.float64)
        padded = torch.cat((kept, new))
        rows = min(size, len(padded))
        states[int(write)][size - rows :] = padded[len(padded) - rows :]
        padded = padded[offset:]
        if last is not None:
            block, n = o["block"], end - begin
            behind = (n - (block - int(o["computed"][b]) % block)) % block
            full = n - behind - (block if behind == 0 else 0)
            fills = int(last[b] - o["first"][b])
            for f in range(fills):
                edge = full - (fills - f - 1) * block
                states[int(lines[b, o["first"][b] + f])][size - (taps - 1) :] = padded[edge : edge + taps - 1]
        y = sum(padded[k : k + end - begin] * w[k] for k in range(taps))
        if o.get("mode"):
            y[: min(max(taps - 1 - int(o["computed"][b]), 0), end - begin)] = 0
        out[begin:end] = y + new if o.get("residual") else y
    return out.reshape(x.shape), states


def run(
    x: torch.Tensor, w: torch.Tensor, states: torch.Tensor, o: dict[str, Any], in_place: bool
) -> torch.Tensor:
    numbers = [o.get("starts"), o.get("lines"), None, o.get("bias"), o.get("accepted"), o.get("computed"),
               o.get("first"), o.get("last"), o.get("initial")]  # fmt: skip
    options = [
        o.get("activation", 0),
        -1,
        0,
        -1,
        int(o.get("residual", 0)),
        o.get("block", 128),
        o.get("mode", 0),
    ]
    if in_place:
        call("aclnnInplaceFusedCausalConv1d", x, w, states, *numbers, *options)
        return x
    y = torch.full_like(x, 7)
    call("aclnnFusedCausalConv1d", x, w, states, *numbers, *options, y)
    return y


# x's shape, taps, lines and their length, options
CASES: list[tuple[tuple[int, ...], int, tuple[int, int], dict[str, Any]]] = [
    ((4, 3, 96), 3, (4, 4), {"lines": ints(2, 0, 3, 1), "accepted": ints(1, 2, 1, 3), "computed": ints(5, 3, 0, 4), "mode": 1, "residual": 1}),
    ((3, 1, 70), 4, (5, 3), {}),
    ((3, 2, 16), 2, (5, 7), {"lines": ints(4, -1, 2), "residual": 1}),
    ((19, 128), 3, (8, 2), {"starts": ints(0, 5, 8, 8, 15, 19), "lines": ints(0, 3, 7, 1, 5), "computed": ints(0, 0, 0, 1, 0), "mode": 1, "residual": 1}),
    ((6, 33), 1, (2, 0), {"starts": ints(0, 4, 6)}),
    ((12, 65), 3, (12, 2), {"starts": ints(0, 9, 12), "lines": torch.arange(12, dtype=INT).view(2, 6), "computed": ints(3, 0), "first": ints(0, 0), "last": ints(2, 0), "initial": ints(0, 0), "block": 4}),
]  # fmt: skip


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_fused(dtype: torch.dtype, case: int, in_place: bool) -> None:
    shape, taps, lines, o = CASES[case]
    w = make((taps, shape[-1]), dtype, 1)
    for layout in range(3):
        x = list(layouts(make(shape, dtype, 2)))[layout][1].clone(memory_format=torch.preserve_format)
        states = list(layouts(make((*lines, shape[-1]), dtype, 3)))[layout][1]
        want, kept = reference(x, w, states, o)
        padding = want.isnan()
        want = torch.where(padding, x.double() if in_place else 0.0, want)
        y = run(x, w, states, o, in_place)
        assert_close(y, want, 1, 1e-5)
        assert torch.equal(states.double(), kept)


def test_fused_refuses() -> None:
    x, w, states = (
        make((4, 3, 16), torch.float32),
        make((3, 16), torch.float32),
        make((4, 2, 16), torch.float32),
    )
    for o, text in (
        ({"lines": ints(0, 1, 2, 4)}, "cacheIndices has 4"),
        ({"accepted": ints(1, 1, 2, 1)}, "numAcceptedTokens has 2 for sequence 2, wanted 1 to 1"),
        ({"mode": 1}, "numComputedTokens is null"),
        ({"mode": 2}, "convMode is 2"),
        ({"residual": 2}, "residualConnection is 2"),
        ({"bias": torch.ones(16)}, "bias, which has no effect"),
        ({"activation": 1}, "activationMode, which has no effect"),
        ({"last": ints(0, 0, 0, 0), "computed": ints(0, 0, 0, 0)}, "cacheIndices is null"),
        ({"starts": ints(0, 13)}, "queryStartLoc has 13"),
        ({"starts": ints(0, 5, 3)}, "queryStartLoc falls from 5 to 3"),
    ):
        with pytest.raises(OperatorError, match="aclnnFusedCausalConv1d") as e:
            run(x, w, states, o, False)
        assert text in e.value.text
    with pytest.raises(OperatorError, match="queryStartLoc is null"):
        run(x[0], w, states, {}, False)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "shape", [(7, 2, 33, 3), (1, 1, 1, 3), (40, 3, 130, 4), (5, 2, 64, 1), (0, 2, 8, 3)], ids=str
)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_masked(dtype: torch.dtype, shape: tuple[int, int, int, int], masked: bool) -> None:
    s, b, h, taps = shape
    w, grad = make((taps, h), dtype, 1), make((s, b, h), dtype, 2)
    mask = make((b, s), torch.bool, 4) if masked else None
    for _, x in layouts(make((s, b, h), dtype, 3)):
        x64, w64 = x.double().requires_grad_(), w.double().requires_grad_()
        padded = torch.cat((torch.zeros(taps - 1, b, h, dtype=torch.float64), x64))
        want = sum(
            (padded[k : k + s] * w64[k] for k in range(taps)), torch.zeros(s, b, h, dtype=torch.float64)
        )
        if mask is not None:
            want = want * mask.t()[..., None]
        y, dx, dw = torch.empty(s, b, h, dtype=dtype), torch.empty(s, b, h, dtype=dtype), torch.empty_like(w)
        call("aclnnMaskedCausalConv1d", x, w, mask, y)
        assert_close(y, want.detach(), 1, 2e-5)
        call("aclnnMaskedCausalConv1dBackward", grad, x, w, mask, dx, dw)
        want_dx, want_dw = torch.autograd.grad(want, (x64, w64), grad.double())
        assert_close(dx, want_dx, 1, 2e-5)
        assert_close(dw, want_dw, 1, 1e-4)


def test_masked_refuses() -> None:
    x, w, y = torch.ones(4, 2, 8), torch.ones(3, 8), torch.empty(4, 2, 8)
    for args, text in (
        ((x, w, torch.ones(4, 2, dtype=torch.bool), y), "maskOptional is bool[4,2], wanted bool [2,4]"),
        ((x, torch.ones(3, 9), None, y), "weight is"),
        ((x, torch.ones(17, 8), None, y), "wanted 1 to 16 taps"),
        ((x, w, None, torch.empty(4, 2, 9)), "out is"),
    ):
        with pytest.raises(OperatorError, match="aclnnMaskedCausalConv1d") as e:
            call("aclnnMaskedCausalConv1d", *args)
        assert text in e.value.text
