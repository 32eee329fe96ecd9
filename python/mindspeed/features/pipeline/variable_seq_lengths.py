# SPDX-License-Identifier: Apache-2.0
"""Stages of a pipeline tell each other the shape of what they send, so each micro-batch has a length of its own.

Megatron can do so, has no option for it, and sends shapes of an interleaved pipeline of two stages in another order than
what they are of. Shapes go the way of the tensors here.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Patch

_P2P = "megatron.core.pipeline_parallel.p2p_communication"
_FIXED = ("allgather", "alltoall_seq")  # dispatchers of tokens that want one length
Shapes = tuple[list[int], list[int]]


def _of(tensor: Tensor | None) -> Tensor | None:
    if tensor is None:
        return None
    return torch.tensor(list(tensor.shape), dtype=torch.int64, device=tensor.device)


def exchanged(
    exchange: Callable[..., Any],
    to_next: Tensor | None,
    to_prev: Tensor | None,
    from_prev: bool,
    from_next: bool,
    dimensions: int = 3,
) -> Shapes:
    """Shapes of what comes from the stage before and from the next one. `exchange`: Megatron's, which starts messages."""
    device = torch.device("npu", torch.npu.current_device())
    prev, behind = (
        torch.zeros(dimensions, dtype=torch.int64, device=device) if wanted else None
        for wanted in (from_prev, from_next)
    )
    begun = exchange(
        tensor_send_prev=_of(to_prev),
        tensor_recv_prev=prev,
        tensor_send_next=_of(to_next),
        tensor_recv_next=behind,
    )
    for request in begun.values() if isinstance(begun, dict) else begun:
        request.wait()
    first, second = ([0] * dimensions if got is None else got.tolist() for got in (prev, behind))
    return first, second


def _starting(config: Any) -> Callable[..., Any]:
    """How Megatron starts the messages of tensors."""
    module = sys.modules[_P2P]
    return module._batched_p2p_ops if config.batch_p2p_comm else module._p2p_ops


def by_the_way_of_tensors(communicate_shapes: Callable[..., Shapes]) -> Callable[..., Shapes]:
    """_communicate_shapes, a function of releases before 0.14."""

    @functools.wraps(communicate_shapes)
    def communicate(to_next: Any, to_prev: Any, from_prev: bool, from_next: bool, config: Any) -> Shapes:
        from megatron.core import parallel_state

        group = parallel_state.get_pipeline_model_parallel_group()
        if config.use_ring_exchange_p2p or isinstance(group, list):
            return communicate_shapes(to_next, to_prev, from_prev, from_next, config)
        exchange = functools.partial(
            _starting(config),
            group=group,
            prev_pipeline_rank=parallel_state.get_pipeline_model_parallel_prev_rank(),
            next_pipeline_rank=parallel_state.get_pipeline_model_parallel_next_rank(),
        )
        return exchanged(exchange, to_next, to_prev, from_prev, from_next)

    return communicate


def of_communicators(communicate_shapes: Callable[..., Shapes]) -> Callable[..., Shapes]:
    """P2PCommunicator._communicate_shapes, from 0.14 on."""

    @functools.wraps(communicate_shapes)
    def communicate(self: Any, to_next: Any, to_prev: Any, from_prev: bool, from_next: bool) -> Shapes:
        if self.config.use_ring_exchange_p2p:
            return communicate_shapes(self, to_next, to_prev, from_prev, from_next)
        exchange = functools.partial(
            _starting(self.config),
            group=self.pp_group,
            prev_pipeline_rank=self.prev_rank,
            next_pipeline_rank=self.next_rank,
        )
        return exchanged(exchange, to_next, to_prev, from_prev, from_next)

    return communicate


def of_dense_models(post_init: Callable[..., None]) -> Callable[..., None]:
    """TransformerConfig.__post_init__, which asks also models without experts how they dispatch tokens."""

    @functools.wraps(post_init)
    def checked(self: Any) -> None:
        given = self.variable_seq_lengths
        if not self.num_moe_experts:
            self.variable_seq_lengths = False
        post_init(self)
        self.variable_seq_lengths = given

    return checked


def check(args: Any) -> Iterator[str]:
    dispatcher = getattr(args, "moe_token_dispatcher_type", None)
    if getattr(args, "num_experts", None) and dispatcher in _FIXED:
        yield (
            f"--moe-token-dispatcher-type {dispatcher} wants sequences of one length; give alltoall, or leave out "
            "--variable-seq-lengths"
        )


FEATURE = Feature(
    name="variable-seq-lengths",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--variable-seq-lengths",
            "Stages of a pipeline tell each other shapes: micro-batches may differ in length.",
            in_config=False,  # Megatron's configs have the field
        ),
    ),
    conflicts=(
        Conflict(
            feature="moe-allgather-overlap-comm",
            why="tokens of all ranks are gathered as sequences of one length",
        ),
    ),
    check=check,
    patches=(
        Patch(f"{_P2P}:_communicate_shapes", by_the_way_of_tensors, wraps=True, until="0.14"),
        Patch(f"{_P2P}:P2PCommunicator._communicate_shapes", of_communicators, wraps=True, since="0.14"),
        Patch(
            "megatron.core.transformer.transformer_config:TransformerConfig.__post_init__",
            of_dense_models,
            wraps=True,
        ),
    ),
)
