# SPDX-License-Identifier: Apache-2.0
"""Two ranks train with gradients in float16 and with float32 ones, laid out in several ways.

Rank 0 prints for which layouts losses and norms of gradients are near.
"""

from __future__ import annotations

import json
import os

import mindspeed.megatron_adaptor as adaptor
import parallel_job
import torch
from parallel_layouts import Layout, dense, moe

STEPS = 4
LAYOUTS = [
    dense(dtype="bf16", world=2),
    dense(dtype="bf16", world=2, per_token_loss=True),
    dense(dtype="bf16", world=2, optimizer="distributed"),
    dense(dtype="bf16", world=2, optimizer="overlap"),
    dense(dtype="bf16", world=2, tp=2, sp=True),
    dense(dtype="bf16", world=2, pp=2, optimizer="distributed"),
    moe(dtype="bf16", world=2, ep=2, dispatcher="alltoall"),
]


def steps(layout: Layout, on: bool, number: int) -> list[tuple[float, float]]:
    adaptor.repatch({"optimization_level": 1, "quant_grads": on, "bf16": True})
    parallel_job.initialize(layout, number)
    config = parallel_job.transformer_config(layout)
    chunks = parallel_job.build_model(layout, config)
    optimizer = parallel_job.build_optimizer(layout, chunks)
    parallel_job.connect(layout, config, chunks, optimizer)
    found = [parallel_job.train_step(layout, chunks, optimizer, step) for step in range(STEPS)]
    dtypes = {buffer.grad_data.dtype for chunk in chunks for buffer in chunk.buffers}
    assert dtypes == {torch.float16 if on else torch.float32}
    parallel_job.finalize()
    return found


def is_near(some: list[tuple[float, float]], others: list[tuple[float, float]]) -> bool:
    """Losses to a hundredth, norms to a twentieth: Adam divides small gradients by small ones."""
    return all(
        abs(a[0] - b[0]) <= 0.01 * b[0] and abs(a[1] - b[1]) <= 0.05 * b[1]
        for a, b in zip(some, others, strict=True)
    )


def main() -> None:
    held = {}
    for number, layout in enumerate(LAYOUTS):
        exact, found = (steps(layout, on, 2 * number + on) for on in (False, True))
        # The first norm is of the same weights.
        first = abs(exact[0][1] - found[0][1]) <= 2e-3 * exact[0][1]
        held[layout.name] = first and is_near(found, exact)
    if os.environ["RANK"] == "0":
        print(json.dumps(held), flush=True)


if __name__ == "__main__":
    main()
