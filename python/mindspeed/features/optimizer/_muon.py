# SPDX-License-Identifier: Apache-2.0
"""Muon: the momentum of a matrix, made nearly orthogonal by a Newton-Schulz iteration, is the step.

K. Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024; J. Liu et al., Muon is Scalable for LLM
Training, 2025 (scales by shape, decoupled weight decay). An iteration is x <- a x + (b G + c G G) x with G = x x^T: three
products of the device. Where x is split over tensor-parallel ranks along the dimension that G sums over, G is summed over them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

Coefficients = tuple[float, float, float]
# What the iteration's polynomials are, a step after the other; the names are those of the option.
KINDS: dict[str, tuple[Coefficients, ...]] = {
    "simple": ((3.4445, -4.7750, 2.0315),),  # Jordan's, the same in each step
    "quintic": (  # fitted to five steps, by J. You
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ),
    "polar_express": (  # N. Amsel et al., The Polar Express, 2025; the last one goes on
        (8.2051, -22.9019, 16.4607),
        (4.0664, -2.8612, 0.5184),
        (3.9096, -2.8234, 0.5250),
        (3.2856, -2.4153, 0.4853),
        (2.2779, -1.6198, 0.3985),
        (1.8726, -1.2307, 0.3585),
        (1.8564, -1.2132, 0.3568),
        (1.8750, -1.2500, 0.3750),
    ),
    "aol": (  # for matrices that almost orthogonal layers have scaled, four steps
        (4.0098, -7.0585, 2.4635),
        (3.4585, -5.5479, 2.5959),
        (2.7573, -3.2939, 1.4254),
        (2.7215, -3.0494, 1.3169),
    ),
}
_GO_ON = ("polar_express",)  # others begin again
_LEAST_NORM = 1e-7
SCALES: dict[str, Callable[[int, int], float]] = {
    "spectral": lambda rows, columns: float(max(rows, columns)) ** 0.5,
    "unit_rms_norm": lambda rows, columns: (rows / columns) ** 0.5,
    "shape_scaling": lambda rows, columns: max(1.0, rows / columns) ** 0.5,
}


def schedule(kind: str, steps: int) -> list[Coefficients]:
    row = KINDS[kind]
    endless = itertools.chain(row, itertools.repeat(row[-1])) if kind in _GO_ON else itertools.cycle(row)
    return list(itertools.islice(endless, steps))


def orthogonal(
    x: torch.Tensor,
    coefficients: Iterable[Coefficients],
    dtype: torch.dtype,
    *,
    over: Any = None,
    is_tall: bool | None = None,
) -> torch.Tensor:
    """The orthogonal matrix nearest to each of x [..., rows, columns], about; in float32.

    dtype    of the products.
    over     a group whose ranks have the other rows (is_tall) or columns (not is_tall) of the same matrix.
    """
    is_tall = x.shape[-2] > x.shape[-1] if is_tall is None else is_tall
    flat = (x.mT if is_tall else x).contiguous()
    squares = flat.square().sum(dim=(-2, -1), keepdim=True)
    if over is not None:
        torch.distributed.all_reduce(squares, group=over)
    flat = (flat / squares.sqrt().clamp_min(_LEAST_NORM)).to(dtype)
    add = torch.addmm if flat.ndim == 2 else torch.baddbmm
    for a, b, c in coefficients:
        gram = flat @ flat.mT
        if over is not None:
            torch.distributed.all_reduce(gram, group=over)
        flat = add(flat, add(gram, gram, gram, beta=b, alpha=c), flat, beta=a)
    found = flat.float()
    return found.mT if is_tall else found


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """How a parameter is a matrix, or several.

    rows     of queries, keys and values in each group of heads that the parameter's rows consist of: three matrices.
    experts  the shape with the experts in front, where a parameter has those of several.
    split    the dimension that tensor-parallel ranks share, -1: none.
    over     their group.
    """

    rows: tuple[int, ...] = ()
    experts: tuple[int, ...] = ()
    split: int = -1
    over: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What the options say. `sharing`: blockwise, duplicated or distributed."""

    coefficients: Sequence[Coefficients]
    dtype: torch.dtype
    scale: str
    extra: float
    sharing: str

    def direction(self, matrix: Matrix, moved: torch.Tensor) -> torch.Tensor:
        """The step of a parameter whose momentum is `moved`."""
        if matrix.experts:
            return self._of_one(matrix, moved.view(matrix.experts)).reshape(moved.shape)
        if not matrix.rows:
            return self._of_one(matrix, moved)
        groups = moved.view(-1, sum(matrix.rows), moved.shape[-1])
        parts = [
            self._of_one(matrix, part.reshape(-1, moved.shape[-1])).view(part.shape)
            for part in groups.split(matrix.rows, dim=1)
        ]
        return torch.cat(parts, dim=1).view(moved.shape)

    def _of_one(self, matrix: Matrix, x: torch.Tensor) -> torch.Tensor:
        size = matrix.over.size() if matrix.over is not None and matrix.split >= 0 else 1
        if self.sharing == "blockwise" or size == 1:
            return self._scaled(orthogonal(x, self.coefficients, self.dtype), x.shape[-2], x.shape[-1])
        dimension = x.ndim - 2 + matrix.split
        shape = list(x.shape)
        shape[dimension] *= size
        if self.sharing == "distributed":
            found = orthogonal(x, self.coefficients, self.dtype, over=matrix.over, is_tall=matrix.split == 0)
        else:
            parts = [torch.empty_like(x) for _ in range(size)]
            torch.distributed.all_gather(parts, x.contiguous(), group=matrix.over)
            whole = orthogonal(torch.cat(parts, dimension), self.coefficients, self.dtype)
            found = whole.chunk(size, dimension)[matrix.over.rank()]
        return self._scaled(found, shape[-2], shape[-1])

    def _scaled(self, x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        return x * (SCALES[self.scale](rows, columns) * self.extra)


class Muon(torch.optim.Optimizer):
    """For float32 parameters, each with the attribute `muon_matrix`; the state is "momentum_buffer"."""

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
        way: Way,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.nesterov, self.way = nesterov, way

    def initialize_state(self, parameter: torch.Tensor) -> None:
        self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None and p.numel() > 0]
            if moved:
                self._update(moved, group)
        return loss

    def _update(self, parameters: list[torch.Tensor], group: dict[str, Any]) -> None:
        """Decay, momentum (a mean that keeps `momentum` of itself) and step."""
        rate, kept = float(group["lr"]), group["momentum"]
        for parameter in parameters:
            if not self.state[parameter]:
                self.initialize_state(parameter)
        if group["weight_decay"] != 0.0:
            torch._foreach_mul_(parameters, 1.0 - rate * group["weight_decay"])
        gradients: list[torch.Tensor] = [p.grad for p in parameters if p.grad is not None]
        means = [self.state[p]["momentum_buffer"] for p in parameters]
        torch._foreach_lerp_(means, gradients, 1.0 - kept)
        if self.nesterov:
            means = list(torch._foreach_lerp(gradients, means, kept))
        for parameter, mean in zip(parameters, means, strict=True):
            step = self.way.direction(parameter.muon_matrix, mean)
            parameter.add_(step, alpha=-rate)
