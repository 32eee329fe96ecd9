# SPDX-License-Identifier: Apache-2.0
"""Indices, counts and sizes at the limits of their types, in every operator that takes some.

Either the value is legal, or the operator fails with an error that names itself, the argument, the position and the
value. Whatever happens, nothing outside of the outputs changes: every tensor lies between guard bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from aclnn import IntArray, OperatorError, Scalar, call

GUARD = 4096
CANARY = 0xA5
F32, I64 = torch.float32, torch.int64
VALUES = (
    2**63 - 1,
    -(2**63),
    2**63 - 2,
    -(2**63) + 1,
    2**62,
    -(2**62),
    2**61,
    2**32,
    2**32 + 1,
    2**31,
    -(2**31),
    -1,
)


class Arena:
    """Tensors between guard bytes."""

    def __init__(self) -> None:
        self.buffers: list[tuple[torch.Tensor, int]] = []

    def put(self, t: torch.Tensor) -> torch.Tensor:
        bytes_ = t.numel() * t.element_size()
        buffer = torch.full((2 * GUARD + bytes_,), CANARY, dtype=torch.uint8)
        buffer[GUARD : GUARD + bytes_] = t.contiguous().reshape(-1).view(torch.uint8)
        self.buffers.append((buffer, bytes_))
        return buffer[GUARD : GUARD + bytes_].view(t.dtype).view(t.shape)

    def intact(self) -> bool:
        return all(
            bool((b[:GUARD] == CANARY).all()) and bool((b[GUARD + n :] == CANARY).all())
            for b, n in self.buffers
        )


@dataclass(frozen=True)
class Case:
    """`run(arena, index)` calls `operator` with an index tensor of `shape`; legal is 0 to bound - 1, below 0 with
    `wraps`; `arg` and `place(flat position)` are what an error says."""

    operator: str
    arg: str
    shape: tuple[int, ...]
    bound: int
    run: Callable[[Arena, torch.Tensor], object]
    wraps: bool = False
    place: Callable[[int], str] = field(default=lambda p: f"[{p}]")
    room: int | None = None  # an index names so many neighbours
    tag: str = ""


def rows(p: int) -> str:
    return f"[{p // 3},{p % 3}]"


def ones(*shape: int, dtype: torch.dtype = F32) -> torch.Tensor:
    return torch.ones(shape, dtype=dtype)


def advanced(a: Arena, *indices: torch.Tensor) -> list[torch.Tensor]:
    return [i if i.untyped_storage().nbytes() > 2 * GUARD else a.put(i) for i in indices]


def one(a: Arena, i: torch.Tensor) -> torch.Tensor:
    return a.put(torch.zeros(i.shape, dtype=i.dtype))


CASES = (
    Case("aclnnGather", "index", (4, 3), 5, lambda a, i: call("aclnnGather", a.put(ones(5, 3)), 0, i, a.put(ones(4, 3))), place=rows),
    Case("aclnnGather", "index", (4, 3), 7, lambda a, i: call("aclnnGather", a.put(ones(4, 7)), 1, i, a.put(ones(4, 3))), place=rows, tag="last"),
    Case("aclnnIndexSelect", "index", (6,), 5, lambda a, i: call("aclnnIndexSelect", a.put(ones(5, 40)), 0, i, a.put(ones(6, 40)))),
    Case("aclnnIndexSelect", "index", (6,), 5, lambda a, i: call("aclnnIndexSelect", a.put(ones(3, 5)), 1, i, a.put(ones(3, 6))), tag="inner"),
    Case("aclnnGatherV3", "index", (4, 3), 5, lambda a, i: call("aclnnGatherV3", a.put(ones(2, 5)), 1, i, 0, 1, a.put(ones(2, 4, 3))), place=rows),
    Case("aclnnGatherV3", "index", (4, 3), 5, lambda a, i: call("aclnnGatherV3", a.put(ones(4, 5, 7)), 1, i, 1, 1, a.put(ones(4, 3, 7))), place=rows,
         tag="batch"),
    Case("aclnnEmbedding", "indices", (4, 3), 9, lambda a, i: call("aclnnEmbedding", a.put(ones(9, 16)), i, a.put(ones(4, 3, 16))), place=rows),
    Case("aclnnEmbeddingDenseBackward", "indices", (4, 3), 9,
         lambda a, i: call("aclnnEmbeddingDenseBackward", a.put(ones(4, 3, 8)), i, 9, 2**64 - 1, False, a.put(ones(9, 8))), place=rows),
    Case("aclnnTake", "index", (4, 3), 20, lambda a, i: call("aclnnTake", a.put(ones(4, 5)), i, a.put(ones(4, 3))), True, rows),
    Case("aclnnInplacePut", "index", (4, 3), 20, lambda a, i: call("aclnnInplacePut", a.put(ones(4, 5)), i, a.put(ones(4, 3)), False), True, rows),
    Case("aclnnInplacePut", "index", (4, 3), 20, lambda a, i: call("aclnnInplacePut", a.put(ones(4, 5)), i, a.put(ones(4, 3)), True), True, rows,
         tag="accumulate"),
    Case("aclnnIndex", "index tensor 0", (6,), 5, lambda a, i: call("aclnnIndex", a.put(ones(5, 4)), [i], a.put(ones(6, 4))), True),
    Case("aclnnIndex", "index tensor 1", (6,), 4, lambda a, i: call("aclnnIndex", a.put(ones(5, 4)), [one(a, i), i], a.put(ones(6))), True, tag="two"),
    Case("aclnnIndex", "index tensor 1", (1, 6), 4,
         lambda a, i: call("aclnnIndex", a.put(ones(5, 4)), [a.put(torch.zeros(3, 1, dtype=i.dtype)), i], a.put(ones(3, 6))), True,
         lambda p: f"[0,{p}]", tag="repeated"),
    Case("aclnnIndexPutImpl", "index tensor 0", (6,), 5,
         lambda a, i: call("aclnnIndexPutImpl", a.put(ones(5, 4)), [i], a.put(ones(6, 4)), False, False), True),
    Case("aclnnIndexPutImpl", "index tensor 0", (6,), 5,
         lambda a, i: call("aclnnIndexPutImpl", a.put(ones(5, 4)), [i, one(a, i)], a.put(ones(6)), True, True), True, tag="two"),
    Case("aclnnScatter", "index", (4, 3), 5, lambda a, i: call("aclnnScatter", a.put(ones(5, 3)), 0, i, a.put(ones(4, 3)), 0, a.put(ones(5, 3))), place=rows),
    Case("aclnnInplaceScatter", "index", (4, 3), 7, lambda a, i: call("aclnnInplaceScatter", a.put(ones(4, 7)), 1, i, a.put(ones(4, 3)), 0), place=rows),
    Case("aclnnInplaceScatter", "index", (4, 3), 7, lambda a, i: call("aclnnInplaceScatter", a.put(ones(4, 7)), 1, i, a.put(ones(4, 3)), 2), place=rows,
         tag="multiply"),
    Case("aclnnScatterValue", "index", (4, 3), 7, lambda a, i: call("aclnnScatterValue", a.put(ones(4, 7)), 1, i, Scalar(2), 1, a.put(ones(4, 7))), place=rows),
    Case("aclnnInplaceScatterValue", "index", (4, 3), 7, lambda a, i: call("aclnnInplaceScatterValue", a.put(ones(4, 7)), 1, i, Scalar(2), 0), place=rows),
    Case("aclnnScatterAdd", "index", (4, 3), 5, lambda a, i: call("aclnnScatterAdd", a.put(ones(5, 3)), 0, i, a.put(ones(4, 3)), a.put(ones(5, 3))), place=rows),
    Case("aclnnIndexAdd", "index", (6,), 5, lambda a, i: call("aclnnIndexAdd", a.put(ones(5, 8)), 0, i, a.put(ones(6, 8)), Scalar(1), a.put(ones(5, 8)))),
    Case("aclnnIndexAdd", "index", (6,), 5,
         lambda a, i: call("aclnnIndexAdd", a.put(ones(3, 5).half()), 1, i, a.put(ones(3, 6).half()), Scalar(1), a.put(ones(3, 5).half())), tag="half"),
    Case("aclnnIndexCopy", "index", (6,), 5, lambda a, i: call("aclnnIndexCopy", a.put(ones(5, 8)), 0, i, a.put(ones(6, 8)), a.put(ones(5, 8)))),
    Case("aclnnIndexFill", "index", (6,), 5, lambda a, i: call("aclnnIndexFill", a.put(ones(5, 8)), 0, i, Scalar(1), a.put(ones(5, 8))), True),
    Case("aclnnIndexFillTensor", "index", (6,), 5,
         lambda a, i: call("aclnnIndexFillTensor", a.put(ones(5, 8)), 0, IntArray(i.tolist()), Scalar(1), a.put(ones(5, 8))), True),
    Case("aclnnOneHot", "self", (6,), 5,
         lambda a, i: call("aclnnOneHot", i, 5, a.put(ones(1)), a.put(torch.zeros(1)), -1, a.put(ones(6, 5)))),
    Case("aclnnInplaceScatterUpdate", "indices", (3,), 7,
         lambda a, i: call("aclnnInplaceScatterUpdate", a.put(ones(4, 7, 2)), i, a.put(ones(3, 2, 2)), 1), room=2),
    Case("aclnnInplaceScatterUpdate", "indices", (3, 2), 4,
         lambda a, i: call("aclnnInplaceScatterUpdate", a.put(ones(4, 4, 2)), i, a.put(ones(3, 1, 2)), 1), place=lambda p: f"[{p // 2}]", tag="pairs"),
    Case("aclnnScatterList", "indice", (3,), 7,
         lambda a, i: call("aclnnScatterList", [a.put(ones(2, 7)) for _ in range(3)], i, a.put(ones(3, 2, 2)), None, "update", -1), room=2),
    Case("aclnnScatterNdUpdate", "indices", (6, 1), 5,
         lambda a, i: call("aclnnScatterNdUpdate", a.put(ones(5, 2)), i, a.put(ones(6, 2))), True),
    Case("aclnnNLLLoss", "target", (6,), 5,
         lambda a, i: call("aclnnNLLLoss", a.put(ones(6, 5)), i, a.put(ones(5)), 1, -100, a.put(ones(1)), a.put(ones(1)))),
    Case("aclnnNLLLossBackward", "target", (6,), 5,
         lambda a, i: call("aclnnNLLLossBackward", a.put(ones(1)), a.put(ones(6, 5)), i, a.put(ones(5)), 1, -100, a.put(ones(1)), a.put(ones(6, 5)))),
    Case("aclnnNLLLoss2d", "target", (2, 2, 3), 5,
         lambda a, i: call("aclnnNLLLoss2d", a.put(ones(2, 5, 2, 3)), i, a.put(ones(5)), 0, -100, a.put(ones(2, 2, 3)), a.put(ones(1)))),
    Case("aclnnCrossEntropyLoss", "target", (6,), 5,
         lambda a, i: call("aclnnCrossEntropyLoss", a.put(ones(6, 5)), i, a.put(ones(5)), "mean", -100, 0.0, 0.0, False, a.put(ones(1)), a.put(ones(6, 5)),
                           None, None)),
    Case("aclnnCrossEntropyLossGrad", "target", (6,), 5,
         lambda a, i: call("aclnnCrossEntropyLossGrad", a.put(ones(1)), a.put(ones(6, 5)), i, a.put(ones(5)), None, None, "mean", -100, 0.0, 0.0,
                           a.put(ones(6, 5)))),
    Case("aclnnSearchSorted", "sorter", (2, 6), 6,
         lambda a, i: call("aclnnSearchSorted", a.put(ones(2, 6)), a.put(ones(2, 3)), False, False, i, a.put(ones(2, 3, dtype=I64))),
         place=lambda p: f"element {p}"),
    Case("aclnnGroupedMatmulFinalizeRoutingV3", "rowIndexOptional", (6,), 5,
         lambda a, i: call("aclnnGroupedMatmulFinalizeRoutingV3", a.put(ones(6, 4)), a.put(ones(1, 4, 8)), *[None] * 6, a.put(ones(1, dtype=I64) * 6), None,
                           None, i, 0, 1.0, 0, False, False, 1, None, a.put(ones(5, 8)))),
    Case("aclnnBincount", "self", (6,), 5, lambda a, i: call("aclnnBincount", i, a.put(ones(6)), 0, a.put(ones(5)))),
)  # fmt: skip
ONLY_INT64 = ("aclnnSearchSorted",)


def fits(value: int, dtype: torch.dtype) -> bool:
    return torch.iinfo(dtype).min <= value <= torch.iinfo(dtype).max


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.operator + ("-" + c.tag if c.tag else ""))
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_index(case: Case, dtype: torch.dtype) -> None:
    if dtype != I64 and case.operator in ONLY_INT64:
        pytest.skip("the operator takes int64 only")
    count = int(torch.tensor(case.shape).prod())
    end = case.bound - (case.room or 1) + 1
    for value in (*VALUES, -case.bound - 1, -case.bound, end, end - 1, 2**31 - 1):
        if not fits(value, dtype):
            continue
        for at in (0, count // 2, count - 1):
            arena = Arena()
            # Legal everywhere else; a permutation where that is asked for.
            index = (
                torch.arange(count) % (case.shape[-1] if case.operator == "aclnnSearchSorted" else 1)
            ).to(dtype)
            index[at] = value
            index = arena.put(index.reshape(case.shape))
            legal = 0 <= value < end or (case.wraps and -case.bound <= value < 0)
            if legal:
                case.run(arena, index)
            else:
                with pytest.raises(OperatorError) as failure:
                    case.run(arena, index)
                text = failure.value.text
                words = (case.operator, case.arg, str(value), case.place(at))
                assert all(w in text for w in words), f"{words} in {text}"
            assert arena.intact(), f"{value} at {at}"


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("value", VALUES)
def test_counts(value: int, dtype: torch.dtype) -> None:
    """repeat_interleave: counts are no indices, but sizes are made of them."""
    if not fits(value, dtype):
        pytest.skip("not of this type")
    for at in (0, 2, 5):
        repeats = torch.ones(6, dtype=dtype)
        repeats[at] = value
        a = Arena()
        r = a.put(repeats)
        runs: tuple[Callable[[], object], ...] = (
            lambda: call("aclnnRepeatInterleave", a.put(ones(6)), r, 0, a.put(ones(6))),
            lambda: call("aclnnRepeatInterleaveWithDim", a.put(ones(6, 3)), r, 0, 0, a.put(ones(6, 3))),
            lambda: call("aclnnRepeatInterleaveTensor", r, 0, a.put(ones(6, dtype=I64))),
            lambda: call("aclnnRepeatInterleaveGrad", a.put(ones(6, 3)), r, 0, a.put(ones(6, 3))),
        )
        for run in runs:
            with pytest.raises(OperatorError, match=rf"repeats is {value} at position \[{at}\]"):
                run()
            assert a.intact()


# Sizes that wrap around to legal ones: 2^64 is 3 * FACTOR + 1, so 3 * (FACTOR + 1) is 2 in 64 bits.
WRAPPED = (2**64 - 1) // 3 + 1


@pytest.mark.parametrize(
    ("operator", "arguments"),
    [
        ("aclnnRepeat", lambda a: (a.put(ones(3)), IntArray([WRAPPED]), a.put(ones(2)))),
        ("aclnnRepeat", lambda a: (a.put(ones(2, 2)), IntArray([2**63 - 1, 1]), a.put(ones(2, 2)))),
        ("aclnnRepeatInterleaveInt", lambda a: (a.put(ones(3)), WRAPPED, 2, a.put(ones(2)))),
        ("aclnnRepeatInterleaveIntWithDim", lambda a: (a.put(ones(3, 2)), WRAPPED, 0, 2, a.put(ones(2, 2)))),
        ("aclnnConstantPadNd", lambda a: (a.put(ones(4)), IntArray([2**63 - 1, -(2**63) + 1]), Scalar(1), a.put(ones(4)))),
        ("aclnnConstantPadNd", lambda a: (a.put(ones(4)), IntArray([-(2**63), 2**63 - 1]), Scalar(1), a.put(ones(3)))),
        ("aclnnSplitWithSize", lambda a: (a.put(ones(2, 0)), IntArray([3]), 1, [a.put(ones(2, 3))])),
        ("aclnnDropoutGenMask", lambda a: (IntArray([2**32, 2**32]), 0.5, 0, 0, a.put(ones(16, dtype=torch.uint8)))),
        ("aclnnDropoutGenMask", lambda a: (IntArray([2**62, 4]), 0.5, 0, 0, a.put(ones(16, dtype=torch.uint8)))),
        ("aclnnChunkCat", lambda a: ([a.put(ones(4))], 2**63 - 1, 1, a.put(ones(4)))),
        ("aclnnFlip", lambda a: (a.put(ones(4)), IntArray([2**63 - 1]), a.put(ones(4)))),
        ("aclnnRoll", lambda a: (a.put(ones(4)), IntArray([1]), IntArray([-(2**63)]), a.put(ones(4)))),
        ("aclnnGather", lambda a: (a.put(ones(4)), 2**63 - 1, a.put(ones(4, dtype=I64)), a.put(ones(4)))),
        ("aclnnCat", lambda a: ([a.put(ones(4))], -(2**63), a.put(ones(4)))),
        ("aclnnTopk", lambda a: (a.put(ones(4)), 2**63 - 1, 0, True, True, a.put(ones(4)), a.put(ones(4, dtype=I64)))),
        ("aclnnEye", lambda a: (2**63 - 1, 2**63 - 1, a.put(ones(4, 4)))),
        ("aclnnRandperm", lambda a: (2**63 - 1, 0, 0, a.put(ones(4, dtype=I64)))),
        ("aclnnHistc", lambda a: (a.put(ones(4)), 2**63 - 1, Scalar(0), Scalar(1), a.put(ones(4)))),
        ("aclnnMultilabelMarginLoss", lambda a: (a.put(ones(2, 3)), a.put(torch.full((2, 3), 2**63 - 1)), 1, a.put(torch.zeros(())), a.put(ones(2, 3)))),
        ("aclnnCtcLoss", lambda a: (a.put(ones(4, 2, 3)), a.put(torch.full((2, 2), 2**63 - 1)), IntArray([4, 4]), IntArray([2, 2]), 0, False, a.put(ones(2)),
                                    a.put(ones(2, 4, 5)))),
        ("aclnnCtcLoss", lambda a: (a.put(ones(4, 2, 3)), a.put(ones(4, dtype=I64)), IntArray([4, 4]), IntArray([2**63 - 1, 2**63 - 1]), 0, False, a.put(ones(2)),
                                    a.put(ones(2, 4, 5)))),
        ("aclnnMultilabelMarginLoss", lambda a: (a.put(ones(2, 3)), a.put(torch.full((2, 3), -(2**63))), 1, a.put(torch.zeros(())), a.put(ones(2, 3)))),
        ("aclnnCtcLoss", lambda a: (a.put(ones(4, 2, 3)), a.put(torch.full((2, 2), -(2**63))), IntArray([4, 4]), IntArray([2, 2]), 0, False, a.put(ones(2)),
                                    a.put(ones(2, 4, 5)))),
        ("aclnnCtcLoss", lambda a: (a.put(ones(4, 2, 3)), a.put(ones(4, dtype=I64)), IntArray([4, 4]), IntArray([-(2**63), -(2**63)]), 0, False, a.put(ones(2)),
                                    a.put(ones(2, 4, 5)))),
    ],
)  # fmt: skip
def test_sizes(operator: str, arguments: Callable[[Arena], tuple[object, ...]]) -> None:
    arena = Arena()
    with pytest.raises(OperatorError, match=operator):
        call(operator, *arguments(arena))
    assert arena.intact()


@pytest.mark.parametrize("shift", [2**63 - 1, -(2**63), 2**62 + 3])
def test_shifts_are_taken_modulo(shift: int) -> None:
    x = torch.arange(7.0)
    out = torch.empty(7)
    call("aclnnRoll", x, IntArray([shift, shift]), IntArray([0, 0]), out)
    assert torch.equal(out, torch.roll(x, (shift % 7 + shift % 7) % 7, 0))


def test_bins_of_huge_numbers() -> None:
    """(x - min) * bins is infinite, and its conversion to an integer was a bin before the first."""
    arena = Arena()
    out = arena.put(torch.zeros(100, dtype=torch.float64))
    x = arena.put(torch.tensor([-8e307, 0.0, 8e307], dtype=torch.float64))
    call("aclnnHistc", x, 100, Scalar(-8e307), Scalar(8e307), out)
    assert out.nonzero().flatten().tolist() == [0, 50, 99] and arena.intact()


def test_many_elements_with_one_bad_index() -> None:
    """Pieces run on several threads: the first bad one is told, whoever meets it."""
    n = 300_000
    index = torch.zeros(n, dtype=I64)
    index[123_456] = index[250_000] = 2**40
    for name, arguments in (
        ("aclnnGather", (ones(10), 0, index, torch.empty(n))),
        ("aclnnTake", (ones(10), index, torch.empty(n))),
        ("aclnnInplaceScatterValue", (ones(10), 0, index, Scalar(1), 0)),
    ):
        with pytest.raises(OperatorError, match=r"index 1099511627776 at position \[123456\]"):
            call(name, *arguments)


def test_output_over_the_index_of_a_gather() -> None:
    """The output overwrites indices that are read later."""
    arena = Arena()
    memory = arena.put(torch.zeros(5000, dtype=I64))
    table = arena.put(torch.full((4,), 2**40, dtype=I64))
    for ahead in (0, 1, 300, 2500):
        memory.zero_()
        try:
            call("aclnnGather", table, 0, memory[ahead : ahead + 2500], memory[:2500])
            call("aclnnGather", table, 0, memory[:2500], memory[ahead : ahead + 2500])
        except OperatorError as e:
            assert "index 1099511627776 at position" in e.text
        assert arena.intact()


@pytest.mark.parametrize("ahead", [1, 100])
def test_target_over_the_index_of_a_scatter(ahead: int) -> None:
    arena = Arena()
    memory = arena.put(torch.arange(4000) % 1000 + ahead)
    source = arena.put(torch.full((2000,), 2**40, dtype=I64))
    with pytest.raises(OperatorError, match="index 1099511627776 at position"):
        call("aclnnInplaceScatter", memory, 0, memory[:2000], source, 0)
    assert arena.intact()


def test_output_over_the_mask_of_a_selection() -> None:
    """What is counted and what is selected are two readings of the mask."""
    block = 2048
    arena = Arena()
    mask = arena.put(torch.zeros(6 * block, dtype=torch.uint8))
    mask[:block] = 1
    mask[::block] = 1
    x = arena.put(torch.ones(6 * block, dtype=torch.uint8))
    out = mask[block : block + int(mask.sum())]
    call("aclnnMaskedSelect", x, mask, out)
    assert arena.intact() and bool((mask[3 * block + 1 : 4 * block] == 0).all())
    mask.zero_()
    mask[:block] = 1
    call("aclnnInplaceMaskedScatter", mask, mask, x[:block])
    assert arena.intact()
