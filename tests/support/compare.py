"""Comparison in units in the last place of the output's dtype, and the inputs every operator is tried on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
INTS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)
COMPLEX = (torch.complex64, torch.complex128)
# Empty, scalar, one, odd, several dimensions, more than one block, enough for several threads.
SHAPES: tuple[tuple[int, ...], ...] = (
    (0,),
    (3, 0, 2),
    (),
    (1,),
    (7,),
    (3, 5),
    (2, 3, 4, 5),
    (1027,),
    (65, 1031),
)


def ulp(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Distance between neighbours of `dtype` at |x| (float64), not below the smallest normal's."""
    info = torch.finfo(dtype)
    magnitude = x.abs().clamp(min=info.smallest_normal, max=info.max)
    exponent = magnitude.contiguous().view(torch.int64) & 0x7FF0000000000000  # the power of two below
    return exponent.view(torch.float64) * info.eps


def assert_close(actual: torch.Tensor, expected: torch.Tensor, max_ulp: float = 1, atol: float = 0.0) -> None:
    """actual within max_ulp units of its own dtype (plus atol) of expected (a float64 or exact reference).

    NaN equals NaN; infinities must be equal; a reference beyond the dtype's range is infinity. Integers and
    booleans must be identical.
    """
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)} is not {tuple(expected.shape)}"
    if actual.dtype.is_complex:
        for part in ("real", "imag"):
            assert_close(getattr(actual, part), getattr(expected.to(torch.complex128), part), max_ulp, atol)
        return
    if not actual.dtype.is_floating_point:
        assert torch.equal(actual, expected.to(actual.dtype)), f"{actual} is not {expected}"
        return
    got, want = actual.double(), expected.double()
    rounded = expected.to(actual.dtype).double()
    same = (got == rounded) | (got == want) | (got.isnan() & want.isnan())
    if same.all():
        return
    finite = got.isfinite() & want.isfinite()
    error = torch.where(finite, (got - want).abs(), torch.zeros_like(got))
    allowed = max_ulp * ulp(torch.where(finite, want, torch.ones_like(want)), actual.dtype) + atol
    near_limit = (
        ~finite & ~got.isnan() & ~want.isnan() & (want.abs() >= torch.finfo(actual.dtype).max * (1 - 1e-2))
    )
    bad = ~(same | (finite & (error <= allowed)) | near_limit)
    if bad.any():
        first = tuple(int(i) for i in bad.nonzero()[0])
        raise AssertionError(
            f"{int(bad.sum())} of {bad.numel()} differ; first at {first}: got {got[first].item()!r}, expected "
            f"{want[first].item()!r}, error {(error / allowed * max_ulp)[first].item():.2f} ulp, allowed {max_ulp}"
        )


def make(
    shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0, low: float = -4, high: float = 4
) -> torch.Tensor:
    """Reproducible values: uniform floats in [low, high), integers over the range clipped to the dtype, bools."""
    g = torch.Generator().manual_seed(seed)
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, generator=g).bool()
    if dtype.is_complex:
        real = torch.float32 if dtype == torch.complex64 else torch.float64
        return torch.complex(make(shape, real, seed, low, high), make(shape, real, seed + 1, low, high))
    values = torch.rand(shape, generator=g, dtype=torch.float64) * (high - low) + low
    if dtype.is_floating_point:
        return values.to(dtype)
    info = torch.iinfo(dtype)
    return values.clamp(min=max(info.min, low * 10), max=min(info.max, high * 10)).round().to(dtype)


def special_values(dtype: torch.dtype) -> torch.Tensor:
    """NaN, infinities, zeros of both signs, subnormals, limits, and ordinary numbers between them."""
    info = torch.finfo(dtype)
    values = [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1.0, -1.0, 0.5, -2.5, info.max, info.min,
              info.smallest_normal, -info.smallest_normal, info.smallest_normal / 4, info.eps, 88.0, -88.0, 1e4, -1e4]  # fmt: skip
    return torch.tensor(values, dtype=torch.float64).to(dtype)


def layouts(t: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """The same values in different memory: contiguous, transposed, with gaps, at an offset."""
    yield "contiguous", t.contiguous()
    if t.dim() >= 2:
        order = list(range(t.dim()))
        order[0], order[-1] = order[-1], order[0]
        yield "transposed", t.permute(order).contiguous().permute(order)
    if t.dim() >= 1:
        wide = torch.empty((*t.shape[:-1], t.shape[-1] * 2 + 1), dtype=t.dtype)
        gaps = wide[..., 1::2]
        gaps.copy_(t)
        yield "gaps", gaps


def broadcast_pairs() -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    yield from (
        ((3, 5), (5,)),
        ((3, 5), (3, 1)),
        ((4, 1, 6), (5, 1)),
        ((), (2, 3)),
        ((1,), (1031,)),
        ((0, 3), (1, 3)),
    )


def combinations(*axes: tuple) -> list[tuple]:
    return list(itertools.product(*axes))
