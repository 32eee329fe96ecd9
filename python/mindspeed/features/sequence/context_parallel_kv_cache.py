# SPDX-License-Identifier: Apache-2.0
"""What ranks do with the keys and values of others between the passes: keep those that a ring brought, or bring again those that an exchange did.

A ring sends keys and values again for the backward pass; kept, they take the memory of the whole sequence and no messages.
Where heads are exchanged for sequence, autograd keeps keys and values of the whole sequence; with the flag each rank keeps
its part, and they are exchanged again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mindspeed.adaptor import Feature, Flag, Level, Need
from mindspeed.features.sequence._groups import ADAPTIVE, HYBRID_ADAPTIVE, ULYSSES

FULL, HALF = "full", "half"


def policy_of(layer_number: int, policy: str | None, interval: int) -> str | None:
    """Of one layer, counted from 1."""
    return None if (layer_number - 1) % (interval + 1) else policy


def kept_by(policy: str | None) -> tuple[bool, bool]:
    """(keys, values)"""
    return policy is not None, policy == FULL


def _keeps(core: Any) -> tuple[bool, bool]:
    """(keys, values) of this layer."""
    config = core.config
    policy, interval = config.context_parallel_kv_cache_policy, config.context_parallel_cache_interval
    return kept_by(policy_of(core.layer_number, policy, interval))


def kept_in_ring(core: Any) -> tuple[bool, bool]:
    """With both ways in one (hybrid_cp_algo) the ring's are kept."""
    return _keeps(core)


def brought_again_after_exchange(core: Any) -> tuple[bool, bool]:
    return _keeps(core) if core.config.context_parallel_algo == ULYSSES else (False, False)


def _of_policy(args: Any) -> Iterator[str]:
    policy, interval = args.context_parallel_kv_cache_policy, args.context_parallel_cache_interval
    if policy is None:
        if interval:
            yield (
                f"--context-parallel-cache-interval {interval} is about layers that keep keys: give "
                "--context-parallel-kv-cache-policy, or leave it out"
            )
        return
    algorithm = getattr(args, "context_parallel_algo", None)
    if algorithm in (ADAPTIVE, HYBRID_ADAPTIVE):
        yield (
            f"--context-parallel-kv-cache-policy {policy} is for rings and exchanges, and {algorithm} is neither: leave it out, or "
            "give megatron_cp_algo"
        )
    layers = getattr(args, "num_layers", None)
    if interval < 0 or (layers is not None and interval >= layers):
        yield f"--context-parallel-cache-interval is {interval}, wanted 0 to --num-layers - 1 ({(layers or 1) - 1})"


def _of_gathering(args: Any) -> Iterator[str]:
    if not args.use_ulysses_allgather_kv:
        return
    if getattr(args, "context_parallel_algo", None) != ULYSSES:
        yield (
            "--use-ulysses-allgather-kv is a way of --context-parallel-algo ulysses_cp_algo: give that, or leave it out"
        )
    if not getattr(args, "group_query_attention", True):
        yield (
            "--use-ulysses-allgather-kv pays for grouped queries alone, whose keys have few heads: give "
            "--group-query-attention and --num-query-groups, or leave it out"
        )


def check(args: Any) -> Iterator[str]:
    if getattr(args, "context_parallel_size", None) == 1:
        yield "--context-parallel-size is 1, and no keys travel: give 2 or more, or leave it out"
        return
    yield from _of_policy(args)
    yield from _of_gathering(args)


FEATURE = Feature(
    name="context-parallel-kv-cache",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--context-parallel-kv-cache-policy",
            "full: keys and values of other ranks are kept by a ring for the backward pass, or brought again by an exchange; "
            "half: keys alone.",
            type=str,
            choices=(FULL, HALF),
        ),
        Flag(
            "--context-parallel-cache-interval",
            "How many layers between two that do so.",
            type=int,
            default=0,
        ),
        Flag(
            "--use-ulysses-allgather-kv",
            "ulysses_cp_algo gathers keys and values, and exchanges queries alone: less to send where keys have few heads.",
        ),
    ),
    switch=lambda args: bool(
        getattr(args, "context_parallel_kv_cache_policy", None)
        or getattr(args, "context_parallel_cache_interval", 0)
        or getattr(args, "use_ulysses_allgather_kv", False)
    ),
    needs=(
        Need(
            feature="flash-attention",
            flag="--use-flash-attn",
            why="its operator is what keeps keys and values",
        ),
        Need(
            feature="context-parallel-algo",
            flag="--context-parallel-algo",
            why="it says how keys and values travel",
        ),
    ),
    check=check,
)
