# SPDX-License-Identifier: Apache-2.0
"""Products of groups whose rows are weighted and summed for their tokens, against float64."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, Typed, call
from compare import assert_close, make
from narrow import E1M2, E2M1, E4M3, mx_quantise, mx_values, pack4
from quant_cases import pack

VERSIONS = ("V2", "V3", "WeightNz", "WeightNzV2")
TOKENS, CHOICES, K, N = 23, 4, 64, 48
LENGTHS = (30, 0, 41, 13)
M, END = TOKENS * CHOICES, sum(LENGTHS)


def integers(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randint(-128, 128, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.int8)


def routes() -> torch.Tensor:
    return torch.randperm(M, generator=torch.Generator().manual_seed(7)) // CHOICES


def combined(
    z: torch.Tensor, logit: torch.Tensor | None, row: torch.Tensor, shared: torch.Tensor | None, weight: float, offset: int
) -> torch.Tensor:  # fmt: skip
    by = z if logit is None else z * logit[:END, None].double()
    out = torch.zeros(TOKENS, N, dtype=torch.float64).index_add_(0, row[:END].long(), by)
    if shared is not None:
        out[offset : offset + len(shared)] += weight * shared.double()
    return out


def run(version: str, **given: object) -> torch.Tensor:
    """By the order of each version's arguments."""
    a = {
        "scale": None, "bias": None, "offset": None, "antiquant": None, "shift": None, "rows": None, "shared": None,
        "logit": None, "dtype": 0, "weight_of_shared": 1.0, "at": 0, "turned_x": False, "turned": False, "counts": 1,
        "out": torch.full((TOKENS, N), 9.0), "groups": torch.tensor(LENGTHS),
    } | given  # fmt: skip
    middle = [] if version == "WeightNz" else [a["offset"], a["antiquant"], a["shift"]]
    call(
        f"aclnnGroupedMatmulFinalizeRouting{version}", a["x"], a["weight"], a["scale"], a["bias"], *middle, a["rows"],
        a["groups"], a["shared"], a["logit"], a["index"], a["dtype"], a["weight_of_shared"], a["at"], a["turned_x"],
        a["turned"], a["counts"], *([] if version in ("V2", "WeightNz") else [None]), a["out"],
    )  # fmt: skip
    return a["out"]


def product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    parts = x.double()[:END].split(LENGTHS)
    return torch.cat([a @ w.double() for a, w in zip(parts, weight, strict=True)])


def of_rows(t: torch.Tensor) -> torch.Tensor:
    return t.double().repeat_interleave(torch.tensor(LENGTHS), 0)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("index", [torch.int64, torch.int32], ids=str)
def test_int8(version: str, index: torch.dtype) -> None:
    x, weight = integers((M, K), 1), integers((4, K, N), 2)
    scale, rows = make((4, N), torch.float32, 3, 1e-4, 1e-3), make((M,), torch.float32, 4, 0.1, 0.5)
    logit, row = make((M,), torch.float32, 5, 0, 1), routes().to(index)
    row[END:] = 99  # of rows that belong to nobody
    sums = product(x, weight)
    for shared in (None, make((9, N), torch.bfloat16, 6), make((0, N), torch.bfloat16, 6)):
        for by in (None, rows):
            for bias in (None, make((4, N), torch.bfloat16, 8)):
                for turned in (False, True):
                    z = sums * of_rows(scale) * (1 if by is None else by[:END, None].double())
                    z = z if bias is None else z + of_rows(bias)
                    want = combined(z, logit, row, shared, 0.5, 11)
                    out = run(
                        version,
                        x=x,
                        weight=weight.transpose(1, 2).contiguous() if turned else weight,
                        scale=scale,
                        bias=bias,
                        rows=by,
                        shared=shared,
                        logit=logit,
                        index=row,
                        weight_of_shared=0.5,
                        at=11,
                        turned=turned,
                    )
                    assert_close(out, want, 8, 1e-5 * float(z.abs().max()))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("shifted", [None, torch.float32, torch.bfloat16], ids=str)
def test_int4_weights(shifted: torch.dtype | None, parts: int, version: str) -> None:
    """int8 tokens count as x - 8, which the bias makes up for, but for the offsets of weights."""
    if shifted is not None and version == "WeightNz":
        pytest.skip("has no offset")
    x, weight = integers((M, K), 1), integers((4, K, N), 2) >> 4
    scale, rows = make((4, parts, N), torch.float32, 3, 1e-3, 1e-2), make((M,), torch.float32, 4, 0.1, 0.5)
    logit, bias = make((M,), torch.float32, 5, 0, 1), make((4, N), torch.float32, 8)
    scaled = weight.double() * scale.double().repeat_interleave(K // parts, 1)
    z = product(x.double() - 8, scaled) + of_rows(bias)
    offset = None if shifted is None else make((4, parts, N), shifted, 9)
    if offset is not None:
        z = z + product(x, offset.double().repeat_interleave(K // parts, 1))
    z = z * rows[:END, None].double()
    numbers = scale.view(torch.int32).long() & 0xFFFFFFFF
    out = run(
        version,
        x=x,
        weight=pack(weight.int()),
        scale=numbers,
        bias=bias,
        rows=rows,
        logit=logit,
        index=routes(),
        offset=offset,
    )
    assert_close(out, combined(z, logit, routes(), None, 1, 0), 8, 1e-5 * float(z.abs().max()))


def test_ends_and_without_weights() -> None:
    x, weight, scale = integers((M, K), 1), integers((4, K, N), 2), torch.full((4, N), 1e-3)
    want = combined(product(x, weight) * of_rows(scale), None, routes(), None, 1, 0)
    ends = torch.tensor(LENGTHS).cumsum(0)
    out = run("V3", x=x, weight=weight, scale=scale[:, None], index=routes(), groups=ends, counts=0)
    assert_close(out, want, 8, 1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_floating_point(dtype: torch.dtype) -> None:
    x, weight, logit = make((M, K), dtype, 1), make((4, K, N), dtype, 2), make((M,), torch.float32, 5, 0, 1)
    want = combined(product(x, weight), logit, routes(), None, 1, 0)
    assert_close(run("V3", x=x, weight=weight, logit=logit, index=routes()), want, 8, 1e-4)


@pytest.mark.parametrize("version", ["V2", "V3"])
@pytest.mark.parametrize("types", [(E4M3, E4M3), (E2M1, E2M1), (E2M1, E1M2), (E4M3, E2M1)])
def test_mx(types: tuple[int, int], version: str) -> None:
    a, s1 = mx_quantise(make((M, K), torch.float32, 1), types[0])
    b, s2 = mx_quantise(make((4, N, K), torch.float32, 2), types[1])
    logit, shared = make((M,), torch.float32, 5, 0, 1), make((5, N), torch.bfloat16, 6)
    z = product(mx_values(a, s1, types[0]), mx_values(b, s2, types[1]).transpose(1, 2))
    x, weight = (t if kind == E4M3 else pack4(t) for t, kind in zip((a, b), types, strict=True))
    for turned in (False, True):
        out = run(
            version, x=Typed(x, types[0]), weight=Typed(weight if turned else weight.transpose(1, 2), types[1]),
            scale=Typed(s2.transpose(1, 2), 37), rows=Typed(s1, 37), logit=logit, index=routes(), shared=shared,
            at=TOKENS - 5, turned=turned,
        )  # fmt: skip
        assert_close(out, combined(z, logit, routes(), shared, 1, TOKENS - 5), 8, 1e-4)


def test_bad_input() -> None:
    x, weight, scale = integers((M, K), 1), integers((4, K, N), 2), torch.ones(4, N)
    good = {"x": x, "weight": weight, "scale": scale, "index": routes()}

    def refused(match: str, **changed: object) -> None:
        with pytest.raises(OperatorError, match=match):
            run("V3", **(good | changed))

    refused("rowIndexOptional\\[0\\] is 23", index=torch.full((M,), TOKENS))
    refused("rowIndexOptional\\[0\\] is -1", index=torch.full((M,), -1))
    refused("rowIndexOptional is null", index=None)
    refused("rowIndexOptional is int64\\[3\\]", index=routes()[:3])
    refused("logitOptional is float32\\[3\\]", logit=torch.ones(3))
    refused("sharedInputOptional is", shared=torch.ones(3, N + 1))
    refused("sharedInputOffset is 21", shared=torch.ones(3, N), at=21)
    refused("sharedInputOffset is -1", shared=torch.ones(3, N), at=-1)
    refused("out is float32\\[23,47\\]", out=torch.zeros(TOKENS, N - 1))
    refused("dtype 1", dtype=1)
    refused("offsetOptional is float32.*it is of weights of int4", offset=torch.ones(4, N))
    refused("antiquantScaleOptional is", antiquant=torch.ones(4, N))
    refused("antiquantOffsetOptional is", shift=torch.ones(4, N))
    four = {"weight": torch.zeros(4, K, N // 8, dtype=torch.int32), "bias": torch.ones(4, N)}
    refused(
        "offsetOptional of a group is float32.*the shape of the scale", offset=torch.ones(4, 2, N), **four
    )
    refused("offsetOptional of a group is float32", offset=torch.ones(4, N - 1), **four)
    refused("transposeX1 is true", turned_x=True)
    refused("groupListType is 2", counts=2)
    refused("groupList is null", groups=None)
    refused("groupList\\[0\\] is 99", groups=torch.tensor([99, 0, 0, 0]))
    refused("x2 is int8\\[64,48\\]", weight=weight[0])
    refused("x of int8 with a weight of int4 wants", weight=torch.zeros(4, K, N // 8, dtype=torch.int32))
    refused("x is float32", x=x.float())
