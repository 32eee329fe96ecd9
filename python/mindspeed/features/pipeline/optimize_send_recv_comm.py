# SPDX-License-Identifier: Apache-2.0
"""Activations and gradients travel between stages at once, and nobody waits for a message before it is needed.

Megatron sends and receives in one batch, whose messages begin together, and waits on the host until they have arrived. Here
activations have a group of ranks of their own and gradients another; each message is waited for by the device alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Patch
from mindspeed.features.pipeline._directions import DOWN, UP, directions

_P2P = "megatron.core.pipeline_parallel.p2p_communication"


def _messages(
    *,
    tensor_send_prev: Tensor | None,
    tensor_recv_prev: Tensor | None,
    tensor_send_next: Tensor | None,
    tensor_recv_next: Tensor | None,
    group: Any,
    prev_pipeline_rank: int,
    next_pipeline_rank: int,
) -> dict[str, Any]:
    """As Megatron's function, with its arguments: what was begun, by name."""
    groups = directions(group)
    wanted = (
        ("recv_prev", torch.distributed.irecv, tensor_recv_prev, prev_pipeline_rank, DOWN),
        ("send_next", torch.distributed.isend, tensor_send_next, next_pipeline_rank, DOWN),
        ("recv_next", torch.distributed.irecv, tensor_recv_next, next_pipeline_rank, UP),
        ("send_prev", torch.distributed.isend, tensor_send_prev, prev_pipeline_rank, UP),
    )
    return {
        name: begin(tensor, rank, groups[direction])
        for name, begin, tensor, rank, direction in wanted
        if tensor is not None
    }


def _in_a_list(**arguments: Any) -> list[Any]:
    return list(_messages(**arguments).values())


def one_by_one(config_from_args: Callable[..., Any]) -> Callable[..., Any]:
    """Messages that are no batch are not waited for on the host."""

    @functools.wraps(config_from_args)
    def made(*args: Any, **kwargs: Any) -> Any:
        config = config_from_args(*args, **kwargs)
        config.batch_p2p_comm = False
        return config

    return made


def check(args: Any) -> Iterator[str]:
    flag = "--optimize-send-recv-comm"
    if getattr(args, "pipeline_model_parallel_size", 2) < 2:
        yield f"{flag} is for pipelines: give --pipeline-model-parallel-size 2 or more, or leave it out"
    for name in ("num_layers_per_virtual_pipeline_stage", "num_virtual_stages_per_pipeline_rank"):
        if getattr(args, name, None):
            yield (
                f"in an interleaved pipeline activations go from the last rank to the first, against the others; "
                f"leave out --{name.replace('_', '-')} or {flag}"
            )


FEATURE = Feature(
    name="optimize-send-recv-comm",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--optimize-send-recv-comm",
            "Activations and gradients travel between stages in groups of their own, and at once.",
            in_config=False,
        ),
    ),
    conflicts=tuple(
        Conflict(feature=name, why="both say how stages talk to each other")
        for name in ("schedules-method", "recompute-in-bubble", "recompute-in-advance")
    ),
    check=check,
    patches=(
        Patch(f"{_P2P}:_p2p_ops", _messages),
        Patch(f"{_P2P}:_batched_p2p_ops", _in_a_list),
        Patch(
            "megatron.training.arguments:core_transformer_config_from_args",
            one_by_one,
            wraps=True,
            requires="megatron.training",
        ),
    ),
)
