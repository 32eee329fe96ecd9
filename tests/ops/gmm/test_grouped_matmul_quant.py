# SPDX-License-Identifier: Apache-2.0
"""Quantised products of groups: int8 by int8 with scales, and weights of int8 and int4."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import assert_close, make
from quant_cases import pack, to_range

LENGTHS = ((3, 0, 5, 1), (4,), (130, 1, 67, 0, 300, 2))
K, N = 64, 40
FORMS = ("sss", "sms", "mmm")


def integers(shape: tuple[int, ...], seed: int, low: int = -128, high: int = 128) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, shape, generator=g, dtype=torch.int8)


def ends(lengths: tuple[int, ...]) -> torch.Tensor:
    return torch.tensor(lengths).cumsum(0)


def run(
    x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor, lengths: tuple[int, ...], form: str, op: str = "V4", act: int = 0,
    weights: list[torch.Tensor] | None = None, **lists: torch.Tensor | None,
) -> None:  # fmt: skip
    """`lists`: numbers of all groups; scale, bias and so on become a list where the weights are one."""

    def by_weight(name: str) -> list[torch.Tensor]:
        t = lists.get(name)
        return [] if t is None else [t] if form[1] == "s" else list(t.unbind())

    rows = lists.get("rows")
    given = weights or ([weight] if form[1] == "s" else list(weight.unbind()))
    call(
        f"aclnnGroupedMatmul{op}",
        [x] if form[0] == "s" else list(x.split(lengths)),
        given,
        by_weight("bias"),
        *[by_weight(name) for name in ("scale", "offset", "antiquant", "shift")],
        [] if rows is None else [rows] if form[0] == "s" else list(rows.split(lengths)),
        None if form == "mmm" else ends(lengths),
        [], [], [], 3 if form[2] == "s" else 0, -1 if form == "mmm" else 0, 0, act,
        *([None] if op == "V5" else []),
        [y] if form[2] == "s" else list(y.split(lengths)), [], [],
    )  # fmt: skip


def of_rows(lengths: tuple[int, ...], t: torch.Tensor) -> torch.Tensor:
    return t.repeat_interleave(torch.tensor(lengths), 0)


def sums(x: torch.Tensor, weight: torch.Tensor, lengths: tuple[int, ...]) -> torch.Tensor:
    return torch.cat([a.double() @ w.double() for a, w in zip(x.split(lengths), weight, strict=True)])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_int8(form: str, dtype: torch.dtype) -> None:
    for lengths in LENGTHS:
        groups, m = len(lengths), sum(lengths)
        x, weight = integers((m, K), 1), integers((groups, K, N), 2)
        scale = make((groups, N), torch.bfloat16 if dtype == torch.bfloat16 else torch.float32, 3, 1e-4, 1e-3)
        rows, bias = (
            make((m,), torch.float32, 4, 0.1, 1),
            torch.randint(-99, 99, (groups, N), dtype=torch.int32),
        )
        for turned in (False, True):
            w = weight.transpose(1, 2).contiguous().transpose(1, 2) if turned else weight
            for by in (None, rows):
                for add in (None, bias):
                    want = sums(x, weight, lengths) + (0 if add is None else of_rows(lengths, add))
                    want = (
                        want * of_rows(lengths, scale).double() * (1 if by is None else by.double()[:, None])
                    )
                    for op in ("V4", "V5"):
                        y = torch.full((m, N), 7, dtype=dtype)
                        run(x, w, y, lengths, form, op, scale=scale, rows=by, bias=add)
                        assert_close(y, want, 2, 1e-5)


def test_packed_scales_and_int8_results() -> None:
    lengths = (3, 0, 5, 1)
    x, weight = integers((9, K), 1), integers((4, K, N), 2)
    scale, offset = (
        make((4, N), torch.float32, 3, 1e-4, 1e-3),
        make((4, N), torch.float32, 4, -20, 20).round(),
    )
    packed = torch.zeros(4 * N, dtype=torch.int64)
    call("aclnnTransQuantParamV2", scale.flatten(), offset.flatten(), packed)
    cut = (scale.view(torch.int32) & -8192).view(torch.float32)
    y = torch.zeros(9, N, dtype=torch.int8)
    run(x, weight, y, lengths, "sss", scale=packed.view(4, N))
    want = sums(x, weight, lengths).float() * of_rows(lengths, cut) + of_rows(lengths, offset)
    assert torch.equal(y, to_range(want, (-128, 127)).to(torch.int8))
    whole = torch.zeros(9, N, dtype=torch.int32)
    run(x, weight, whole, lengths, "sss")
    assert torch.equal(whole.double(), sums(x, weight, lengths))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("groups_of_rows", [1, 2])
def test_weights(form: str, bits: int, groups_of_rows: int) -> None:
    for lengths in LENGTHS:
        groups, m = len(lengths), sum(lengths)
        x = make((m, K), torch.float16)
        weight = integers((groups, K, N), 2, *((-8, 8) if bits == 4 else (-128, 128)))
        shape = (groups, N) if groups_of_rows == 1 else (groups, groups_of_rows, N)
        scale, shift = make(shape, torch.float16, 3, 1e-3, 1e-2), make(shape, torch.float16, 4, -3, 3)
        spread = [
            t.reshape(groups, -1, N).double().repeat_interleave(K // groups_of_rows, 1)
            for t in (scale, shift)
        ]
        for at in (None, shift):
            exact = (weight.double() + (0 if at is None else spread[1])) * spread[0]
            want = sums(x, exact, lengths)
            stored = pack(weight) if bits == 4 else weight
            turned = (
                pack(weight.transpose(1, 2)).transpose(1, 2)
                if bits == 4
                else weight.transpose(1, 2).contiguous().transpose(1, 2)
            )
            for given in (stored, turned):
                y = torch.zeros(m, N, dtype=torch.float16)
                run(x, given, y, lengths, form, antiquant=scale, shift=at)
                assert_close(y, want, 2, 1e-4)


def test_first_version() -> None:
    from aclnn import IntArray

    lengths = (3, 5)
    x, weight = integers((8, K), 1), integers((2, K, N), 2)
    scale, y = make((2, N), torch.float32, 3, 1e-4, 1e-3), torch.zeros(8, N, dtype=torch.float16)
    call(
        "aclnnGroupedMatmul",
        [x],
        list(weight.unbind()),
        [],
        list(scale.unbind()),
        [],
        [],
        [],
        IntArray(ends(lengths).tolist()),
        3,
        [y],
    )
    assert_close(y, sums(x, weight, lengths) * of_rows(lengths, scale).double(), 2, 1e-5)


def test_refusals() -> None:
    lengths = (3, 5)
    x, weight, y = integers((8, K), 1), integers((2, K, N), 2), torch.zeros(8, N, dtype=torch.float16)
    scale, half = torch.ones(2, N), make((8, K), torch.float16)
    for text, change in {
        "there is no scaleOptional": {},
        "scaleOptional of a group is float32\\[3\\]": {"scale": torch.ones(2, 3)},
        "perTokenScaleOptional\\[0\\] is float32\\[7\\]": {"scale": scale, "rows": torch.ones(7)},
        "antiquantScaleOptional is given": {"scale": scale, "antiquant": scale},
        "no antiquantScaleOptional": {"x": half},
        "scaleOptional is given with x of floating": {"x": half, "antiquant": scale, "scale": scale},
        "actType is 2": {"scale": scale, "act": 2},
        "x of int8 with a weight of int4 wants": {"scale": scale, "weight": pack(weight)},
    }.items():
        given = {"x": x, "weight": weight, "y": y} | change
        with pytest.raises(OperatorError, match=text):
            run(given.pop("x"), given.pop("weight"), given.pop("y"), lengths, "sss", **given)


@pytest.mark.parametrize("op", ["V4", "V5"])
@pytest.mark.parametrize("lengths", [(3, 0, 5, 1), (0, 0, 2, 0), (130, 1, 67, 0)], ids=str)
def test_numbers_of_groups_with_their_lengths(lengths: tuple[int, ...], op: str) -> None:
    """groupListType 2: groups without rows are left out, and pairs of zeros fill the list up."""
    groups, m = len(lengths), sum(lengths)
    x, weight = integers((m, K), 1), integers((groups, K, N), 2)
    scale, rows = make((groups, N), torch.float32, 3, 1e-4, 1e-3), make((m,), torch.float32, 4, 0.1, 1)
    pairs = torch.tensor([[i, n] for i, n in enumerate(lengths) if n] + [[0, 0]] * lengths.count(0))
    y = call_pairs(op, x, weight, scale, rows, pairs, m)
    want = sums(x, weight, lengths) * of_rows(lengths, scale).double() * rows.double()[:, None]
    assert_close(y, want, 2, 1e-5)


def call_pairs(
    op: str, x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, rows: torch.Tensor, pairs: torch.Tensor, m: int,
    kind: int = 0,
) -> torch.Tensor:  # fmt: skip
    y = torch.full((m, N), 7.0)
    call(
        f"aclnnGroupedMatmul{op}", [x], [weight], [], [scale], [], [], [], [rows], pairs, [], [], [], 3, kind, 2, 0,
        *([None] if op == "V5" else []), [y], [], [],
    )  # fmt: skip
    return y


@pytest.mark.parametrize(
    ("pairs", "kind", "message"),
    [
        ([[1, 3], [0, 2], [0, 0]], 0, r"groupList\[1\] is of group 0, wanted 2 to 2: groups in order"),
        ([[3, 3], [0, 0], [0, 0]], 0, r"groupList\[0\] is of group 3, wanted 0 to 2"),
        ([[0, 6], [1, 0], [2, 0]], 0, r"groupList\[0\] is 6, wanted 0 to 5"),
        ([[0, -1], [1, 0], [2, 0]], 0, r"groupList\[0\] is -1"),
        ([3, 2, 0], 0, r"groupListOptional is int64\[3\], wanted int64 of pairs"),
        ([[0, 3], [1, 2], [2, 0]], 2, "groupListType is 2 with groupType 2"),
    ],
)
def test_refused_pairs(pairs: list, kind: int, message: str) -> None:
    x, weight, scale = integers((5, K), 1), integers((3, K, N), 2), torch.ones(3, N)
    with pytest.raises(OperatorError, match=f"aclnnGroupedMatmulV4: {message}"):
        call_pairs("V4", x, weight, scale, torch.ones(5), torch.tensor(pairs), 5, kind)
