# SPDX-License-Identifier: Apache-2.0
"""The loop: Megatron's schedule for forward and backward, its optimizer, a look at held-out text now and then."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import checkpoint
import torch
from dataset import Batch, batches
from errors import UserError
from history import History
from megatron.core.datasets.gpt_dataset import GPTDataset
from megatron.core.pipeline_parallel import get_forward_backward_func
from model import Job
from tokenizer import END_OF_DOCUMENT
from tqdm import tqdm


def _loss(batch: Batch, output: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The mean over the tokens trains; the sum and the number of bytes give nats per byte."""
    losses = output.float()
    mask = batch["loss_mask"].float()
    total = (losses * mask).sum()
    counted = (mask * (batch["labels"] != END_OF_DOCUMENT)).sum()
    return total / mask.sum(), {"nats": total.detach(), "bytes": counted}


def _forward_step(iterator: Iterator[Batch], model: torch.nn.Module) -> tuple[torch.Tensor, partial]:
    batch = next(iterator)
    output = model(batch["tokens"], batch["position_ids"], None, labels=batch["labels"])
    return output, partial(_loss, batch)


def _run(
    job: Job, options: argparse.Namespace, source: Iterator[Batch], count: int, *, forward_only: bool
) -> float:
    """`count` micro-batches through Megatron's schedule; returns nats per byte."""
    reports = get_forward_backward_func()(
        forward_step_func=_forward_step,
        data_iterator=source,
        model=[job.model],
        num_microbatches=count,
        seq_length=options.seq,
        micro_batch_size=options.micro_batch,
        forward_only=forward_only,
    )
    # Two transfers to the host per step, however many micro-batches there are.
    nats = torch.stack([report["nats"] for report in reports]).sum().item()
    size = torch.stack([report["bytes"] for report in reports]).sum().item()
    return nats / max(size, 1.0)


def step(job: Job, options: argparse.Namespace, source: Iterator[Batch]) -> dict[str, float]:
    """One optimizer step."""
    job.model.zero_grad_buffer()
    job.optimizer.zero_grad()
    loss = _run(job, options, source, options.global_batch // options.micro_batch, forward_only=False)
    updated, grad_norm, _ = job.optimizer.step()
    if updated:
        job.scheduler.step(increment=1)
    norm = float(grad_norm) if grad_norm is not None else math.nan
    return {"loss": loss, "grad_norm": norm, "skipped": float(not updated)}


def evaluate(job: Job, options: argparse.Namespace, dataset: GPTDataset, device: torch.device) -> float:
    """Nats per byte of the same held-out samples every time."""
    job.model.eval()
    source = batches(dataset, options.micro_batch, 0, device)
    with torch.no_grad():
        loss = _run(job, options, source, options.eval_batches, forward_only=True)
    job.model.train()
    return loss


def _memory() -> str:
    return f"{torch.npu.max_memory_allocated() / 2**20:.0f}MiB"


class Trainer:
    """Runs iterations until --iters or --minutes is reached."""

    def __init__(self, job: Job, options: argparse.Namespace, device: torch.device, history: History) -> None:
        self._job, self._options, self._device, self._history = job, options, device, history
        self._out: Path = options.out

    def _record(self, iteration: int, bar: tqdm, figures: dict[str, float], seconds: float) -> None:
        rate = self._options.global_batch * self._options.seq / seconds
        if not math.isfinite(figures["loss"]):
            raise UserError(f"the loss of iteration {iteration} is {figures['loss']}; try a lower --lr")
        bar.set_postfix(
            loss=f"{figures['loss']:.3f}",
            valid=f"{self._history.last('valid_loss'):.3f}",
            tok_s=f"{rate:.0f}",
            grad=f"{figures['grad_norm']:.2f}",
            mem=_memory(),
            refresh=False,
        )
        bar.update(1)
        self._history.add({"iteration": iteration, "tokens_per_second": rate, "lr": self._lr()} | figures)

    def _lr(self) -> float:
        return float(self._job.optimizer.param_groups[0]["lr"])

    def _look(self, iteration: int, valid: GPTDataset) -> None:
        loss = evaluate(self._job, self._options, valid, self._device)
        self._history.add({"iteration": iteration, "valid_loss": loss})

    def run(self, first: int, train: GPTDataset, valid: GPTDataset) -> int:
        """Train from iteration `first` on; returns the number of the last one, which is saved."""
        options, iteration = self._options, first
        source = batches(train, options.micro_batch, first * options.global_batch, self._device)
        if first == 0:
            self._look(0, valid)
        end = time.monotonic() + 60 * options.minutes
        with tqdm(total=options.iters, initial=first, unit="it", dynamic_ncols=True, mininterval=1.0) as bar:
            while iteration < options.iters and time.monotonic() < end:
                started = time.monotonic()
                figures = step(self._job, options, source)
                iteration += 1
                self._record(iteration, bar, figures, time.monotonic() - started)
                last = iteration == options.iters or time.monotonic() >= end
                if last or iteration % options.eval_interval == 0:
                    self._look(iteration, valid)
                if last or iteration % options.save_interval == 0:
                    checkpoint.save(self._job, self._out, iteration, options)
        return iteration
