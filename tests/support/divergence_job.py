# SPDX-License-Identifier: Apache-2.0
"""A rank of a group that shares the vocabulary: divergence of a student from a teacher, next to the same of whole rows.

Rank 0 prints, for each case, the greatest difference of values, of gradients and of cross entropies from those of one rank.
"""

from __future__ import annotations

import json

import mindspeed.megatron_adaptor  # noqa: F401
import tensor_ranks
import torch
from mindspeed.features.fusion.cross_entropy import Share
from mindspeed.features.precision import _divergence
from torch import Tensor

VOCAB, S, B = 4200, 7, 2


def start() -> tuple[int, int]:
    rank, world = tensor_ranks.start(), torch.distributed.get_world_size()
    tensor_ranks.share(tensor_model_parallel_size=world)
    return rank, world


def alike(*shape: int, seed: int) -> Tensor:
    """The same on all ranks."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def results(student: Tensor, teacher: Tensor, temperature: float, share: Share) -> list[Tensor]:
    words = torch.randint(0, VOCAB, (S, B), generator=torch.Generator().manual_seed(4)).npu()
    _divergence.tensor_parallel_share = lambda group: share
    student = student.npu().requires_grad_()
    found, entropy = _divergence.divergence(student, teacher.npu(), words, temperature=temperature)
    found.backward(alike(S, B, seed=5).npu())
    assert student.grad is not None
    return [found.detach(), student.grad, entropy]


def main() -> None:
    rank, world = start()
    shared = Share(group=torch.distributed.group.WORLD, ranks=world, rank=rank)
    for spread, near, temperature in ((3.0, 1.0, 1.0), (3.0, 1.0, 2.5), (8.0, 1e-3, 1.0), (8.0, 1e-3, 0.5)):
        teacher = spread * alike(S, B, VOCAB, seed=1)
        student = teacher + near * alike(S, B, VOCAB, seed=2)
        whole = results(student, teacher.clone(), temperature, Share(group=None, ranks=1, rank=0))
        parts = (each.chunk(world, -1)[rank].contiguous() for each in (student, teacher))
        value, gradient, entropy = results(*parts, temperature, shared)
        value_of_one, gradient_of_one, entropy_of_one = whole
        gradient_of_one = gradient_of_one.chunk(world, -1)[rank]
        worst = torch.stack(
            [
                ((value - value_of_one).abs() / value_of_one.clamp(min=1)).max(),
                (gradient - gradient_of_one).abs().max() / temperature,
                ((entropy - entropy_of_one).abs() / entropy_of_one).max(),
            ]
        )
        torch.distributed.all_reduce(worst, op=torch.distributed.ReduceOp.MAX)
        if rank == 0:
            names = ("value", "gradient", "entropy")
            print(
                json.dumps({"near": near, "smallest": value_of_one.min().item()} | dict(zip(names, worst.tolist(), strict=True))),
                flush=True,
            )  # fmt: skip


main()
