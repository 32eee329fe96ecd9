# SPDX-License-Identifier: Apache-2.0
"""Megatron's own attention works with context parallelism, which Megatron offers with Transformer Engine only.

Every rank of a context-parallel group holds two chunks of the sequence, the r-th and the r-th from the end (so that
causal attention is even work). Its queries meet all keys and values: these are gathered along the group and put in the
order of the sequence, and their gradients are summed and scattered back. Everything else is Megatron's attention, so
grouped queries, dropout and recomputation are as without. Memory for keys and values is that of the whole sequence for
one layer; scores take (sequence / ranks) x sequence.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import torch

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch

# What cp_comm_type may ask for. Megatron-LM's default is p2p: the same result in other messages.
ACCEPTED = (None, "p2p", "all_gather")
# Values of --context-parallel-algo that leave it at that (feature context-parallel-algo).
GATHERED = (None, "kvallgather_cp_algo")


def chunks_of(rank: int, size: int) -> tuple[int, int]:
    """The two of 2 * size chunks that a rank holds, as get_batch_on_this_cp_rank deals them out."""
    return rank, 2 * size - 1 - rank


def whole_sequence(part: torch.Tensor, group: torch.distributed.ProcessGroup) -> torch.Tensor:
    """[s / size, ...] of this rank -> [s, ...] in the order of the sequence, the same on all ranks."""
    from megatron.core.tensor_parallel import gather_from_sequence_parallel_region

    size = group.size()
    pieces = gather_from_sequence_parallel_region(part.contiguous(), group=group).chunk(2 * size)
    held = [chunk for rank in range(size) for chunk in chunks_of(rank, size)]
    return torch.cat([pieces[held.index(chunk)] for chunk in range(2 * size)])


@functools.lru_cache(maxsize=8)
def causal_mask(length: int, rank: int, size: int, device: torch.device) -> torch.Tensor:
    """True where a query [length / size] may not see a key [length]: it comes later."""
    positions = torch.arange(length, device=device)
    pieces = positions.chunk(2 * size)
    queries = torch.cat([pieces[chunk] for chunk in chunks_of(rank, size)])
    return (positions > queries.unsqueeze(1)).view(1, 1, length // size, length)


def accept_parts(init: Callable[..., None]) -> Callable[..., None]:
    """Build the attention as if the sequence were whole."""

    def __init__(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        if config.context_parallel_size == 1:
            init(self, config, *args, **kwargs)
            return
        wanted = kwargs.get("cp_comm_type")
        if wanted not in ACCEPTED:
            raise ValueError(
                f"cp_comm_type={wanted!r}: context parallelism without Transformer Engine gathers keys and values; "
                "ask for 'all_gather' or nothing"
            )
        whole = copy.copy(config)
        whole.context_parallel_size = 1
        init(self, whole, *args, **kwargs)
        self.config = config

    return __init__


def _mask(attention: Any, mask: torch.Tensor | None, length: int, device: torch.device) -> Any:
    """The caller's mask, which must be cut along the queries, or the causal one where Megatron would make it."""
    from megatron.core import parallel_state
    from megatron.core.transformer.enums import AttnMaskType

    size = parallel_state.get_context_parallel_world_size()
    if mask is None:
        if attention.attn_mask_type is not AttnMaskType.causal:
            return None
        return causal_mask(length, parallel_state.get_context_parallel_rank(), size, device)
    if mask.shape[-2] not in (1, length // size) or mask.shape[-1] != length:
        raise ValueError(
            f"attention mask {list(mask.shape)}: with context parallelism of {size} it must be "
            f"[..., {length // size}, {length}], as get_batch_on_this_cp_rank cuts it"
        )
    return mask


def attend_to_all(forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Gather keys and values first."""

    def attend(
        self: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        *args: Any,
        **kwargs: Any,
    ) -> torch.Tensor:
        is_gathered = getattr(self.config, "context_parallel_algo", None) in GATHERED
        if self.config.context_parallel_size > 1 and is_gathered:
            from megatron.core import parallel_state

            if kwargs.get("packed_seq_params") is not None:
                raise NotImplementedError(
                    "packed sequences with context parallelism: gathered keys are not theirs; give --context-parallel-algo "
                    "megatron_cp_algo, ulysses_cp_algo or hybrid_cp_algo"
                )
            group = parallel_state.get_context_parallel_group()
            key, value = whole_sequence(key, group), whole_sequence(value, group)
            attention_mask = _mask(self, attention_mask, key.shape[0], key.device)
        return forward(self, query, key, value, attention_mask, *args, **kwargs)

    return attend


def get_context_parallel_group_for_send_recv_overlap(
    check_initialized: bool = True,
) -> torch.distributed.ProcessGroup:
    """What programs that are written for the original ask parallel_state for: that of the ring, whose messages travel beside a
    step without a group of their own."""
    from megatron.core import parallel_state

    return parallel_state.get_context_parallel_group(check_initialized)


_ATTENTION = "megatron.core.transformer.dot_product_attention:DotProductAttention"

FEATURE = Feature(
    name="context-parallel",
    level=Level.COMPATIBILITY,
    is_outermost=True,  # keys and values are gathered for whatever attends to them, also the operator of level 1
    patches=(
        Patch(f"{_ATTENTION}.__init__", accept_parts, wraps=True),
        Patch(f"{_ATTENTION}.forward", attend_to_all, wraps=True),
        Patch(
            "megatron.core.parallel_state:get_context_parallel_group_for_send_recv_overlap",
            get_context_parallel_group_for_send_recv_overlap,
            creates=True,
        ),
    ),
)
