# SPDX-License-Identifier: Apache-2.0
"""Messages between stages whose shapes travel first, with Megatron's parts, under the names that other projects import."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mindspeed.core.pipeline_parallel.variable_seq_length.communicate import (
    communicate_impl,
    communicate_shapes_impl,
)
from mindspeed.features.pipeline.variable_seq_lengths import Shapes

__all__ = ["mindspeed_communicate", "mindspeed_commuticate_shapes"]


def _places() -> dict[str, Any]:
    """The group of stages, and the ranks next to this one."""
    from megatron.core import parallel_state

    names = ("group", "next_rank", "prev_rank")
    return {
        f"get_pipeline_model_parallel_{n}": getattr(parallel_state, f"get_pipeline_model_parallel_{n}")
        for n in names
    }


def _starting() -> tuple[Any, Any]:
    """What starts messages, in a batch and one by one."""
    from megatron.core.pipeline_parallel import p2p_communication

    return p2p_communication._batched_p2p_ops, p2p_communication._p2p_ops


def mindspeed_communicate(
    *,
    tensor_send_next: Tensor | None,
    tensor_send_prev: Tensor | None,
    recv_prev: bool,
    recv_next: bool,
    tensor_shape: Any,
    config: Any,
    wait_on_reqs: bool = True,
) -> tuple[Tensor | None, Tensor | None, Any]:
    """As Megatron's _communicate."""
    batched, single = _starting()
    return communicate_impl(
        tensor_send_next=tensor_send_next,
        tensor_send_prev=tensor_send_prev,
        recv_prev=recv_prev,
        recv_next=recv_next,
        tensor_shape=tensor_shape,
        config=config,
        batched_p2p_ops=batched,
        p2p_ops=single,
        original_batched_p2p_ops=batched,
        original_p2p_ops=single,
        wait_on_reqs=wait_on_reqs,
        **_places(),
    )


def mindspeed_commuticate_shapes(
    tensor_send_next: Tensor | None,
    tensor_send_prev: Tensor | None,
    recv_prev: bool,
    recv_next: bool,
    config: Any,
    tensor_dim: int = 3,
) -> Shapes:
    """As Megatron's _communicate_shapes. (The original spells it so.)"""
    batched, single = _starting()
    return communicate_shapes_impl(
        tensor_send_next=tensor_send_next,
        tensor_send_prev=tensor_send_prev,
        recv_prev=recv_prev,
        recv_next=recv_next,
        config=config,
        batched_p2p_ops=batched,
        p2p_ops=single,
        tensor_dim=tensor_dim,
        **_places(),
    )
