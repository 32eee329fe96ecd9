# SPDX-License-Identifier: Apache-2.0
"""Messages between stages whose shapes travel first, with parts that a caller gives, under the names that other projects import.

--variable-seq-lengths does the same with Megatron's own parts.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

from torch import Tensor

from mindspeed.features.pipeline.variable_seq_lengths import Shapes, exchanged

__all__ = ["communicate_impl", "communicate_shapes_impl"]
Function = Callable[..., Any]


def communicate_shapes_impl(
    tensor_send_next: Tensor | None,
    tensor_send_prev: Tensor | None,
    recv_prev: bool,
    recv_next: bool,
    config: Any,
    get_pipeline_model_parallel_group: Function,
    get_pipeline_model_parallel_next_rank: Function,
    get_pipeline_model_parallel_prev_rank: Function,
    batched_p2p_ops: Function,
    p2p_ops: Function,
    tensor_dim: int = 3,
) -> Shapes:
    """Shapes of what comes from the stage before and from the next one; zeros where nothing comes.

    batched_p2p_ops, p2p_ops: with the arguments of Megatron's, of which config.batch_p2p_comm chooses one.
    """
    if config.use_ring_exchange_p2p:
        raise NotImplementedError(
            "communicate_shapes_impl: config.use_ring_exchange_p2p asks for a collective that PyTorch does not have; "
            "set it to False"
        )
    exchange = functools.partial(
        batched_p2p_ops if config.batch_p2p_comm else p2p_ops,
        group=get_pipeline_model_parallel_group(),
        prev_pipeline_rank=get_pipeline_model_parallel_prev_rank(),
        next_pipeline_rank=get_pipeline_model_parallel_next_rank(),
    )
    return exchanged(exchange, tensor_send_next, tensor_send_prev, recv_prev, recv_next, tensor_dim)


def _with_parts(function: Function, **parts: Any) -> Function:
    """A function of a module that finds these in place of the module's own."""
    return types.FunctionType(
        function.__code__, {**function.__globals__, **parts}, function.__name__, function.__defaults__,
        function.__closure__,
    )  # fmt: skip


def communicate_impl(
    *,
    tensor_send_next: Tensor | None,
    tensor_send_prev: Tensor | None,
    recv_prev: bool,
    recv_next: bool,
    tensor_shape: Any,
    config: Any,
    get_pipeline_model_parallel_group: Function,
    get_pipeline_model_parallel_next_rank: Function,
    get_pipeline_model_parallel_prev_rank: Function,
    batched_p2p_ops: Function,
    p2p_ops: Function,
    original_batched_p2p_ops: Function,
    original_p2p_ops: Function,
    wait_on_reqs: bool = True,
) -> tuple[Tensor | None, Tensor | None, Any]:
    """What comes from the stage before and from the next one, and messages that are still under way.

    original_...: for shapes, where the others are not Megatron's. Of Megatron before 0.14, which has one function for it.
    """
    from megatron.core.pipeline_parallel import p2p_communication

    megatrons = getattr(p2p_communication, "_communicate", None)
    if megatrons is None:
        raise NotImplementedError(
            "communicate_impl: this release of Megatron sends by P2PCommunicator, which --variable-seq-lengths (or repatch) "
            "makes exchange shapes"
        )

    def communicate_shapes(
        to_next: Any, to_prev: Any, from_prev: bool, from_next: bool, config: Any
    ) -> Shapes:
        return communicate_shapes_impl(
            to_next,
            to_prev,
            from_prev,
            from_next,
            config,
            get_pipeline_model_parallel_group=get_pipeline_model_parallel_group,
            get_pipeline_model_parallel_next_rank=get_pipeline_model_parallel_next_rank,
            get_pipeline_model_parallel_prev_rank=get_pipeline_model_parallel_prev_rank,
            batched_p2p_ops=original_batched_p2p_ops,
            p2p_ops=original_p2p_ops,
        )

    communicate = _with_parts(
        megatrons,
        _communicate_shapes=communicate_shapes,
        _batched_p2p_ops=batched_p2p_ops,
        _p2p_ops=p2p_ops,
        get_pipeline_model_parallel_group=get_pipeline_model_parallel_group,
        get_pipeline_model_parallel_next_rank=get_pipeline_model_parallel_next_rank,
        get_pipeline_model_parallel_prev_rank=get_pipeline_model_parallel_prev_rank,
    )
    found: tuple[Tensor | None, Tensor | None, Any] = communicate(
        tensor_send_next=tensor_send_next,
        tensor_send_prev=tensor_send_prev,
        recv_prev=recv_prev,
        recv_next=recv_next,
        tensor_shape=tensor_shape,
        config=config,
        wait_on_reqs=wait_on_reqs,
    )
    return found
