"""Makes the tables of src/simd/simd_pieces.h: polynomials of |x| for 32 pieces, printed to standard output.

    python tools/gen_pieces.py > tables

Piece 0 is [0, 1/16), pieces 1 to 31 are quarters of octaves from there on; the last one reaches to infinity. Each
polynomial has the least relative error on its piece (Lawson's iteration); coefficients are rounded to float one after
another, from the lowest on, and the rest is fitted again each time. Needs mpmath and numpy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mpmath
import numpy as np

mpmath.mp.prec = 80
PIECES, FIRST_EXPONENT, SAMPLES, ITERATIONS = 32, -4, 200, 120
# Exponent and two bits of mantissa of 1/16, less the piece that starts there: what the kernel's index is shifted by.
ROTATION = ((127 + FIRST_EXPONENT) << 2) - 1
HALF_ROOT = 1 / mpmath.sqrt(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    value: Callable[[mpmath.mpf], mpmath.mpf]
    degree: int
    constant_from: float  # from this piece on the limit
    limit: float
    floor: float  # errors count relative to the value, but not to less than this
    slope_low: bool = False  # the slope at 0 is in two parts, of which the kernel adds the second


def gelu_tail(a: mpmath.mpf) -> mpmath.mpf:
    return a * mpmath.erfc(a * HALF_ROOT) / 2


def gelu_slope_tail(a: mpmath.mpf) -> mpmath.mpf:
    return mpmath.erfc(a * HALF_ROOT) / 2 - a * mpmath.npdf(a)


FUNCTIONS = {
    "TANH": Function(value=mpmath.tanh, degree=5, constant_from=10, limit=1, floor=0),
    "ERF": Function(value=mpmath.erf, degree=5, constant_from=4, limit=1, floor=0, slope_low=True),
    "GELU_TAIL": Function(value=gelu_tail, degree=6, constant_from=12, limit=0, floor=2**-6),
    "GELU_SLOPE_TAIL": Function(value=gelu_slope_tail, degree=6, constant_from=12, limit=0, floor=2**-4),
}


def edges(piece: int) -> tuple[float, float]:
    if piece == 0:
        return 0.0, 2.0**FIRST_EXPONENT
    octave, quarter = divmod(piece - 1, 4)
    start = 2.0 ** (FIRST_EXPONENT + octave)
    return start * (1 + quarter / 4), start * (1 + (quarter + 1) / 4)


def to_float(value: mpmath.mpf) -> float:
    return float(np.float32(float(value)))


def centre(f: Function, piece: int) -> float:
    """A float near the middle, or 0 in the first piece, whose value is nearly a float."""
    if piece == 0:
        return 0.0
    middle = sum(edges(piece)) / 2
    candidates = [to_float(middle * (1 + i * 2.0**-14)) for i in range(-400, 401)]

    def error(c: float) -> mpmath.mpf:
        exact = f.value(mpmath.mpf(c))
        return abs(exact - to_float(exact))

    return min(candidates, key=error)


def least(powers: np.ndarray, values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The combination of the columns of `powers` with the least largest weighted error."""
    share = np.full(len(values), 1 / len(values))
    for _ in range(ITERATIONS):
        q = np.sqrt(share) * weight
        solution = np.linalg.lstsq(powers * q[:, None], values * q, rcond=None)[0]
        share *= np.abs((values - powers @ solution) * weight) + 1e-300
        share /= share.sum()
    return solution


def fit(f: Function, piece: int) -> list[float]:
    """The centre, then coefficients from the lowest on."""
    low, high = edges(piece)
    if low >= f.constant_from:
        return [low, f.limit] + [0.0] * f.degree
    c = centre(f, piece)
    x = (high + low) / 2 + (high - low) / 2 * np.cos((np.arange(SAMPLES) + 0.5) / SAMPLES * np.pi)
    values = [f.value(mpmath.mpf(v)) for v in x]
    floor = 0.0 if piece == 0 and f.value(mpmath.mpf(0)) == 0 else f.floor
    weight = np.array([1 / max(abs(float(v)), floor) for v in values])
    coefficients = [to_float(f.value(mpmath.mpf(c)))]
    u = [mpmath.mpf(v) - c for v in x]
    if f.slope_low and piece == 0:
        slope = mpmath.diff(f.value, 0)
        coefficients.append(to_float(slope))
        values = [v - to_float(slope - coefficients[1]) * t for v, t in zip(values, u, strict=True)]
    reach = float(max(abs(t) for t in u))
    while len(coefficients) <= f.degree:
        done = len(coefficients)
        rest = [v - mpmath.polyval(coefficients[::-1], t) for v, t in zip(values, u, strict=True)]
        powers = np.stack([[float(t / reach) ** k for t in u] for k in range(done, f.degree + 1)], axis=1)
        solution = least(powers, np.array([float(v) for v in rest]), weight)
        coefficients.append(to_float(mpmath.mpf(solution[0]) / reach**done))
    return [c, *coefficients]


def literal(value: float) -> str:
    """A float as C writes it, in hexadecimal without trailing zeros."""
    mantissa, exponent = float(value).hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}p{int(exponent)}f"


def table(name: str, f: Function) -> str:
    rows = [[0.0] * PIECES for _ in range(f.degree + 2)]
    for piece in range(PIECES):
        for row, value in zip(rows, fit(f, piece), strict=True):
            row[(piece + ROTATION) % PIECES] = value
    lines = ["    {" + ", ".join(literal(v) for v in row) + "}," for row in rows]
    return "\n".join([f"static const float VF_{name}[{len(rows)}][{PIECES}] = {{", *lines, "};"])


if __name__ == "__main__":
    for name, function in FUNCTIONS.items():
        print(table(name, function))
