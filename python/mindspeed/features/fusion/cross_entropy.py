# SPDX-License-Identifier: Apache-2.0
"""Cross entropy over a split vocabulary passes the logits fewer times, and keeps no float32 copy of half logits.

Megatron writes logits - max, exponentials and probabilities back to memory one after the other. Here forward reads
the logits once (logsumexp) and keeps one number per token; backward makes probabilities from the logits in blocks that
stay in cache. As in Megatron, float32 logits are overwritten; halves are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.flags import Flag
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch
from mindspeed.ops._results import not_a_view

# Elements that are worked on at once: 2 MiB of float32.
_BLOCK = 1 << 19

Forward = Callable[..., Tensor]
Backward = Callable[..., tuple[Tensor | None, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What of the vocabulary this rank has, and with whom it sums up."""

    group: Any
    ranks: int
    rank: int

    def place(self, target: Tensor, width: int) -> tuple[Tensor, Tensor]:
        """(index into the share, whether it is in there), for flat targets."""
        index = target.reshape(-1) - self.rank * width
        outside = (index < 0) | (index >= width)
        return index.masked_fill(outside, 0), ~outside


def tensor_parallel_share(group: Any) -> Share:
    """Of the group that a version of Megatron passes, or of its only one."""
    from megatron.core import parallel_state

    group = parallel_state.get_tensor_model_parallel_group() if group is None else group
    return Share(group=group, ranks=group.size(), rank=group.rank())


def row_blocks(rows: int, width: int) -> Iterator[slice]:
    step = max(1, _BLOCK // width)
    for begin in range(0, rows, step):
        yield slice(begin, min(begin + step, rows))


def log_sum_exp(logits: Tensor) -> Tensor:
    """Per row, in float32."""
    if logits.dtype is torch.float32:
        return torch.logsumexp(logits, -1)
    parts = [torch.logsumexp(logits[rows].float(), -1) for rows in row_blocks(*logits.shape)]
    return torch.cat(parts)


def across(share: Share, sums: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
    """(log of the sum over all ranks, logit of the target), from those of this rank."""
    if share.ranks == 1:
        return sums, predicted
    most = sums.clone()
    torch.distributed.all_reduce(most, op=torch.distributed.ReduceOp.MAX, group=share.group)
    both = torch.stack((torch.exp(sums - most), predicted))
    torch.distributed.all_reduce(both, group=share.group)
    return most + torch.log(both[0]), both[1]


def cross_entropy(ctx: Any, logits: Tensor, target: Tensor, label_smoothing: float, group: Any) -> Tensor:
    """logits [..., width of the share], target [...] -> loss like target, in float32."""
    width = logits.shape[-1]
    flat = logits.reshape(-1, width)
    share = tensor_parallel_share(group)
    index, inside = share.place(target, width)
    predicted = flat.gather(1, index.unsqueeze(1)).squeeze(1).float() * inside
    total, predicted = across(share, log_sum_exp(flat), predicted)
    loss = total - predicted
    smoothing = 0.0
    if label_smoothing > 0:
        assert label_smoothing < 1
        smoothing = label_smoothing * width / (width - 1)
        loss = (1.0 - smoothing) * loss - smoothing * (flat.float().mean(-1) - total)
    ctx.smoothing = smoothing
    ctx.save_for_backward(logits, total, index, inside)
    return not_a_view(loss.view(target.shape))


def gradient(ctx: Any, grad_output: Tensor) -> Tensor:
    """(probability - one-hot) * gradient of the loss, rounded once to the type of the logits."""
    logits, total, index, inside = ctx.saved_tensors
    width = logits.shape[-1]
    flat = logits.reshape(-1, width)
    result = flat if flat.dtype is torch.float32 else torch.empty_like(flat)
    factor = grad_output.reshape(-1, 1).float()
    of_target = -(1.0 - ctx.smoothing) * factor * inside.unsqueeze(1)
    for rows in row_blocks(*flat.shape):
        block = flat[rows].float()
        block.sub_(total[rows].unsqueeze(1)).exp_()
        if ctx.smoothing:
            block.sub_(ctx.smoothing / width)
        block.mul_(factor[rows]).scatter_add_(1, index[rows].unsqueeze(1), of_target[rows])
        if result is not flat:
            result[rows] = block
    return result.view(logits.shape)


def fewer_passes(written_out: Forward) -> Forward:
    def forward(ctx: Any, logits: Tensor, target: Tensor, *more: Any) -> Tensor:
        ctx.of_mindspeed = logits.device.type == "npu"
        if not ctx.of_mindspeed:
            return written_out(ctx, logits, target, *more)
        smoothing, group = (*more, None)[:2] if more else (0.0, None)
        return cross_entropy(ctx, logits, target, smoothing, group)

    return forward


def fewer_passes_of_fusion(written_out: Forward) -> Forward:
    """Megatron's own fusion has no smoothing, and gives bfloat16 whatever the logits are."""

    def forward(ctx: Any, logits: Tensor, target: Tensor, *more: Any) -> Tensor:
        ctx.of_mindspeed = logits.device.type == "npu"
        if not ctx.of_mindspeed:
            return written_out(ctx, logits, target, *more)
        return cross_entropy(ctx, logits, target, 0.0, more[0] if more else None)

    return forward


def fewer_passes_backward(written_out: Backward) -> Backward:
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.of_mindspeed:
            return written_out(ctx, grad_output)
        return (gradient(ctx, grad_output), *(None for _ in ctx.needs_input_grad[1:]))

    return backward


_PLAIN = "megatron.core.tensor_parallel.cross_entropy:_VocabParallelCrossEntropy"
_FUSION = "megatron.core.fusions.fused_cross_entropy:_VocabParallelCrossEntropy"
FEATURE = Feature(
    name="vocab-parallel-cross-entropy",
    level=Level.AFFINITY,
    flags=(
        Flag(
            "--use-fused-cross-entropy",
            "Cross entropy over a split vocabulary with fewer passes over the logits.",
            negative="--no-fused-cross-entropy",
        ),
    ),
    patches=(
        Patch(f"{_PLAIN}.forward", fewer_passes, wraps=True),
        Patch(f"{_PLAIN}.backward", fewer_passes_backward, wraps=True),
        Patch(f"{_FUSION}.forward", fewer_passes_of_fusion, wraps=True),
        Patch(f"{_FUSION}.backward", fewer_passes_backward, wraps=True),
    ),
)
