"""New tokens into a paged cache of keys and values, against a loop."""

from __future__ import annotations

import pytest
import torch
from aclnn import IntArray, OperatorError, call

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.int64)


def scatter(
    key: torch.Tensor,
    value: torch.Tensor,
    caches: tuple[torch.Tensor, torch.Tensor],
    slots: torch.Tensor,
    mode: str | None,
) -> None:
    extra = (None, None, None, mode, "None", IntArray([1, 1]), IntArray([0, 0]))
    call("aclnnScatterPaKvCache", key, caches[0], slots, value, caches[1], *extra)


def reference(
    tokens: torch.Tensor, cache: torch.Tensor, slots: torch.Tensor, mode: str | None
) -> torch.Tensor:
    cache = cache.clone()
    size = cache.shape[2 if mode == "PA_NZ" else 1]
    for token, slot in zip(tokens, slots.tolist(), strict=True):
        if slot < 0:
            continue
        if mode == "PA_NZ":
            cache[slot // size, :, slot % size] = token.reshape(cache.shape[1], cache.shape[3])
        else:
            cache[slot // size, slot % size] = token
    return cache


def make(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    return torch.randint(-100, 100, shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


@pytest.mark.parametrize("mode", [None, "", "Norm", "PA_NZ"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_tokens_go_to_their_slots(dtype: torch.dtype, mode: str | None) -> None:
    for tokens, heads, size, value_size in ((5, 3, 8, 4), (40, 2, 300, 40), (1, 1, 2, 2), (0, 2, 4, 4)):
        key, value = make(dtype, tokens, heads, size), make(dtype, tokens, heads, value_size)
        if mode == "PA_NZ":
            caches = make(dtype, 6, heads * size // 2, 8, 2), make(dtype, 6, heads * value_size // 2, 8, 2)
        else:
            caches = make(dtype, 6, 8, heads, size), make(dtype, 6, 8, heads, value_size)
        slots = torch.randperm(48, generator=torch.Generator().manual_seed(0))[:tokens].int()
        slots[::4] = -1
        expected = [reference(t, c, slots, mode) for t, c in zip((key, value), caches, strict=True)]
        scatter(key, value, caches, slots, mode)
        assert all(torch.equal(c, e) for c, e in zip(caches, expected, strict=True))


def test_the_last_token_of_a_slot_stays_and_strides_are_followed() -> None:
    key, value = (
        make(torch.float32, 8, 2, 2000).permute(1, 0, 2)[:, ::2],
        make(torch.float32, 2, 30, 4)[..., 1::2],
    )
    caches = (
        make(torch.float32, 4, 2000, 3, 5).permute(2, 3, 0, 1),
        make(torch.float32, 3, 60, 30, 2)[:, ::12],
    )
    slots = torch.tensor([7, 7])
    expected = [reference(t, c, slots, None) for t, c in zip((key, value), caches, strict=True)]
    scatter(key, value, caches, slots, None)
    assert all(torch.equal(c, e) for c, e in zip(caches, expected, strict=True))


def test_keys_alone() -> None:
    key, cache, slots = (
        make(torch.float16, 3, 2, 4),
        make(torch.float16, 2, 4, 2, 4),
        torch.tensor([6, -5, 0]),
    )
    expected = reference(key, cache, slots, None)
    call("aclnnScatterPaCache", key, cache, slots, None, None, None, "Norm")
    assert torch.equal(cache, expected)


def test_a_slot_outside_names_itself_and_writes_nothing() -> None:
    key, caches = (
        make(torch.float32, 2, 1, 4),
        (make(torch.float32, 2, 3, 1, 4), make(torch.float32, 2, 3, 1, 4)),
    )
    before = [c.clone() for c in caches]
    for bad in (6, 2**31, 2**63 - 1):
        with pytest.raises(
            OperatorError, match=rf"index {bad} at position \[1\] of slotMapping is out of range"
        ):
            scatter(key, key, caches, torch.tensor([0, bad]), None)
    assert all(torch.equal(c, b) for c, b in zip(caches, before, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "Odd"}, 'cacheMode is "Odd"'),
        ({"slots": torch.tensor([0])}, "slotMapping is"),
        ({"slots": torch.tensor([0.0, 1.0])}, "slotMapping"),
        ({"key": torch.ones(2, 4)}, "key is"),
        ({"key": torch.ones(2, 2, 4)}, "a token has other elements there"),
        ({"key": torch.ones(2, 1, 4).double()}, "of one type"),
        ({"value": torch.ones(3, 1, 4)}, "wanted as many tokens"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    good: dict[str, object] = {
        "key": torch.ones(2, 1, 4),
        "value": torch.ones(2, 1, 4),
        "caches": (torch.zeros(2, 3, 1, 4), torch.zeros(2, 3, 1, 4)),
        "slots": torch.tensor([0, 1]),
        "mode": "Norm",
    }
    with pytest.raises(OperatorError, match=message):
        scatter(**(good | change))


def test_modes_that_compress_heads_are_refused_by_name() -> None:
    key, cache, slots = torch.ones(2, 1, 4), torch.zeros(2, 3, 1, 4), torch.tensor([0, 1])
    with pytest.raises(OperatorError, match="compressLensOptional is"):
        call("aclnnScatterPaCache", key, cache, slots, slots, None, None, "Norm")
    with pytest.raises(OperatorError, match='scatterModeOptional is "Alibi"'):
        call(
            "aclnnScatterPaKvCache",
            key,
            cache,
            slots,
            key,
            cache.clone(),
            None,
            None,
            None,
            None,
            "Alibi",
            None,
            None,
        )
