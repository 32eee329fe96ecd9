"""What the tests of convolutions and of what is linear like them share: cases, and the bound on rounding errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from compare import ulp

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
Sizes = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`x` without transposition; weight is [out, in / groups, *kernel], or [in, out / groups, *kernel]."""

    x: Sizes
    out: int
    kernel: Sizes
    stride: Sizes | int = 1
    padding: Sizes | int = 0
    dilation: Sizes | int = 1
    groups: int = 1
    transposed: bool = False
    extra: Sizes | int = 0

    def list_of(self, value: Sizes | int) -> Sizes:
        return (value,) * len(self.kernel) if isinstance(value, int) else value

    def weight_shape(self) -> Sizes:
        if self.transposed:
            return (self.x[1], self.out // self.groups, *self.kernel)
        return (self.out, self.x[1] // self.groups, *self.kernel)

    def run(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        dims = len(self.kernel)
        stride, padding, dilation, extra = map(
            self.list_of, (self.stride, self.padding, self.dilation, self.extra)
        )
        if self.transposed:
            return TRANSPOSED[dims](x, weight, bias, stride, padding, extra, self.groups, dilation)
        return CONV[dims](x, weight, bias, stride, padding, dilation, self.groups)


CASES = (
    Case(x=(2, 3, 9), out=5, kernel=(3,)),
    Case(x=(2, 6, 17), out=4, kernel=(4,), stride=2, padding=3, dilation=2, groups=2),
    Case(x=(2, 3, 8, 9), out=5, kernel=(3, 3), padding=1),
    Case(x=(1, 3, 28, 42), out=33, kernel=(14, 14), stride=14),
    Case(x=(2, 16, 7, 5), out=24, kernel=(1, 1)),
    Case(x=(2, 8, 7, 5), out=4, kernel=(1, 1), groups=2),
    Case(x=(2, 8, 7, 5), out=4, kernel=(1, 1), stride=2),
    Case(x=(1, 4, 6, 7), out=3, kernel=(1, 1), padding=1),
    Case(x=(2, 6, 11, 8), out=9, kernel=(3, 2), stride=(2, 3), padding=(2, 0), dilation=(1, 2), groups=3),
    Case(x=(2, 7, 9, 70), out=7, kernel=(3, 3), padding=1, groups=7),
    Case(x=(2, 4, 10, 11), out=8, kernel=(5, 3), stride=(2, 3), padding=(2, 4), dilation=(1, 2), groups=4),
    Case(x=(1, 3, 6, 6), out=15, kernel=(3, 3), padding=1, groups=3),
    Case(x=(2, 1, 12, 13), out=6, kernel=(3, 3)),
    Case(x=(1, 2, 3, 3), out=2, kernel=(2, 2), padding=5),
    Case(x=(1, 16, 40, 40), out=8, kernel=(3, 3), padding=1),
    Case(x=(2, 3, 5, 6, 7), out=4, kernel=(2, 3, 2), stride=(1, 2, 2), padding=(1, 0, 1)),
    Case(x=(1, 4, 4, 5, 6), out=4, kernel=(3, 2, 3), padding=1, dilation=(1, 2, 1), groups=4),
    Case(x=(1, 3, 4, 28, 28), out=16, kernel=(2, 14, 14), stride=(2, 14, 14)),
)  # fmt: skip
TRANSPOSED_CASES = (
    Case(x=(2, 3, 9), out=5, kernel=(3,), transposed=True),
    Case(x=(2, 6, 7), out=4, kernel=(4,), stride=3, padding=1, extra=2, groups=2, transposed=True),
    Case(x=(2, 3, 5, 6), out=4, kernel=(3, 2), stride=2, padding=1, extra=(1, 0), transposed=True),
    Case(x=(2, 8, 7, 5), out=6, kernel=(1, 1), groups=2, transposed=True),
    Case(x=(2, 4, 5, 6), out=4, kernel=(3, 3), stride=2, padding=1, extra=1, groups=4, transposed=True),
    Case(x=(2, 4, 5, 6), out=4, kernel=(2, 2), dilation=3, extra=2, transposed=True),
    Case(x=(1, 2, 3, 4, 5), out=3, kernel=(2, 2, 2), stride=2, transposed=True),
)  # fmt: skip


def assert_linear(
    actual: torch.Tensor, function: Callable[..., torch.Tensor], *inputs: torch.Tensor | None
) -> None:
    """`function` adds up products of elements of its inputs, so that of all ones it counts the terms of each result,
    and of absolute values it is their sum S. A sum of n terms of random sign in float32 (float64) is off by about
    sqrt(n) units of S / n at most; allowed is 2 (sqrt(n) + 1) units of S, and one unit of the output.
    """
    want = function(*(None if t is None else t.double() for t in inputs))
    total = function(*(None if t is None else t.double().abs() for t in inputs))
    terms = function(*(None if t is None else torch.ones_like(t, dtype=torch.float64) for t in inputs))
    unit = 2.0**-53 if actual.dtype == torch.float64 else 2.0**-24
    assert actual.shape == want.shape
    error = (actual.double() - want).abs()
    bound = 2 * (terms.abs().sqrt() + 1) * unit * total + ulp(want, actual.dtype)
    assert bool((error <= bound).all()), f"error {error.max().item()}, allowed {bound.min().item()}"
