"""What the tests of the matmul family share: references in float64 and the bound on rounding errors."""

from __future__ import annotations

import torch
from compare import ulp

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
INTS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)
COMPLEX = (torch.complex64, torch.complex128)
DTYPES = FLOATS + INTS + COMPLEX


def values(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    """Normal floats, small integers (the reference then neither rounds nor overflows int64)."""
    g = torch.Generator().manual_seed(seed)
    if dtype.is_complex:
        return torch.randn(shape, generator=g, dtype=torch.complex128).to(dtype)
    if dtype.is_floating_point:
        return torch.randn(shape, generator=g, dtype=torch.float64).to(dtype)
    low = 0 if dtype == torch.uint8 else -100
    return torch.randint(low, 100, shape, generator=g).to(dtype)


def wide(t: torch.Tensor) -> torch.Tensor:
    if t.dtype.is_complex:
        return t.to(torch.complex128)
    return t.double() if t.dtype.is_floating_point else t.long()


def assert_product(actual: torch.Tensor, expected: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> None:
    """Integers exactly, modulo their width. Floats: a sum of K terms in float32 (float64) of random sign is off by
    about sqrt(K) units of |row of a| |column of b| 2^-24 (2^-53); allowed is 4 times that and one unit of the output.
    """
    assert actual.shape == expected.shape
    if not (actual.dtype.is_floating_point or actual.dtype.is_complex):
        assert torch.equal(actual, expected.to(actual.dtype))
        return
    unit = 2.0**-53 if actual.dtype in (torch.float64, torch.complex128) else 2.0**-24
    steps = a.shape[-1]
    rows = wide(a).abs().pow(2).sum(-1).max() if a.numel() else torch.zeros(())
    cols = wide(b).abs().pow(2).sum(-2 if b.dim() > 1 else 0).max() if b.numel() else torch.zeros(())
    allowed = 4 * (steps**0.5 + 1) * unit * (rows * cols).sqrt() + 4 * unit
    parts = ("real", "imag") if actual.dtype.is_complex else ("",)
    for part in parts:
        got, want = (getattr(t, part) if part else t for t in (actual, wide(expected)))
        error = (got.double() - want).abs()
        bound = allowed + ulp(want, got.dtype)
        assert bool((error <= bound).all()), f"error {error.max().item()}, allowed {bound.min().item()}"
