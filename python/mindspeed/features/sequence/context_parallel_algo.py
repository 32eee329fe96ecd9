# SPDX-License-Identifier: Apache-2.0
"""Context parallelism in a ring, by exchanging heads for sequence, or both; without the flag keys and values are gathered.

Ranks hold what Megatron deals out to them in every way, so nothing but the core attention changes.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mindspeed.adaptor import Feature, Flag, Level, Patch
from mindspeed.features.compatibility.context_parallel import GATHERED, whole_sequence
from mindspeed.features.fusion.flash_attention import scale_of, unsupported
from mindspeed.features.sequence import context_parallel_kv_cache as cache
from mindspeed.features.sequence._adaptive import Adaptive, adaptive_attention, seen_by_all
from mindspeed.features.sequence._exchange import brought_again, enough_heads, gathered, to_heads, to_sequence
from mindspeed.features.sequence._groups import (
    ADAPTIVE,
    HYBRID,
    HYBRID_ADAPTIVE,
    RING,
    ULYSSES,
    Groups,
    degree,
    groups_of,
)
from mindspeed.features.sequence._packed import Order, halves, order
from mindspeed.features.sequence._ring import Ring, ring_attention


def _kept(core: Any, mask: Tensor | None) -> Tensor | None:
    """The mask, unless --attention-mask-type causal says that it is the causal one."""
    is_causal = getattr(core.attn_mask_type, "name", "") == "causal"
    return None if is_causal and core.config.attention_mask_type == "causal" else mask


def _with_heads_of(core: Any, group: Any) -> Any:
    """The attention as it would be with a part of its heads, over the whole sequence."""
    part, size = copy.copy(core), group.size()
    for name in (
        "hidden_size_per_partition",
        "num_attention_heads_per_partition",
        "num_query_groups_per_partition",
    ):
        setattr(part, name, max(1, getattr(core, name) // size))
    part.part_of_heads = (group.rank(), size)
    return part


def _enough_heads(x: Tensor, size: int) -> Tensor:
    return enough_heads(
        x,
        size,
        f"--context-parallel-algo: {x.shape[2]} heads of keys and values on each rank cannot be shared by {size} ranks",
    )


def _own_heads(x: Tensor, group: Any) -> Tensor:
    """Of gathered keys or values, those that this rank's queries look at."""
    heads, size, rank = x.shape[2], group.size(), group.rank()
    if heads % size == 0:
        return x.chunk(size, dim=2)[rank]
    if size % heads:
        raise ValueError(
            f"--use-ulysses-allgather-kv: {heads} heads of keys and values on each rank cannot be shared by {size} ranks"
        )
    return x.chunk(heads, dim=2)[rank * heads // size]


def _kept_by_dropout(core: Any) -> float:
    return 1.0 - (core.attention_dropout.p if core.training else 0.0)


def _random(core: Any) -> contextlib.AbstractContextManager[Any]:
    """The state in which dropout draws."""
    if _kept_by_dropout(core) == 1 or core.config.sequence_parallel:
        return contextlib.nullcontext()
    from megatron.core import tensor_parallel

    found: contextlib.AbstractContextManager[Any] = tensor_parallel.get_cuda_rng_tracker().fork()
    return found


def _in_ring(
    core: Any, qkv: tuple[Tensor, Tensor, Tensor], mask: Tensor | None, groups: Groups, packed: Any
) -> Tensor:
    config, (q, k, v) = core.config, qkv
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
    score_bias = getattr(core, "score_bias", None)  # feature alibi
    if score_bias is not None and packed is not None:
        raise NotImplementedError(
            "--position-embedding-type alibi: packed sequences are not supported; choose another type"
        )
    if packed is None and mask is not None and config.context_parallel_algo in (ADAPTIVE, HYBRID_ADAPTIVE):
        adaptive = Adaptive(
            group=groups.ring,
            seen=seen_by_all(mask, groups.ring),
            scale=scale_of(core),
            keep=_kept_by_dropout(core),
            overlap=config.use_cp_send_recv_overlap,
        )
        return adaptive_attention(q, k, v, adaptive, _random(core))
    ranks = groups.ring.size() * (1 if groups.window is None else groups.window.size())
    ring = Ring(
        group=groups.ring,
        window=groups.window,
        scale=scale_of(core),
        keep=_kept_by_dropout(core),
        causal=getattr(core.attn_mask_type, "name", "") in ("causal", "padding_causal"),
        mask=mask if packed is None else None,
        slopes=None if score_bias is None else score_bias(core, q, q.shape[0])["pse"],
        packed=None if packed is None else halves(packed, ranks, q.device),
        fused=config.use_fused_ring_attention_update,
        overlap=config.use_cp_send_recv_overlap,
        keeps=cache.kept_in_ring(core),
    )
    return ring_attention(q, k, v, ring, _random(core))


@dataclass(frozen=True, slots=True)
class _Exchange:
    """Heads for sequence, among the ranks of a group."""

    core: Any
    group: Any
    order: Order | None

    def key(self, x: Tensor) -> Tensor:
        if self.core.config.use_ulysses_allgather_kv:
            return _own_heads(gathered(x, self.group, self.order), self.group).contiguous()
        return to_sequence(_enough_heads(x, self.group.size()), self.group, self.order)

    def mask(self, mask: Tensor | None) -> Tensor | None:
        if mask is None:
            return None
        rows = whole_sequence(mask.movedim(-2, 0).to(torch.uint8), self.group)
        return rows.movedim(0, -2).to(torch.bool)

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, inner: Callable[..., Tensor]
    ) -> Tensor:
        size = self.group.size()
        if q.shape[2] % size:
            raise ValueError(
                f"--context-parallel-algo: {q.shape[2]} heads on each rank, shared by {size} ranks"
            )
        q = to_sequence(q, self.group, self.order)
        wholes = [self.key(x) for x in (k, v)]
        kept = cache.brought_again_after_exchange(self.core)
        again: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if any(kept):
            chosen = [place for place in range(2) if kept[place]]
            again = brought_again([(k, v)[at] for at in chosen], [wholes[at] for at in chosen], self.key)
        with again:
            out = inner(_with_heads_of(self.core, self.group), q, *wholes, self.mask(mask))
        return to_heads(out.view(*q.shape[:3], -1), self.group, self.order).flatten(2)


def _attend(
    core: Any, qkv: tuple[Tensor, Tensor, Tensor], mask: Tensor | None, packed: Any, attend: Any
) -> Tensor:
    """[s, b, h, d] -> [s, b, h * d]; of packed sequences b is 1."""
    groups = groups_of(core.config)

    def inner(core: Any, *qkv: Any) -> Tensor:
        q, k, v, mask = qkv
        if packed is not None:
            q, k, v = (t.squeeze(1) for t in (q, k, v))
        if groups.ring is not None:
            return _in_ring(core, (q, k, v), mask, groups, packed)
        out: Tensor = attend(core, q, k, v, mask, packed_seq_params=packed)
        return out

    if groups.exchanging is None:
        return inner(core, *qkv, mask)
    ranks = core.config.context_parallel_size
    places = None if packed is None else order(packed, ranks, groups.exchanging.size(), qkv[0].device)
    return _Exchange(core, groups.exchanging, places).attend(*qkv, mask, inner)


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
        if attention_bias is not None:
            raise NotImplementedError(
                "--context-parallel-algo: attention biases are not supported; leave it out"
            )
        mask = _kept(self, attention_mask)
        if packed_seq_params is None:
            return _attend(self, (query, key, value), mask, None, attend)
        qkv = (query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1))
        return _attend(self, qkv, None, packed_seq_params, attend).view(query.shape[0], -1)

    return forward


def _of_adaptive(args: Any) -> Iterator[str]:
    """What a ring has and blocks in places of their own have not."""
    if args.attention_mask_on_cpu:
        yield "--attention-mask-on-cpu: masks are where the model hands them over; leave it out"
    if args.adaptive_cp_manually_set_mask_list:
        yield "--adaptive-cp-manually-set-mask-list: masks are those that the model hands over; leave it out"
    if args.context_parallel_algo in (ADAPTIVE, HYBRID_ADAPTIVE) and args.cp_window_size != 1:
        yield (
            f"--cp-window-size {args.cp_window_size} is about a ring, and {args.context_parallel_algo} is none; leave it out, or "
            f"give {RING}"
        )


def check(args: Any) -> Iterator[str]:
    size, algorithm = getattr(args, "context_parallel_size", 1) or 1, args.context_parallel_algo
    if size == 1:
        return
    if getattr(args, "transformer_impl", "local") == "transformer_engine":
        yield "it is for Megatron's own attention; give --transformer-impl local, or leave it out"
    exchanging = degree(args, size)
    if algorithm in (HYBRID, HYBRID_ADAPTIVE) and (exchanging < 2 or size % exchanging or size == exchanging):
        yield (
            f"--ulysses-degree-in-cp is {args.ulysses_degree_in_cp}: {algorithm} wants a divisor of --context-parallel-size "
            f"({size}) other than 1 and itself"
        )
        return
    yield from _of_adaptive(args)
    ring, wide = size // exchanging, args.cp_window_size
    if wide != 1 and (wide < 1 or ring % wide or wide == ring):
        yield (
            f"--cp-window-size is {wide}, and {ring} ranks are a ring: give a divisor of {ring} other than itself, or leave it out"
        )
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
            "sequence (Ulysses), by both, block by block as the mask leaves them (adaptive), or by gathering them, as without the flag.",
            type=str,
            choices=(RING, ULYSSES, HYBRID, ADAPTIVE, HYBRID_ADAPTIVE, "kvallgather_cp_algo"),
        ),
        Flag("--ulysses-degree-in-cp", "hybrid ways: how many ranks exchange heads.", type=int),
        Flag(
            "--cp-window-size",
            "Ranks of an inner ring: keys go around in it, and meanwhile to the next one; 1 is one ring of all.",
            type=int,
            default=1,
        ),
        Flag("--use-cp-send-recv-overlap", "Keys and values of the next step travel while one is computed."),
        Flag("--use-fused-ring-attention-update", "Results of steps are merged by one operator."),
        Flag(
            "--attention-mask-type",
            "causal: causal layers ignore the mask that they are given; general: the mask says what is seen.",
            type=str,
            default="general",
            choices=("causal", "general"),
        ),
        Flag("--adaptive-cp-only-reschedule", "Ranks keep the tokens that they were dealt; always so."),
        Flag("--adaptive-cp-dynamic-attn-mask", "Masks differ between batches; always looked at."),
        Flag("--adaptive-cp-without-coarse", "Masks are looked at whole; always so."),
        Flag("--attention-mask-on-cpu", "The mask stays on the host; refused."),
        Flag("--adaptive-cp-manually-set-mask-list", "The program makes the masks of blocks; refused."),
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
