# SPDX-License-Identifier: Apache-2.0
"""Attention of models of the transformers library whose ranks have parts of the sequence.

ulysses ranks exchange heads for sequence; keys and values go around a ring of cp ranks. Every rank has two chunks of the
sequence, the r-th and the r-th from the end, so that under a causal mask all have the same work.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mindspeed.features.sequence._exchange import enough_heads, to_heads, to_sequence
from mindspeed.features.sequence._ring import Ring, ring_attention
from mindspeed.fsdp.distributed.parallel_state import ParallelState

__all__ = ["context_parallel_attention", "split_sequence"]

NAME = "mindspeed_context_parallel"
IGNORED = -100  # labels without a loss


def context_parallel_attention(model: nn.Module, state: ParallelState) -> nn.Module:
    """Let all attention of the model be that of the ranks together."""
    if not hasattr(model, "set_attn_implementation"):
        raise TypeError(
            f"context_parallel_size and ulysses_parallel_size are for models of transformers, and {type(model).__name__} is none; "
            "leave both out, and let the model use the groups of mindspeed.fsdp.distributed.parallel_state"
        )
    _check_heads(model, state)
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _attention)
    model.set_attn_implementation(NAME)
    return model


def _check_heads(model: nn.Module, state: ParallelState) -> None:
    config: Any = model.config
    heads = getattr(config.get_text_config(), "num_attention_heads", None)
    ranks = state.get_group_size("ulysses") * state.get_group_size("tp")
    if heads is not None and heads % ranks:
        raise ValueError(
            f"ulysses_parallel_size x tensor_parallel_size is {ranks}, and {heads} heads are to be shared by them"
        )


def _enough_heads(x: Tensor, size: int) -> Tensor:
    return enough_heads(
        x,
        size,
        f"ulysses_parallel_size is {size}, and {x.shape[2]} heads of keys and values cannot be shared by it",
    )


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """[batch, heads, sequence, dimension] -> [batch, sequence, heads, dimension]"""
    for name, given in (
        ("attention_mask", attention_mask),
        ("sliding_window", sliding_window),
        ("s_aux", kwargs.get("s_aux")),
    ):
        if given is not None:
            raise NotImplementedError(
                f"context_parallel_size and ulysses_parallel_size: attention with {name} is not supported; leave them out"
            )
    state = ParallelState()
    exchanging, around = state.get_group("ulysses"), state.get_group("cp")
    q, k, v = (x.permute(2, 0, 1, 3) for x in (query, key, value))
    if exchanging.size() > 1:
        k, v = (_enough_heads(x, exchanging.size()) for x in (k, v))
        q, k, v = (to_sequence(x, exchanging) for x in (q, k, v))
    ring = Ring(
        group=around,
        scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
        keep=1.0 - dropout,
        causal=getattr(module, "is_causal", True),
    )
    out = ring_attention(q, k, v, ring, contextlib.nullcontext()).view(q.shape)
    if exchanging.size() > 1:
        out = to_heads(out, exchanging)
    return out.transpose(0, 1), None


def split_sequence(
    state: ParallelState, input_ids: Tensor, labels: Tensor | None = None
) -> dict[str, Tensor]:
    """This rank's part of a batch [batch, sequence], as arguments of a causal language model of transformers.

    Labels are shifted before they are cut. The loss of a rank is such that the mean over the ranks is that of the whole.
    """
    cp, ulysses = state.get_group_size("cp"), state.get_group_size("ulysses")
    ranks, rank = cp * ulysses, state.get_rank("cp") * ulysses + state.get_rank("ulysses")
    length = input_ids.shape[1]
    if length % (2 * ranks):
        raise ValueError(
            f"a sequence of {length} is to be {2 * ranks} chunks of the same length, two for each of {ranks} ranks"
        )

    def own(x: Tensor) -> Tensor:
        chunks = x.chunk(2 * ranks, dim=1)
        return torch.cat([chunks[rank], chunks[-1 - rank]], dim=1)

    positions = torch.arange(length, device=input_ids.device).expand_as(input_ids)
    part = {"input_ids": own(input_ids), "position_ids": own(positions)}
    if labels is None:
        return part
    following = F.pad(labels, (0, 1), value=IGNORED)[:, 1:]
    shifted = own(following).contiguous()
    counted = (following != IGNORED).sum() / ranks
    return part | {"labels": shifted, "shift_labels": shifted, "num_items_in_batch": counted}
