# SPDX-License-Identifier: Apache-2.0
"""Products of groups: aclnnGroupedMatmul, V4, V5, and aclnnGroupedMatmulAdd with its second version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from aclnn import IntArray, OperatorError, call
from matmul_cases import FLOATS, assert_product, values

I64 = torch.int64
# Empty groups at both ends and within, one row, odd numbers, enough for several threads.
LENGTHS = ((3, 0, 5, 1), (0, 7, 0), (4,), (0, 0), (130, 1, 67, 0, 300, 2))
ROWS, STEPS = 0, 2


def ends(lengths: tuple[int, ...]) -> list[int]:
    return [sum(lengths[: i + 1]) for i in range(len(lengths))]


@dataclass(frozen=True)
class Tensors:
    """What a call gets: lists of one tensor, or of one for each group; `strided` matrices lie transposed."""

    x: list[torch.Tensor]
    weight: list[torch.Tensor]
    bias: list[torch.Tensor]
    y: list[torch.Tensor]


def matrix(rows: int, cols: int, dtype: torch.dtype, seed: int, strided: bool) -> torch.Tensor:
    return values((cols, rows), dtype, seed).t() if strided else values((rows, cols), dtype, seed)


def by_rows(
    lengths: tuple[int, ...],
    form: str,
    dtype: torch.dtype,
    out: torch.dtype,
    strided: bool = False,
    bias: bool = True,
) -> Tensors:
    """form: three of s (one tensor for all groups) and m (one for each), for x, weight and y."""
    k, n, groups, total = 37, 29, len(lengths), sum(lengths)
    x, y = values((total, k), dtype), torch.full((total, n), 7.0, dtype=out)
    weights = [matrix(k, n, dtype, 1 + g, strided) for g in range(groups)]
    biases = [values((n,), dtype, 50 + g) for g in range(groups)]
    stacked = torch.stack([w.t() for w in weights]).transpose(1, 2) if strided else torch.stack(weights)
    one = form[1] == "s"
    return Tensors(
        [x] if form[0] == "s" else list(x.split(lengths)),
        [stacked] if one else weights,
        ([torch.stack(biases)] if one else biases) if bias else [],
        [y] if form[2] == "s" else list(y.split(lengths)),
    )


def check_rows(t: Tensors, lengths: tuple[int, ...]) -> None:
    groups = len(lengths)
    x = t.x if len(t.x) == groups else t.x[0].split(lengths)
    y = t.y if len(t.y) == groups else t.y[0].split(lengths)
    weight = t.weight if t.weight[0].dim() == 2 else t.weight[0].unbind()
    bias = [] if not t.bias else t.bias if t.bias[0].dim() == 1 else t.bias[0].unbind()
    for g in range(groups):
        expected = x[g].double() @ weight[g].double()
        assert_product(y[g], expected + bias[g].double() if bias else expected, x[g], weight[g])


def tensor_call(
    name: str,
    t: Tensors,
    group_list: torch.Tensor | None,
    split: int,
    kind: int,
    counts: int = 0,
    act: int = 0,
) -> None:
    hint: tuple[object, ...] = (IntArray([4]),) if name.endswith("V5") else ()
    call(name, t.x, t.weight, t.bias, [], [], [], [], [], group_list, [], [], [], split, kind, counts, act, *hint, t.y, [], [])  # fmt: skip


def list_call(t: Tensors, group_list: list[int] | None, split: int) -> None:
    call("aclnnGroupedMatmul", t.x, t.weight, t.bias, [], [], [], [], IntArray(group_list) if group_list else None, split, t.y)  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("form", ["sss", "sms", "mms", "smm", "mmm"])
def test_rows(form: str, dtype: torch.dtype) -> None:
    for i, lengths in enumerate(LENGTHS):
        split = (i % 2) + (2 if form[2] == "s" else 0)
        for strided in (False, True):
            t = by_rows(lengths, form, dtype, dtype, strided, bias=i % 2 == 0)
            list_call(t, ends(lengths), split)
            check_rows(t, lengths)
            for counts in (0, 1):
                group_list = torch.tensor(
                    lengths if counts else ends(lengths), dtype=torch.int32 if strided else I64
                )
                t = by_rows(lengths, form, dtype, dtype, strided, bias=i % 2 == 0)
                tensor_call(f"aclnnGroupedMatmulV{4 + i % 2}", t, group_list, split, ROWS, counts)
                check_rows(t, lengths)


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_rows_of_few_are_rows_of_many(dtype: torch.dtype, strided: bool) -> None:
    """Groups of a few rows multiply weights where they lie, or pack them a panel at a time: sums of several
    slabs, whole panels and edges, and in bits what a product of many rows gives."""
    for k, n in ((700, 116), (256, 64), (530, 33)):
        lengths = (31, 140, 17, 13, 64, 19, 300)
        weights = [matrix(k, n, dtype, 1 + g, strided) for g in range(len(lengths))]
        t = Tensors(
            [values((sum(lengths), k), dtype)], weights, [], [torch.empty(sum(lengths), n, dtype=dtype)]
        )
        tensor_call("aclnnGroupedMatmulV4", t, torch.tensor(ends(lengths)), 3, ROWS)
        check_rows(t, lengths)
        for part, weight, end in zip(t.y[0].split(lengths), weights, ends(lengths), strict=True):
            whole = torch.empty(sum(lengths), n, dtype=dtype)
            call("aclnnMatmul", t.x[0], weight, whole, 0)
            assert torch.equal(part, whole[end - len(part) : end]), (k, n, len(part))


@pytest.mark.parametrize("out", [torch.float32, torch.bfloat16], ids=str)
def test_other_dtype_of_the_result(out: torch.dtype) -> None:
    lengths = (5, 0, 9)
    t = by_rows(lengths, "sss", torch.bfloat16, out)
    tensor_call("aclnnGroupedMatmulV5", t, torch.tensor(ends(lengths)), 3, ROWS)
    check_rows(t, lengths)


def test_no_group_list_divides_nothing() -> None:
    """A product for each pair of tensors, here of different shapes, and with more than two dimensions."""
    x = [values((3, 4, 5), torch.float32), values((2, 2, 6), torch.float32, 1)]
    weight = [values((5, 8), torch.float32, 2), values((6, 3), torch.float32, 3)]
    for name in ("aclnnGroupedMatmul", "aclnnGroupedMatmulV4", "aclnnGroupedMatmulV5"):
        t = Tensors(x, weight, [values((8,), torch.float32, 4), values((3,), torch.float32, 5)], [torch.empty(3, 4, 8), torch.empty(2, 2, 3)])  # fmt: skip
        if name.endswith("Matmul"):
            list_call(t, None, 0)
        else:
            tensor_call(name, t, None, 0, -1)
        for g in range(2):
            assert_product(t.y[g], x[g].double() @ weight[g].double() + t.bias[g].double(), x[g].flatten(0, 1), weight[g])  # fmt: skip


def test_rows_behind_the_last_group_are_zero() -> None:
    t = by_rows((4, 0, 6), "sss", torch.float32, torch.float32)
    tensor_call("aclnnGroupedMatmulV4", t, torch.tensor([2, 0, 3]), 3, ROWS, 1)
    assert bool((t.y[0][5:] == 0).all()) and bool((t.y[0][:5] != 7).all())


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_steps(dtype: torch.dtype) -> None:
    """The gradient of the weights: x is a transposed view, as backward passes have it."""
    for lengths in LENGTHS:
        total, groups = sum(lengths), len(lengths)
        x, weight = values((total, 23), dtype).t(), values((total, 31), dtype, 1)
        parts = list(zip(x.split(lengths, 1), weight.split(lengths), strict=True))
        for counts in (0, 1):
            group_list = torch.tensor(lengths if counts else ends(lengths))
            stacked = Tensors([x], [weight], [], [torch.full((groups, 23, 31), 7.0, dtype=dtype)])
            tensor_call("aclnnGroupedMatmulV4", stacked, group_list, 3, STEPS, counts)
            lists = Tensors([x], list(weight.split(lengths)), [], [torch.full((23, 31), 7.0, dtype=dtype) for _ in lengths])  # fmt: skip
            tensor_call("aclnnGroupedMatmulV5", lists, group_list, 1, STEPS, counts)
            for g, (a, b) in enumerate(parts):
                for y in (stacked.y[0][g], lists.y[g]):
                    assert_product(y, a.double() @ b.double(), a, b)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("version", ["", "V2"])
def test_add(version: str, dtype: torch.dtype) -> None:
    out = torch.float64 if dtype == torch.float64 else torch.float32
    for lengths in LENGTHS:
        total, groups = sum(lengths), len(lengths)
        x, weight = values((total, 23), dtype), values((total, 31), dtype, 1)
        for flat in (False, True):
            before = values((groups, 23, 31), out, 2)
            y = before.clone()
            rows = y.view(groups * 23, 31) if flat else y
            for stored, transposed in ((x, True), (x.t().contiguous(), False)):
                y.copy_(before)
                if version:
                    call("aclnnGroupedMatmulAddV2", stored, weight, torch.tensor(lengths), rows, transposed, False, STEPS, 1)  # fmt: skip
                else:
                    call("aclnnGroupedMatmulAdd", stored, weight, torch.tensor(ends(lengths)), rows, transposed, False, STEPS)  # fmt: skip
                for g, (a, b) in enumerate(zip(x.split(lengths), weight.split(lengths), strict=True)):
                    expected = before[g].double() + a.double().t() @ b.double()
                    assert_product(y[g], expected, torch.cat([a.t(), a.t()[:, :1] * 0 + 4], 1) if len(a) else torch.full((23, 1), 4.0), torch.cat([b, b[:1] * 0 + 4]) if len(b) else torch.full((1, 31), 4.0))  # fmt: skip


def test_add_with_weight_transposed() -> None:
    x, weight, y = values((9, 4), torch.float32), values((5, 9), torch.float32, 1), torch.zeros(2, 4, 5)
    call("aclnnGroupedMatmulAdd", x, weight, torch.tensor([4, 9]), y, True, True, STEPS)
    for g, part in enumerate((slice(0, 4), slice(4, 9))):
        assert_product(
            y[g], x[part].double().t() @ weight[:, part].double().t(), x[part].t(), weight[:, part].t()
        )


def test_non_finite_values_stay_in_their_group() -> None:
    lengths = (2, 3)
    t = by_rows(lengths, "sss", torch.float32, torch.float32, bias=False)
    t.x[0][0, 0], t.x[0][3, 1] = float("nan"), float("inf")
    list_call(t, ends(lengths), 3)
    assert t.y[0].isnan().any(1).tolist() == [True, False, False, False, False]
    assert bool(t.y[0][3].isinf().all()) and bool(t.y[0][[1, 2, 4]].isfinite().all())


def test_result_over_an_operand() -> None:
    x = values((6, 5), torch.float32)
    weight = values((1, 5, 5), torch.float32, 1)
    expected = x.double() @ weight[0].double()
    tensor_call("aclnnGroupedMatmulV4", Tensors([x], [weight], [], [x]), torch.tensor([6]), 3, ROWS)
    assert_product(x, expected, x, weight[0])


HOSTILE = (2**63 - 1, -(2**63), 2**62, -1, 11, 2**32)


@pytest.mark.parametrize("counts", [0, 1])
@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_group_lists(value: int, counts: int) -> None:
    for at in range(3):
        numbers = [2, 2, 2] if counts else [2, 4, 6]
        numbers[at] = value
        t = by_rows((4, 3, 3), "sms", torch.float32, torch.float32)
        match = rf"groupList\[\d\] is -?\d+, wanted \d+ to \d+: the {'length' if counts else 'end'} of a group of 10 rows"
        with pytest.raises(OperatorError, match=match):
            tensor_call("aclnnGroupedMatmulV5", t, torch.tensor(numbers), 3, ROWS, counts)
        if not counts:
            with pytest.raises(OperatorError, match=match):
                list_call(t, numbers, 3)
        y = torch.zeros(3, 4, 5)
        x, weight = torch.ones(10, 4), torch.ones(10, 5)
        with pytest.raises(
            OperatorError, match=r"groupList\[\d\] is -?\d+, wanted \d+ to \d+: .* of 10 columns"
        ):
            call("aclnnGroupedMatmulAddV2", x, weight, torch.tensor(numbers), y, True, False, STEPS, counts)


def case(**changes: object) -> Callable[[], None]:
    """A call that is right but for `changes`."""

    def run() -> None:
        t = by_rows((2, 3), "sss", torch.float32, torch.float32)
        tensors = {k: changes.get(k, getattr(t, k)) for k in ("x", "weight", "bias", "y")}
        group_list = changes.get("group_list", torch.tensor([2, 5]))
        tensor_call("aclnnGroupedMatmulV4", Tensors(**tensors), group_list, changes.get("split", 3),  # type: ignore[arg-type]
                    changes.get("kind", ROWS), changes.get("counts", 0), changes.get("act", 0))  # type: ignore[arg-type]  # fmt: skip

    return run


ones = torch.ones
BAD = {
    "splitItem is 4, wanted 0 to 3": case(split=4),
    "groupType is 1, wanted -1, 0": case(kind=1),
    "groupListType is 3, wanted 0": case(counts=3),
    "actType is 1, wanted 0": case(act=1),
    "out has 1 tensors, wanted 2 for 2 groups and splitItem 0": case(split=0),
    "x has 0 tensors": case(x=[]),
    "x[0] is int8[5,37], wanted floating point as weight": case(x=[ones(5, 37).char()]),
    "groupListOptional is float32[2], wanted int64": case(group_list=ones(2)),
    "weight is float32[2,37,29] for 3 groups": case(group_list=torch.tensor([1, 2, 5])),
    "there is no group list to divide it": case(group_list=None),
    "out is float32[4,29], x has 5 rows to divide": case(y=[ones(4, 29)]),
    "37 columns, 36 rows": case(weight=[ones(2, 36, 29)]),
    "weight has 3 tensors for 2 groups": case(weight=[ones(37, 29)] * 3),
    "wanted the shape of the product": case(y=[ones(5, 28)]),
    "self is float32[28]": case(bias=[ones(2, 28)]),
    "biasOptional is float32[3,29] for 2 groups": case(bias=[ones(3, 29)]),
    "x[0] is null": case(x=[None]),
    "x of group 1": case(x=[ones(2, 37), ones(3, 36)]),
    "groupList[0] is 3, which gives group 0 a length of 3; its tensors have 2":
        case(x=[ones(2, 37), ones(3, 37)], group_list=torch.tensor([3, 5])),
    "x has 5 columns to divide": case(kind=STEPS, x=[ones(4, 5)], weight=[ones(6, 3)], bias=[], y=[ones(2, 4, 3)]),
    "out is float32[3,4,3] for 2 groups": case(kind=STEPS, x=[ones(4, 5)], weight=[ones(5, 3)], bias=[], y=[ones(3, 4, 3)]),
    "float64": case(weight=[ones(2, 37, 29).double()]),
}  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_bad_input(text: str) -> None:
    with pytest.raises(OperatorError) as error:
        BAD[text]()
    assert text in error.value.text and "aclnnGroupedMatmulV4" in error.value.text


def test_scales_without_quantised_weights_are_refused_by_name() -> None:
    t = by_rows((2, 3), "sms", torch.float32, torch.float32)
    lists: list[list[torch.Tensor]] = [[], [], [], [], []]
    names = (
        "scaleOptional",
        "offsetOptional",
        "antiquantScaleOptional",
        "antiquantOffsetOptional",
        "perTokenScaleOptional",
    )
    for i, name in enumerate(names):
        given = list(lists)
        given[i] = [ones(29)]
        with pytest.raises(OperatorError, match=rf"{name} is given, wanted none: weight\[0\] is float32"):
            call(
                "aclnnGroupedMatmulV4",
                t.x,
                t.weight,
                t.bias,
                *given,
                torch.tensor([2, 5]),
                [],
                [],
                [],
                3,
                0,
                0,
                0,
                t.y,
                [],
                [],
            )
        if i < 4:
            with pytest.raises(OperatorError, match=rf"aclnnGroupedMatmul: {name} is given"):
                call("aclnnGroupedMatmul", t.x, t.weight, t.bias, *given[:4], IntArray([2, 5]), 3, t.y)


ADD_BAD = [
    ("groupType is 0, wanted 2", (ones(4, 2), ones(4, 3), torch.tensor([4]), ones(1, 2, 3), True, False, 0, 0)),
    ("groupListType is 3", (ones(4, 2), ones(4, 3), torch.tensor([4]), ones(1, 2, 3), True, False, 2, 3)),
    ("wanted two dimensions", (ones(1, 4, 2), ones(4, 3), torch.tensor([4]), ones(1, 2, 3), True, False, 2, 0)),
    ("yRef is float32[2,2,3] for 1 groups", (ones(4, 2), ones(4, 3), torch.tensor([4]), ones(2, 2, 3), True, False, 2, 0)),
    ("x has 4 columns to divide", (ones(4, 2), ones(5, 3), torch.tensor([4]), ones(1, 2, 3), True, False, 2, 0)),
    ("no groups", (ones(4, 2), ones(4, 3), torch.empty(0, dtype=I64), ones(0, 2, 3), True, False, 2, 0)),
    ("groupList is null", (ones(4, 2), ones(4, 3), None, ones(1, 2, 3), True, False, 2, 0)),
    ("wanted floating point", (ones(4, 2).int(), ones(4, 3), torch.tensor([4]), ones(1, 2, 3), True, False, 2, 0)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "arguments"), ADD_BAD, ids=[b[0] for b in ADD_BAD])
def test_bad_input_of_add(text: str, arguments: tuple) -> None:
    with pytest.raises(OperatorError) as error:
        call("aclnnGroupedMatmulAddV2", *arguments)
    assert text in error.value.text and "aclnnGroupedMatmulAddV2" in error.value.text
