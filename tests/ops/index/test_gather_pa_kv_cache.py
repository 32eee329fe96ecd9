"""Sequences out of a paged cache of keys and values, against a loop."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int8)


def token_of(cache: torch.Tensor, block: int, place: int, mode: str) -> torch.Tensor:
    return cache[block, :, place].reshape(-1) if mode == "PA_NZ" else cache[block, place].reshape(-1)


def reference(
    cache: torch.Tensor,
    tables: torch.Tensor,
    lengths: list[int],
    out: torch.Tensor,
    offsets: list[int],
    mode: str,
) -> torch.Tensor:
    out = out.clone()
    size = cache.shape[2 if mode == "PA_NZ" else 1]
    at = 0
    for row, length, offset in zip(tables.tolist(), lengths, offsets, strict=True):
        for j in range(length):
            if at == len(out):
                return out
            column = offset // size + j // size
            block = row[column] if column < len(row) else -1
            inside = 0 <= block < len(cache)
            out[at] = token_of(cache, block, j % size, mode).reshape(out.shape[1:]) if inside else 0
            at += 1
    return out


def make(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    return torch.randint(-100, 100, shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


@pytest.mark.parametrize("cumulative", [False, True])
@pytest.mark.parametrize("mode", ["Norm", "PA_NZ"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sequences_lie_one_after_the_other(dtype: torch.dtype, mode: str, cumulative: bool) -> None:
    heads, size, value_size = 3, 8, 4
    if mode == "PA_NZ":
        caches = make(dtype, 9, heads * size // 2, 4, 2), make(dtype, 9, heads * value_size // 2, 4, 2)
    else:
        caches = make(dtype, 9, 4, heads, size), make(dtype, 9, 4, heads, value_size)
    tables = torch.tensor([[3, 0, 8, -1], [1, 1, 9, 2], [5, 6, 7, 4]], dtype=torch.int32)
    for lengths, offsets, room in (
        ([7, 0, 3], None, 12),
        ([16, 13, 2], [0, 4, 12], 31),
        ([20, 1, 1], [5, 0, 0], 9),
        ([0, 0, 0], None, 2),
    ):
        numbers = torch.tensor(
            [2, *(2 + torch.tensor(lengths).cumsum(0)).tolist()] if cumulative else lengths
        )
        out = make(dtype, room, heads, size), make(dtype, room, heads, value_size)
        first = offsets or [0, 0, 0]
        expected = [reference(c, tables, lengths, o, first, mode) for c, o in zip(caches, out, strict=True)]
        given = None if offsets is None else torch.tensor(offsets)
        call("aclnnGatherPaKvCache", *caches, tables, numbers, *out, given, mode, cumulative)
        assert all(torch.equal(o, e) for o, e in zip(out, expected, strict=True))


def test_strides_are_followed() -> None:
    cache = make(torch.float32, 6, 3, 4, 5).permute(2, 3, 0, 1)[:, ::2]
    tables, out = (
        make(torch.int64, 4, 2).abs().remainder(4).t(),
        make(torch.float32, 3, 6, 8).permute(2, 1, 0),
    )
    expected = reference(cache, tables, [5, 2], out, [0, 0], "Norm")
    call(
        "aclnnGatherPaKvCache",
        cache,
        cache,
        tables,
        torch.tensor([5, 2]),
        out,
        out.clone(),
        None,
        None,
        False,
    )
    assert torch.equal(out, expected)


def test_an_empty_cache_gives_zeros() -> None:
    for shape in ((0, 4, 1, 2), (2, 0, 1, 2)):
        out = torch.ones(3, 1, 2)
        cache = torch.zeros(shape)
        call(
            "aclnnGatherPaKvCache",
            cache,
            cache,
            torch.zeros(1, 2, dtype=torch.int32),
            torch.tensor([2]),
            out,
            out.clone(),
            None,
            None,
            False,
        )
        assert out.flatten().tolist() == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), -1, 2**32])
def test_hostile_numbers(value: int) -> None:
    cache, out = torch.ones(2, 2, 1, 4), torch.full((3, 1, 4), 7.0)
    tables = torch.tensor([[value, 1]])
    call("aclnnGatherPaKvCache", cache, cache, tables, torch.tensor([3]), out, out.clone(), None, None, False)
    assert out[:2].eq(0).all()
    assert out[2].eq(1).all()
    two = torch.zeros(2, 1, dtype=torch.int64)
    if value < 0:
        with pytest.raises(OperatorError, match="seqLens gives sequence 1 a length below 0"):
            call(
                "aclnnGatherPaKvCache",
                cache,
                cache,
                two,
                torch.tensor([1, value]),
                out,
                out.clone(),
                None,
                None,
                False,
            )
        with pytest.raises(OperatorError, match=r"seqOffset is -\d+ at position \[0\]"):
            call(
                "aclnnGatherPaKvCache",
                cache,
                cache,
                two,
                torch.tensor([1, 1]),
                out,
                out.clone(),
                torch.tensor([value, 0]),
                None,
                False,
            )
    else:
        call(
            "aclnnGatherPaKvCache",
            cache,
            cache,
            two,
            torch.tensor([1, 1]),
            out,
            out.clone(),
            torch.tensor([value, 0]),
            None,
            False,
        )
        assert out[0].eq(0).all()
        with pytest.raises(OperatorError, match="too many tokens|length below 0"):
            call(
                "aclnnGatherPaKvCache",
                cache,
                cache,
                two,
                torch.tensor([2**63 - 1, value]),
                out,
                out.clone(),
                None,
                None,
                False,
            )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({1: torch.zeros(2, 2, 1, 3)}, "valueRef is"),
        ({2: torch.zeros(2, dtype=torch.long)}, "blockTables is"),
        ({2: torch.zeros(1, 2)}, "blockTables"),
        ({3: torch.tensor([1, 1])}, "seqLens is"),
        ({4: torch.zeros(3, 4)}, "keyRef is"),
        ({6: torch.tensor([0, 0])}, "seqOffsetOptional is"),
        ({7: "Odd"}, 'cacheMode is "Odd"'),
        ({8: True}, "seqLens is"),
    ],
)
def test_bad_input(change: dict[int, object], message: str) -> None:
    cache, out = torch.zeros(2, 2, 1, 4), torch.zeros(3, 1, 4)
    good: dict[int, object] = dict(
        enumerate(
            (
                cache,
                cache,
                torch.zeros(1, 2, dtype=torch.long),
                torch.tensor([2]),
                out,
                out.clone(),
                None,
                "Norm",
                False,
            )
        )
    )
    with pytest.raises(OperatorError, match=message):
        call("aclnnGatherPaKvCache", *(good | change).values())
