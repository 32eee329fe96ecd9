# SPDX-License-Identifier: Apache-2.0
"""Ranks train with the loss summed for the log at once and later: reports_job.py. Rank 0 prints the reports of both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import mindspeed.megatron_adaptor as adaptor
import parallel_job
import torch
from parallel_layouts import Layout

STEPS, LAYOUT = 3, Layout(model="dense", world=2)
events: list[str] = []


class Watched:
    """Notes when it is waited for."""

    def __init__(self, work: Any) -> None:
        self.work = work

    def wait(self) -> None:
        events.append("wait")
        self.work.wait()


def loss_at_once(output: torch.Tensor) -> Any:
    tokens = torch.tensor(output.numel(), device=output.device, dtype=torch.int)
    report = torch.stack([output.float().sum().detach(), tokens.float()])
    torch.distributed.all_reduce(report)
    return output.float().sum(), tokens, {"lm loss": (report[0], report[1])}


def loss_later(output: torch.Tensor) -> Any:
    tokens = torch.tensor(output.numel(), device=output.device, dtype=torch.int)
    report = torch.stack([output.float().sum().detach(), tokens.float()])
    work = torch.distributed.all_reduce(report, async_op=True)
    events.append("begin")
    return output.float().sum(), tokens, ({"lm loss": (report[0], report[1])}, Watched(work))


def step(chunks: Any, optimizer: Any, loss: Callable[..., Any], number: int) -> list[float]:
    """As Megatron's train_step does: forward, backward, the optimizer, then the report."""
    from megatron.core.pipeline_parallel import get_forward_backward_func

    def forward(source: Iterator[Any], model: torch.nn.Module) -> Any:
        batch = next(source)
        return model(batch["tokens"], batch["position_ids"], None, labels=batch["labels"]), loss

    for chunk in chunks:
        chunk.zero_grad_buffer()
    optimizer.zero_grad()
    reports = get_forward_backward_func()(
        forward_step_func=forward, data_iterator=parallel_job.micro_batches(number), model=chunks,
        num_microbatches=parallel_job.BATCH // LAYOUT.dp, seq_length=parallel_job.SEQUENCE, micro_batch_size=1,
        forward_only=False,
    )  # fmt: skip
    optimizer.step()
    events.append("step")
    assert list(reports[0].keys()) == ["lm loss"]
    total = [sum(float(report["lm loss"][i]) for report in reports) for i in (0, 1)]
    return [total[0] / total[1], total[1]]


def trained(is_later: bool) -> list[list[float]]:
    adaptor.repatch({"optimization_level": 2, "async_log_allreduce": is_later})
    config = parallel_job.transformer_config(LAYOUT)
    chunks = parallel_job.build_model(LAYOUT, config)
    optimizer = parallel_job.build_optimizer(LAYOUT, chunks)
    parallel_job.connect(LAYOUT, config, chunks, optimizer)
    loss = loss_later if is_later else loss_at_once
    found = [step(chunks, optimizer, loss, number) for number in range(STEPS)]
    if is_later:
        try:
            step(chunks, optimizer, loss_at_once, 0)
        except TypeError as error:
            events.append(str(error))
    return found


def main() -> None:
    parallel_job.initialize(LAYOUT, 0)
    found = {"at once": trained(False)}
    events.clear()
    found["later"] = trained(True)
    if torch.distributed.get_rank() == 0:
        print(json.dumps(found | {"events": events}), flush=True)
    parallel_job.finalize()


if __name__ == "__main__":
    main()
