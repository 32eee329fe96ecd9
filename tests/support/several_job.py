# SPDX-License-Identifier: Apache-2.0
"""A pipeline whose stages give each other two tensors that are trained through and one of numbers: several_job.py CHUNKS...

For each number of chunks of a rank the model is trained for some steps, on one rank by itself as well (in a process of one rank: that
alone). Rank 0 prints the losses of each.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import mindspeed.megatron_adaptor as adaptor
import parallel_job
import torch
from parallel_layouts import Layout
from torch import Tensor

BLOCKS, WIDTH, LENGTH, BATCHES, STEPS, RATE = 4, 16, 8, 6, 4, 0.2


class Block(torch.nn.Module):
    """h [s, w] and m [s, 2, w] change each other; which rows do is said by numbers [s]."""

    def __init__(self, number: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(number)
        self.weights = torch.nn.ParameterList(
            torch.nn.Parameter(torch.randn(WIDTH, WIDTH, generator=generator) / WIDTH**0.5) for _ in range(3)
        )

    def forward(self, h: Tensor, m: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        a, b, c = self.weights
        gate = (rows % 2).to(h.dtype).unsqueeze(-1)
        h = h + torch.tanh(h @ a + (m * gate.unsqueeze(-1)).sum(1) @ b)
        return h, m * torch.sigmoid(h @ c).unsqueeze(1)


def stage_class() -> type[Any]:
    from megatron.core.enums import ModelType
    from megatron.core.transformer.module import MegatronModule

    class Stage(MegatronModule):
        """`first` to `last` of the blocks; a stage that is not the last one returns a tuple."""

        model_type = ModelType.encoder_or_decoder

        def __init__(self, config: Any, first: int, last: int) -> None:
            super().__init__(config)
            self.blocks = torch.nn.ModuleList(Block(number) for number in range(first, last))
            self.is_last = last == BLOCKS
            self.given: list[Any] = [None]

        def set_input_tensor(self, tensors: list[Any]) -> None:
            self.given = tensors

        def forward(self, batch: tuple[Tensor, Tensor, Tensor]) -> Any:
            h, m, rows = batch if self.given[0] is None else self.given
            for block in self.blocks:
                h, m = block(h, m, rows)
            return (h * m.sum(1)).float() if self.is_last else (h, m, rows)

    return Stage


def batches(step: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Micro-batches of several lengths."""
    generator = torch.Generator().manual_seed(step)
    for number in range(BATCHES):
        length = LENGTH + number % 3
        h = torch.randn(length, WIDTH, generator=generator)
        m = torch.randn(length, 2, WIDTH, generator=generator)
        yield h.npu(), m.npu(), torch.arange(length, device="npu")


def forward_step(source: Iterator[Any], model: Any) -> tuple[Any, Any]:
    def loss(output: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        found = output.square().mean()
        return found, {"loss": found.detach().clone()}

    return model(next(source)), loss


def train(layout: Layout, number: int) -> list[float]:
    from megatron.core import parallel_state
    from megatron.core.pipeline_parallel import get_forward_backward_func

    on = {"use_multiparameter_pipeline_model_parallel": True, "pipeline_model_parallel_size": layout.pp}
    adaptor.repatch({"optimization_level": 2} | (on if layout.pp > 1 else {}))
    parallel_job.initialize(layout, number)
    config = parallel_job.transformer_config(layout)
    rank, stages = parallel_state.get_pipeline_model_parallel_rank(), layout.pp * layout.vp
    each = BLOCKS // stages
    places = [chunk * layout.pp + rank for chunk in range(layout.vp)]
    chunks = [stage_class()(config, place * each, (place + 1) * each).npu() for place in places]
    losses = []
    for step in range(STEPS):
        sources = [batches(step) for _ in chunks]
        reports = get_forward_backward_func()(
            forward_step_func=forward_step,
            data_iterator=sources if layout.vp > 1 else sources[0],
            model=chunks if layout.vp > 1 else chunks[0],
            num_microbatches=BATCHES,
            seq_length=LENGTH,
            micro_batch_size=1,
            forward_only=False,
        )
        total = (
            torch.stack([report["loss"] for report in reports]).mean()
            if reports
            else torch.zeros((), device="npu")
        )
        torch.distributed.all_reduce(total)  # the last stage has it
        losses.append(total.item())
        with torch.no_grad():
            for parameter in (p for chunk in chunks for p in chunk.parameters()):
                parameter -= RATE * parameter.grad
                parameter.grad = None
    parallel_job.finalize()
    return losses


def main() -> None:
    world = int(os.environ["WORLD_SIZE"])
    for number, chunks in enumerate(map(int, sys.argv[1:])):
        layout = Layout(model="gated", world=world, pp=world, vp=chunks, overlap_p2p=chunks > 1)
        losses = train(layout, number)
        if os.environ["RANK"] == "0":
            print(json.dumps({"chunks": chunks, "losses": losses}), flush=True)


if __name__ == "__main__":
    main()
