# SPDX-License-Identifier: Apache-2.0
"""What tests of fp8, fp4, hifloat8 and MX formats share: their values by definition, packing, block scales."""

from __future__ import annotations

import math

import torch

CODES = torch.arange(256, dtype=torch.int32).to(torch.uint8)


def hif8_value(code: int) -> float:
    """hifloat8: sign, a prefix that says how many bits the exponent has, exponent, mantissa."""
    sign, rest = (-1.0 if code & 0x80 else 1.0), format(code & 0x7F, "07b")
    if code == 0x80:
        return math.nan
    if code & 0x7F == 0x6F:
        return sign * math.inf
    for prefix, size in (("11", 4), ("10", 3), ("01", 2), ("001", 1), ("0001", 0)):
        if rest.startswith(prefix):
            exponent, mantissa = rest[len(prefix) : len(prefix) + size], rest[len(prefix) + size :]
            e = 0
            if size:
                e = (-1 if exponent[0] == "1" else 1) * int("1" + exponent[1:], 2)
            return sign * 2.0**e * (1 + int(mantissa, 2) / 2 ** len(mantissa))
    return sign * 2.0 ** (int(rest, 2) - 23) if int(rest, 2) else 0.0


def neighbours(table: torch.Tensor) -> torch.Tensor:
    """float32: every value of the table, every midpoint of two, and the floats on either side of each."""
    finite = table[table.isfinite()].unique()
    top = finite[-1]
    more = torch.tensor(
        [top * f for f in (1.01, 1.0625, 1.125, 1.25, 1.5, 2, 4)] + [1e38, math.inf], dtype=torch.float64
    )
    points = torch.cat([finite, (finite[1:] + finite[:-1]) / 2, more, -more]).float()
    infinity = torch.tensor(math.inf)
    return torch.cat(
        [points, points.nextafter(infinity), points.nextafter(-infinity), torch.tensor([0.0, -0.0, math.nan])]
    )


# Codes of the non-negative finite values in order, by the interface's number of the type.
E4M3, E5M2, E2M1, E1M2 = 36, 35, 40, 41
POSITIVE = {
    E4M3: CODES[:0x7F].view(torch.float8_e4m3fn).double(),
    E5M2: CODES[:0x7C].view(torch.float8_e5m2).double(),
    E2M1: torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6], dtype=torch.float64),
    E1M2: torch.arange(8, dtype=torch.float64) / 4,
}
EMAX = {E4M3: 8, E5M2: 15, E2M1: 2, E1M2: 0}


def encode(x: torch.Tensor, dtype: int, rounding: str = "rint") -> torch.Tensor:
    """Codes of the nearest values, clipped; of two equally near the even code, the larger, or always the lower one."""
    table = POSITIVE[dtype]
    size = x.double().abs().clamp(max=table[-1].item())
    high = torch.searchsorted(table, size).clamp(max=len(table) - 1)
    low = torch.where(table[high] == size, high, high - 1).clamp(min=0)
    below, above = size - table[low], table[high] - size
    if rounding == "floor":
        code = torch.where(x < 0, high, low)
    else:
        tie = high if rounding == "round" else torch.where(low % 2 == 0, low, high)
        code = torch.where(below == above, tie, torch.where(below < above, low, high))
    bits = 8 if dtype in (E4M3, E5M2) else 4
    code = code | (x.double().signbit().long() << (bits - 1))
    nan = 0x7F if bits == 8 else 0
    return torch.where(x.isnan(), nan, code).to(torch.uint8)


def decode(codes: torch.Tensor, dtype: int) -> torch.Tensor:
    """float64 of one code in each byte."""
    bits = 8 if dtype in (E4M3, E5M2) else 4
    size = codes.long() & ((1 << bits - 1) - 1)
    value = POSITIVE[dtype][size.clamp(max=len(POSITIVE[dtype]) - 1)]
    value = torch.where(codes.long() >> (bits - 1) > 0, -value, value)
    return torch.where(size >= len(POSITIVE[dtype]), math.nan, value)


def pack4(codes: torch.Tensor) -> torch.Tensor:
    return codes[..., ::2] | codes[..., 1::2] << 4


def unpack4(packed: torch.Tensor) -> torch.Tensor:
    return torch.stack([packed & 15, packed >> 4], -1).flatten(-2)


def mx_scale(largest: torch.Tensor, dtype: int, by_value: float = 0.0) -> torch.Tensor:
    """e8m0 bytes of blocks whose largest magnitudes are float64; by_value: the quotient's float32 rounded up."""
    if by_value:
        quotient = (largest.float() / by_value).double()
        mantissa, exponent = torch.frexp(quotient)
        up = exponent - (mantissa == 0.5).long()  # 2^up is not below the quotient
        up = torch.where((exponent <= -126) & (quotient <= 1.5 * 2.0**-127), -127, up.clamp(min=-126))
        code = torch.where(quotient == 0, -127, up) + 127
    else:
        exponent = torch.frexp(largest)[1] - 1
        code = torch.where(largest == 0, -127, exponent - EMAX[dtype]).clamp(min=-127) + 127
    return torch.where(largest.isfinite() & (code < 255), code, 255).to(torch.uint8)


def mx_quantise(
    x: torch.Tensor,
    dtype: int,
    axis: int = -1,
    block: int = 32,
    by_value: float = 0.0,
    rounding: str = "rint",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes of x's shape (one in each byte) and scales in pairs, in float64."""
    rows = x.double().movedim(axis, -1)
    n = rows.shape[-1]
    blocks = -(-n // block)
    filled = torch.nn.functional.pad(rows, (0, (blocks + blocks % 2) * block - n)).unflatten(-1, (-1, block))
    largest = filled.abs().nan_to_num(math.inf).amax(-1)
    scale = mx_scale(largest, dtype, by_value)
    factor = torch.where(scale == 255, math.nan, 2.0 ** (127 - scale.double()))
    codes = encode(filled * factor[..., None], dtype, rounding).flatten(-2)[..., :n]
    pairs = scale.unflatten(-1, (-1, 2)).movedim(-2, axis - 1 if axis < 0 else axis)
    return codes.movedim(-1, axis).contiguous(), pairs.contiguous()


def mx_values(
    codes: torch.Tensor, scale: torch.Tensor, dtype: int, axis: int = -1, block: int = 32
) -> torch.Tensor:
    """float64 of codes and their scales."""
    rows = decode(codes, dtype).movedim(axis, -1)
    by = scale.movedim(axis - 1 if axis < 0 else axis, -2).flatten(-2)
    by = torch.where(by == 255, math.nan, 2.0 ** (by.double() - 127)).repeat_interleave(block, -1)
    return (rows * by[..., : rows.shape[-1]]).movedim(-1, axis)


def assert_mx(
    codes: torch.Tensor, scale: torch.Tensor, dtype: int, want: torch.Tensor, axis: int = -1, **how: float
) -> None:
    """Of what float32 computed: a value at an edge may fall to the other side, by one code or one power of two."""
    wanted, scales = mx_quantise(want.float(), dtype, axis, **how)
    got = unpack4(codes) if dtype in (E2M1, E1M2) else codes
    assert got.shape == wanted.shape and scale.shape == scales.shape
    if want.numel() == 0:
        return
    assert ((scale.int() - scales.int()).abs() <= 1).all()
    assert (scale == scales).float().mean() > 0.99 and (got == wanted).float().mean() > 0.99
    if torch.equal(scale, scales):
        assert ((got.int() - wanted.int()).abs() <= 1).all()
