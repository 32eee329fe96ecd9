# SPDX-License-Identifier: Apache-2.0
"""The loop: Megatron's schedule for forward and backward, its optimizer, a look at held-out text now and then."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from functools import partial

import checkpoint
import torch
from dataset import Batch, batches
from errors import SharedError
from history import History
from megatron.core import parallel_state
from megatron.core.datasets.gpt_dataset import GPTDataset
from megatron.core.pipeline_parallel import get_forward_backward_func
from model import Job
from ranks import is_first
from tqdm import tqdm
from vocabulary import END_OF_DOCUMENT


def _loss(batch: Batch, output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sum over this rank's tokens, the number of tokens of the whole sequences, and for the report the sum (nats) and
    the number of bytes of these."""
    mask = batch["loss_mask"].float()
    total = (output.float() * mask).sum()
    counted = (mask * (batch["labels"] != END_OF_DOCUMENT)).sum()
    whole = torch.stack([total.detach(), counted, mask.sum()])
    torch.distributed.all_reduce(whole, group=parallel_state.get_context_parallel_group())
    return total, whole[2].int(), whole[:2]


def _forward_step(iterator: Iterator[Batch], model: torch.nn.Module) -> tuple[torch.Tensor, partial]:
    batch = next(iterator)
    output = model(batch["tokens"], batch["position_ids"], None, labels=batch["labels"])
    return output, partial(_loss, batch)


def _over_all_ranks(reports: list[torch.Tensor]) -> torch.Tensor:
    """Reports are those of the last pipeline stage; ranks that share samples count once."""
    total = torch.stack(reports).sum(0) if reports else torch.zeros(2, device="npu")
    if parallel_state.get_tensor_model_parallel_rank() or parallel_state.get_context_parallel_rank():
        total.zero_()
    torch.distributed.all_reduce(total)
    return total


def _run(
    job: Job, options: argparse.Namespace, sources: list[Iterator[Batch]], count: int, *, forward_only: bool
) -> float:
    """`count` global batches through Megatron's schedule; returns nats per byte."""
    samples = options.micro_batch * job.layout.dp
    reports = get_forward_backward_func()(
        forward_step_func=_forward_step,
        data_iterator=sources if job.layout.vp > 1 else sources[0],
        model=job.chunks,
        num_microbatches=count * options.global_batch // samples,
        seq_length=options.seq,
        micro_batch_size=options.micro_batch,
        forward_only=forward_only,
    )
    # One transfer to the host per step, however many micro-batches there are.
    nats, size = _over_all_ranks(reports).tolist()
    return nats / max(size, 1.0)


def _sources(
    job: Job, options: argparse.Namespace, dataset: GPTDataset, first: int, device: torch.device
) -> list[Iterator[Batch]]:
    """From a step on; each chunk of the model asks for itself."""
    sample = first * options.global_batch
    return [batches(dataset, options.micro_batch, sample, device) for _ in job.chunks]


def step(job: Job, options: argparse.Namespace, sources: list[Iterator[Batch]]) -> dict[str, float]:
    """One optimizer step."""
    for chunk in job.chunks:
        chunk.zero_grad_buffer()
    job.optimizer.zero_grad()
    loss = _run(job, options, sources, 1, forward_only=False)
    updated, grad_norm, _ = job.optimizer.step()
    if updated:
        job.scheduler.step(increment=1)
    norm = float(grad_norm) if grad_norm is not None else math.nan
    return {"loss": loss, "grad_norm": norm, "skipped": float(not updated)}


def evaluate(job: Job, options: argparse.Namespace, dataset: GPTDataset, device: torch.device) -> float:
    """Nats per byte of the same held-out samples every time."""
    for chunk in job.chunks:
        chunk.eval()
    with torch.no_grad():
        sources = _sources(job, options, dataset, 0, device)
        loss = _run(job, options, sources, options.eval_batches, forward_only=True)
    for chunk in job.chunks:
        chunk.train()
    return loss


def _memory() -> str:
    return f"{torch.npu.max_memory_allocated() / 2**20:.0f}MiB"


def _is_over(end: float) -> bool:
    """Clocks differ: the first rank's counts."""
    over = torch.tensor(time.monotonic() >= end, dtype=torch.int32, device="npu")
    torch.distributed.broadcast(over, src=0)
    return bool(over)


class Trainer:
    """Runs iterations until --iters or --minutes is reached."""

    def __init__(
        self, job: Job, options: argparse.Namespace, device: torch.device, history: History, resumed: int
    ) -> None:
        self._job, self._options, self._device, self._history = job, options, device, history
        self._saver = checkpoint.Saver(options.out, resumed)

    def _record(self, iteration: int, bar: tqdm, figures: dict[str, float], seconds: float) -> None:
        rate = self._options.global_batch * self._options.seq / seconds
        if not math.isfinite(figures["loss"]):
            raise SharedError(f"the loss of iteration {iteration} is {figures['loss']}; try a lower --lr")
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
        sources = _sources(self._job, options, train, first, self._device)
        if first == 0:
            self._look(0, valid)
        end = time.monotonic() + 60 * options.minutes
        over = _is_over(end)
        with tqdm(
            total=options.iters,
            initial=first,
            unit="it",
            dynamic_ncols=True,
            mininterval=1.0,
            disable=not is_first(),
        ) as bar:
            while iteration < options.iters and not over:
                started = time.monotonic()
                figures = step(self._job, options, sources)
                iteration += 1
                self._record(iteration, bar, figures, time.monotonic() - started)
                over = iteration == options.iters or _is_over(end)
                if over or iteration % options.eval_interval == 0:
                    self._look(iteration, valid)
                if over or iteration % options.save_interval == 0:
                    self._saver.save(self._job, iteration, options)
        return iteration
