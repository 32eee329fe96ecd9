# SPDX-License-Identifier: Apache-2.0
"""Context parallelism in a ring, by exchanging heads for sequence, or both; without the flag keys and values are gathered.

Ranks hold what Megatron deals out to them in every way, so nothing but the core attention changes.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from mindspeed.adaptor import Feature, Flag, Level, Patch
from mindspeed.features.compatibility.context_parallel import GATHERED, whole_sequence
from mindspeed.features.fusion.flash_attention import scale_of, unsupported
from mindspeed.features.sequence._exchange import to_heads, to_sequence
from mindspeed.features.sequence._ring import Ring, ring_attention

RING, ULYSSES, HYBRID = "megatron_cp_algo", "ulysses_cp_algo", "hybrid_cp_algo"
_groups: WeakKeyDictionary[Any, tuple[Any, Any]] = WeakKeyDictionary()


def degree(args: Any, size: int) -> int:
    """Over how many ranks heads are exchanged for sequence; what is left of the group is a ring."""
    if args.context_parallel_algo == HYBRID:
        return int(args.ulysses_degree_in_cp or 1)
    return size if args.context_parallel_algo == ULYSSES else 1


def groups_of(config: Any) -> tuple[Any, Any]:
    """(those that exchange heads, those that are a ring) of this rank; neighbours exchange heads."""
    from megatron.core import parallel_state

    group = parallel_state.get_context_parallel_group()
    size, heads = group.size(), degree(config, group.size())
    if heads in (1, size):
        return (None, group) if heads == 1 else (group, None)
    if group not in _groups:
        ranks, at = torch.distributed.get_process_group_ranks(group), group.rank()
        first = at - at % heads
        inner, outer = ranks[first : first + heads], ranks[at % heads :: heads]
        # Made by their members alone, when the first of their layers runs.
        _groups[group] = (
            torch.distributed.new_group(inner, use_local_synchronization=True),
            torch.distributed.new_group(outer, use_local_synchronization=True),
        )
    return _groups[group]


def _kept(core: Any, mask: Tensor | None) -> Tensor | None:
    """The mask, unless --attention-mask-type causal says that it is the causal one."""
    is_causal = getattr(core.attn_mask_type, "name", "") == "causal"
    return None if is_causal and core.config.attention_mask_type == "causal" else mask


def _with_heads_of(core: Any, size: int) -> Any:
    """The attention as it would be with a part of its heads, over the whole sequence."""
    part = copy.copy(core)
    for name in (
        "hidden_size_per_partition",
        "num_attention_heads_per_partition",
        "num_query_groups_per_partition",
    ):
        setattr(part, name, max(1, getattr(core, name) // size))
    return part


def _enough_heads(x: Tensor, size: int) -> Tensor:
    """Grouped keys or values, repeated where there are fewer than ranks."""
    heads = x.shape[2]
    if heads % size == 0:
        return x
    if size % heads:
        raise ValueError(
            f"--context-parallel-algo: {heads} heads of keys and values on each rank cannot be shared by {size} ranks"
        )
    return x.repeat_interleave(size // heads, dim=2)


def _in_ring(core: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, group: Any) -> Tensor:
    config = core.config
    if getattr(core, "softmax_offset", None) is not None or getattr(
        core.scale_mask_softmax, "window_size", None
    ):
        raise NotImplementedError(
            "--context-parallel-algo: a ring has no softmax offset and no window; ask for ulysses_cp_algo, or leave it out"
        )
    reason = unsupported(q, None)
    if reason:
        raise NotImplementedError(
            f"--context-parallel-algo: a ring computes by the fused operator, which does not take {reason}"
        )
    ring = Ring(
        group=group,
        scale=scale_of(core),
        keep=1.0 - (core.attention_dropout.p if core.training else 0.0),
        causal=getattr(core.attn_mask_type, "name", "") == "causal",
        mask=mask,
        fused=config.use_fused_ring_attention_update,
        overlap=config.use_cp_send_recv_overlap,
    )
    random: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if ring.keep < 1 and not config.sequence_parallel:
        from megatron.core import tensor_parallel

        random = tensor_parallel.get_cuda_rng_tracker().fork()
    return ring_attention(q, k, v, ring, random)


def by_algorithm(attend: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def forward(
        self: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        attn_mask_type: Any = None,
        attention_bias: Tensor | None = None,
        packed_seq_params: Any = None,
    ) -> Tensor:
        config = self.config
        if config.context_parallel_size == 1 or config.context_parallel_algo in GATHERED:
            return attend(
                self, query, key, value, attention_mask, attn_mask_type, attention_bias, packed_seq_params
            )
        if packed_seq_params is not None or attention_bias is not None:
            raise NotImplementedError(
                "--context-parallel-algo: packed sequences and attention biases are not supported; leave it out"
            )
        exchanging, ring = groups_of(config)
        mask = _kept(self, attention_mask)
        core = self
        if exchanging is not None:
            size = exchanging.size()
            if query.shape[2] % size:
                raise ValueError(
                    f"--context-parallel-algo: {query.shape[2]} heads on each rank, shared by {size} ranks"
                )
            query, key, value = (to_sequence(_enough_heads(x, size), exchanging) for x in (query, key, value))
            if mask is not None:
                rows = whole_sequence(mask.movedim(-2, 0).to(torch.uint8), exchanging)
                mask = rows.movedim(0, -2).to(torch.bool)
            core = _with_heads_of(self, size)
        if ring is not None:
            out = _in_ring(core, query, key, value, mask, ring)
        else:
            out = attend(core, query, key, value, mask)
        if exchanging is None:
            return out
        return to_heads(out.view(*query.shape[:3], -1), exchanging).flatten(2)

    return forward


def check(args: Any) -> Iterator[str]:
    size, algorithm = getattr(args, "context_parallel_size", 1) or 1, args.context_parallel_algo
    if args.cp_window_size != 1:
        yield f"--cp-window-size {args.cp_window_size}: rings of rings are not supported; leave it out"
    if size == 1:
        return
    if getattr(args, "transformer_impl", "local") == "transformer_engine":
        yield "it is for Megatron's own attention; give --transformer-impl local, or leave it out"
    exchanging = degree(args, size)
    if algorithm == HYBRID and (exchanging < 2 or size % exchanging or size == exchanging):
        yield (
            f"--ulysses-degree-in-cp is {args.ulysses_degree_in_cp}: {HYBRID} wants a divisor of --context-parallel-size "
            f"({size}) other than 1 and itself"
        )
        return
    tensor = getattr(args, "tensor_model_parallel_size", 1) or 1
    heads = getattr(args, "num_attention_heads", None)
    if heads is not None and heads % (tensor * exchanging):
        yield f"{heads} heads cannot be shared by {tensor} tensor-parallel ranks times {exchanging} that exchange heads"
    length = getattr(args, "seq_length", None)
    if length is not None and length % (2 * size):
        yield f"--seq-length {length} is not a multiple of 2 x --context-parallel-size ({size})"


FEATURE = Feature(
    name="context-parallel-algo",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--context-parallel-algo",
            "How the ranks of a context-parallel group attend to each other's keys: in a ring, by exchanging heads for "
            "sequence (Ulysses), by both, or by gathering them, as without the flag.",
            type=str,
            choices=(RING, ULYSSES, HYBRID, "kvallgather_cp_algo"),
        ),
        Flag("--ulysses-degree-in-cp", "hybrid_cp_algo: how many ranks exchange heads.", type=int),
        Flag("--cp-window-size", "Ranks of an inner ring; only 1, which is one ring.", type=int, default=1),
        Flag("--use-cp-send-recv-overlap", "Keys and values of the next step travel while one is computed."),
        Flag("--use-fused-ring-attention-update", "Results of steps are merged by one operator."),
        Flag(
            "--attention-mask-type",
            "causal: causal layers ignore the mask that they are given; general: the mask says what is seen.",
            type=str,
            default="general",
            choices=("causal", "general"),
        ),
    ),
    check=check,
    patches=(
        Patch(
            "megatron.core.transformer.dot_product_attention:DotProductAttention.forward",
            by_algorithm,
            wraps=True,
        ),
    ),
)
