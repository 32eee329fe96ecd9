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
