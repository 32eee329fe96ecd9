# SPDX-License-Identifier: Apache-2.0
"""A stack of layers and a step of its training as --smart-swap wraps it, without Megatron. As a program, `swap_layers.py MIB`: trains
four steps; before the third one, the first with a plan, it makes a row of numbers, which a trace shows.
"""

from __future__ import annotations

import sys

import torch
import torch_npu  # noqa: F401
from mindspeed.features.memory import smart_swap as feature

ROWS, WIDTH, LAYERS = 45056, 64, 6  # tensors of 11 MiB: the allocator takes memory for each of them
TENSOR = ROWS * WIDTH * 4


class Layers(torch.nn.Module):
    """Each of them saves its input, a product and what tanh gives, and the weight."""

    def __init__(self, layers: int = LAYERS) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.weights = torch.nn.ParameterList(torch.randn(WIDTH, WIDTH) / WIDTH**0.5 for _ in range(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for weight in self.weights:
            x = (x @ weight).tanh() * x.sigmoid()
        return x


@feature.following
def step(*, model: torch.nn.Module, batches: list[torch.Tensor]) -> list[float]:
    """Each batch is a micro-batch."""
    found = []
    for x in batches:
        loss = model(x).square().mean()
        loss.backward()
        found.append(loss.detach())
    return [float(loss) for loss in found]


def batch(rows: int = ROWS) -> list[torch.Tensor]:
    torch.manual_seed(5)
    return [torch.randn(rows, WIDTH).to("npu")]


def main() -> None:
    model, given = Layers().to("npu"), batch()
    run = feature.Run._runs[model] = feature.Run(int(sys.argv[1]))
    for number in range(4):
        if number == 2:
            torch.arange(5, device="npu")
        step(model=model, batches=given)
    torch.npu.synchronize()
    assert run.plan is not None and run.plan.leave and run.plan.fetch


if __name__ == "__main__":
    main()
