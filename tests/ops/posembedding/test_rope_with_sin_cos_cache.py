"""Rotary embedding by position numbers against the formula in float64."""

from __future__ import annotations

import pytest
import torch
from aclnn import IntArray, OperatorError, call
from compare import assert_close

NAMES = ("aclnnRopeWithSinCosCache", "aclnnRopeWithSinCosCacheV2")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def angles(cache: torch.Tensor, positions: torch.Tensor, sections: list[int], mode: int) -> torch.Tensor:
    """[tokens, rotary dim]: cosines, then sines, of each token."""
    rows = cache.double()[positions.long()]
    if positions.ndim == 1:
        return rows
    half = rows.shape[-1] // 2
    axis = torch.zeros(half, dtype=torch.long)
    if mode == 0:
        axis = torch.repeat_interleave(torch.arange(3), torch.tensor(sections))
    else:
        for number in (1, 2):
            axis[number : 3 * sections[number] : 3] = number
    column = torch.arange(2 * half)
    return rows[axis.repeat(2), :, column].t()


def reference(x: torch.Tensor, table: torch.Tensor, head: int, halves: bool) -> torch.Tensor:
    width = table.shape[-1]
    cos, sin = (part[:, None] for part in table.chunk(2, -1))
    heads = x.double().reshape(x.shape[0], x.shape[1] // head, head)
    turned, rest = heads[..., :width], heads[..., width:]
    a, b = turned.chunk(2, -1) if halves else (turned[..., ::2], turned[..., 1::2])
    pair = (a * cos - b * sin, b * cos + a * sin)
    turned = torch.cat(pair, -1) if halves else torch.stack(pair, -1).flatten(-2)
    return torch.cat((turned, rest), -1).reshape(x.shape)


def run(
    name: str,
    positions: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    cache: torch.Tensor,
    sections: list[int],
    head: int,
    halves: bool,
    mode: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    out = torch.empty_like(query), torch.empty_like(key)
    extra = (mode,) if name.endswith("V2") else ()
    call(name, positions, query, key, cache, IntArray(sections), head, halves, *extra, *out)
    return out


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("halves", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_position(dtype: torch.dtype, halves: bool, name: str) -> None:
    g = torch.Generator().manual_seed(0)
    for tokens, heads, kv_heads, head, width in (
        (7, 3, 1, 16, 16),
        (33, 2, 2, 12, 8),
        (1, 1, 1, 2, 2),
        (0, 2, 1, 8, 8),
    ):
        cache = torch.randn(50, width, generator=g).to(dtype)
        positions = torch.randint(
            0, 50, (tokens,), generator=g, dtype=torch.int32 if heads == 3 else torch.int64
        )
        query, key = (torch.randn(tokens, n * head, generator=g).to(dtype) for n in (heads, kv_heads))
        got = run(name, positions, query, key, cache, [0, 0, 0], head, halves)
        for y, x in zip(got, (query, key), strict=True):
            assert_close(y, reference(x, angles(cache, positions, [], 0), head, halves), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("sections", "mode"),
    [([4, 2, 2], 0), ([0, 8, 0], 0), ([4, 2, 2], 1), ([8, 0, 0], 1), ([2, 3, 3], 1), ([3, 2, 3], 0)],
)
@pytest.mark.parametrize("halves", [True, False])
def test_three_positions(halves: bool, sections: list[int], mode: int) -> None:
    g = torch.Generator().manual_seed(1)
    cache = torch.randn(40, 16, generator=g)
    positions = torch.randint(0, 40, (3, 9), generator=g)
    query, key = torch.randn(9, 2 * 20, generator=g), torch.randn(9, 20, generator=g)
    got = run(NAMES[1], positions, query, key, cache, sections, 20, halves, mode)
    for y, x in zip(got, (query, key), strict=True):
        assert_close(y, reference(x, angles(cache, positions, sections, mode), 20, halves), 1, atol=1e-6)


def test_strided_inputs_and_heads_of_their_own() -> None:
    g = torch.Generator().manual_seed(2)
    cache = torch.randn(32, 20, generator=g)[::2, ::2]
    positions = torch.arange(24)[::3]
    query, key = torch.randn(16, 8, 3, generator=g).permute(1, 2, 0), torch.randn(8, 64, generator=g)[:, 1:33]
    wide = query.reshape(8, 48)
    expected = run(
        NAMES[0], positions.contiguous() % 16, wide, key.contiguous(), cache.contiguous(), [], 16, True
    )
    got = run(NAMES[0], positions % 16, query, key, cache, [], 16, True)
    assert torch.equal(got[0].reshape(8, 48), expected[0])
    assert torch.equal(got[1], expected[1])


def test_a_position_outside_the_cache_is_named() -> None:
    cache, x = torch.randn(5, 8), torch.randn(3, 8)
    for bad in (5, -1, 2**62):
        with pytest.raises(OperatorError, match=rf"{bad} at position \[1\] of positions is out of range"):
            run(NAMES[0], torch.tensor([0, bad, 1]), x, x, cache, [], 8, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": 0}, "headSize is 0"),
        ({"head": 6}, "cosSinCache is"),
        ({"cache": torch.randn(5, 7)}, "cosSinCache is"),
        ({"query": torch.randn(3, 12)}, "queryIn is"),
        ({"key": torch.randn(2, 8)}, "keyIn is"),
        ({"positions": torch.zeros(2, 3, dtype=torch.long)}, "positions is"),
        ({"positions": torch.zeros(3)}, "positions"),
        (
            {"positions": torch.zeros(3, 3, dtype=torch.long), "sections": [1, 1, 1]},
            "together not the cache's 4 angles",
        ),
        ({"positions": torch.zeros(3, 3, dtype=torch.long), "sections": [5, -1, 0]}, "mropeSection is"),
        ({"positions": torch.zeros(3, 3, dtype=torch.long), "sections": [4]}, "mropeSection has 1 numbers"),
        (
            {"positions": torch.zeros(3, 3, dtype=torch.long), "sections": [2, 1, 1], "mode": 2},
            "cacheMode is 2",
        ),
        (
            {"positions": torch.zeros(3, 3, dtype=torch.long), "sections": [1, 2, 1], "mode": 1},
            "last two equal",
        ),
        ({"query": torch.randn(3, 8).double()}, "queryIn is"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    good: dict[str, object] = {
        "name": NAMES[1],
        "positions": torch.zeros(3, dtype=torch.long),
        "query": torch.randn(3, 8),
        "key": torch.randn(3, 8),
        "cache": torch.randn(5, 8),
        "sections": [0, 0, 0],
        "head": 8,
        "halves": True,
        "mode": 0,
    }
    with pytest.raises(OperatorError, match=message):
        run(**(good | change))
