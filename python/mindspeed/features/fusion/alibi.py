# SPDX-License-Identifier: Apache-2.0
"""--position-embedding-type alibi: attention scores fall off with the distance of a key, instead of positions in the input.

Head h of n adds -s * |query - key| to its scores, with s = 2^(-8 h / n), h = 1..n. Where n is no power of two, p the one below, the
heads behind the p-th take every other slope of 2p heads. The fused operator makes the bias itself, or is handed a table.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from mindspeed.adaptor.feature import Feature, Need
from mindspeed.adaptor.flags import Flag
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch

ALIBI = "alibi"
TABLE, MADE = 0, 2  # the operator's ways to a bias


def slopes(heads: int) -> list[float]:
    power = 1 << (heads.bit_length() - 1)
    own = [2.0 ** (-8.0 * h / power) for h in range(1, power + 1)]
    return own + [2.0 ** (-4.0 * h / power) for h in range(1, 2 * (heads - power), 2)]


@functools.lru_cache(maxsize=8)
def slopes_of_rank(heads: int, rank: int, ranks: int, device: torch.device) -> Tensor:
    part = heads // ranks
    return torch.tensor(slopes(heads)[rank * part : (rank + 1) * part], dtype=torch.float32, device=device)


@functools.lru_cache(maxsize=2)
def table(of_heads: Tensor, queries: int, keys: int, opposite: bool, dtype: torch.dtype) -> Tensor:
    """[1, heads, queries, keys]; the queries are the last positions of the keys. `opposite`: later keys gain."""
    device = of_heads.device
    ends = torch.arange(keys - queries, keys, device=device).unsqueeze(1)
    distance = (torch.arange(keys, device=device) - ends).float()
    if not opposite:
        distance = -distance.abs()
    return (of_heads.view(1, -1, 1, 1) * distance).to(dtype)


def slopes_of(core: Any, device: torch.device) -> Tensor:
    """Of this rank's heads."""
    from megatron.core import parallel_state

    place, parts = getattr(core, "part_of_heads", (0, 1))  # where ranks exchange heads for sequence
    return slopes_of_rank(
        core.config.num_attention_heads,
        parallel_state.get_tensor_model_parallel_rank() * parts + place,
        parallel_state.get_tensor_model_parallel_world_size() * parts,
        device,
    )


def bias(core: Any, query: Tensor, keys: int) -> dict[str, Any]:
    """Options of the operator, for queries [s, b, ...] of this rank's heads."""
    return bias_of(slopes_of(core, query.device), core.config, query, keys)


def bias_of(of_heads: Tensor, config: Any, query: Tensor, keys: int) -> dict[str, Any]:
    queries = query.shape[0]
    if config.alibi_fusion_attn_type == MADE:
        return {
            "pse": of_heads,
            "pse_type": MADE,
            "q_start_idx": [keys - queries],
            "kv_start_idx": [0],
        }
    opposite = config.alibi_diagonal_opposite
    return {"pse": table(of_heads, queries, keys, opposite, query.dtype), "pse_type": TABLE}


def biased(init: Callable[..., None]) -> Callable[..., None]:
    """DotProductAttention.__init__: the layer asks for a bias when it calls the operator."""

    @functools.wraps(init)
    def biased_init(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        self.score_bias = bias

    return biased_init


def _of_ranks(args: Any, given: str) -> Iterator[str]:
    """Ranks that share the sequence hold no stretch of it."""
    algorithm = getattr(args, "context_parallel_algo", None)
    if algorithm not in ("megatron_cp_algo", "ulysses_cp_algo", "hybrid_cp_algo"):
        yield (
            f"{given} with --context-parallel-size {args.context_parallel_size} wants a way that knows where keys are: give "
            "--context-parallel-algo megatron_cp_algo, ulysses_cp_algo or hybrid_cp_algo"
        )
    elif algorithm != "ulysses_cp_algo" and args.alibi_fusion_attn_type != MADE:
        yield f"--alibi-fusion-attn-type {args.alibi_fusion_attn_type} is a table, which a ring has not; give {MADE}"


def check(args: Any) -> Iterator[str]:
    given = f"--position-embedding-type {ALIBI}"
    if getattr(args, "transformer_impl", "local") != "local":
        yield f"{given} is for Megatron's own attention: give --transformer-impl local, or another type"
    if (getattr(args, "context_parallel_size", 1) or 1) > 1:
        yield from _of_ranks(args, given)
    if getattr(args, "use_legacy_models", False):
        yield f"{given} with --use-legacy-models, whose attention has no bias: leave out one of them"
    if args.alibi_diagonal_opposite and args.alibi_fusion_attn_type == MADE:
        yield f"--alibi-diagonal-opposite wants a table: give --alibi-fusion-attn-type {TABLE}"


FEATURE = Feature(
    name="alibi",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--position-embedding-type",
            "How attention knows positions; alibi: scores fall off with the distance.",
            type=str,
            adds=(ALIBI,),
            megatron=True,
            in_config=False,
        ),
        Flag(
            "--alibi-fusion-attn-type",
            "2: the fused operator makes the bias; 0: it is handed a table.",
            type=int,
            default=MADE,
            choices=(TABLE, MADE),
        ),
        Flag(
            "--alibi-diagonal-opposite",
            "Keys behind the query gain what keys before it lose, instead of losing the same.",
        ),
    ),
    switch=lambda args: getattr(args, "position_embedding_type", None) == ALIBI,
    needs=(
        Need(
            feature="flash-attention", flag="--use-flash-attn", why="its operator adds the bias to the scores"
        ),
    ),
    check=check,
    patches=(
        Patch(
            "megatron.core.transformer.dot_product_attention:DotProductAttention.__init__", biased, wraps=True
        ),
    ),
)
