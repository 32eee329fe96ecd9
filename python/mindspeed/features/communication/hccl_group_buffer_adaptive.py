# SPDX-License-Identifier: Apache-2.0
"""Buffers of collectives are as large as the largest message of their group of ranks, which the shape of the model tells.

Messages of data parallelism depend on the optimizer's buckets, and those of experts on how the router shares tokens: the first
have HCCL_BUFFSIZE, the second as well unless a factor says how many times the even share a rank may get.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from mindspeed.adaptor import Feature, Flag, Level
from mindspeed.adaptor.session import current_arguments
from mindspeed.features.communication._group_options import with_option
from mindspeed.features.communication.hccl_group_buffer import OPTION, SIZES

MEGABYTE = 2**20

UNKNOWN = -1.0  # how uneven experts are


def _number(args: Any, name: str) -> int:
    return getattr(args, name, None) or 1


def _bytes_of_tokens(args: Any) -> int:
    """Hidden states of all tokens that a tensor-parallel group has at a time."""
    element = 2 if getattr(args, "bf16", False) or getattr(args, "fp16", False) else 4
    tokens = args.seq_length // _number(args, "context_parallel_size") * args.micro_batch_size
    return int(tokens * args.hidden_size * element)


def _keys_and_values(args: Any) -> float:
    """Of one rank, relative to hidden states: those of grouped queries are fewer."""
    heads = args.num_attention_heads
    groups = args.num_query_groups if getattr(args, "group_query_attention", False) else heads
    return 2 * groups / heads


def messages(args: Any) -> dict[str, float]:
    """Bytes of the largest message by group."""
    tensor, context = _number(args, "tensor_model_parallel_size"), _number(args, "context_parallel_size")
    tokens = _bytes_of_tokens(args)
    part = tokens / tensor if getattr(args, "sequence_parallel", False) else tokens
    # Ranks gather keys and values; in a ring, or where heads go for sequence, a message is not larger.
    found = {"tp": tokens, "pp": part, "cp": tokens / tensor * max(1.0, _keys_and_values(args) * context)}
    # Norms, flags and statistics: a few numbers.
    found |= {"mp": 0, "tp_ep_mp": 0}
    uneven = args.hccl_ep_group_buffer_adaptive_factor
    if getattr(args, "num_experts", None) and uneven > 0:
        if getattr(args, "moe_token_dispatcher_type", "allgather") == "allgather":
            found["ep_tp"] = uneven * tokens * _number(args, "expert_model_parallel_size")
        else:
            found["ep"] = uneven * tokens / tensor * _number(args, "moe_router_topk")
            found["tp"] = max(tokens, found["ep"])
    return found


def sizes(args: Any) -> dict[str, int]:
    """MB by group."""
    return {name: max(SIZES.least, math.ceil(size / MEGABYTE)) for name, size in messages(args).items()}


def check(args: Any) -> Iterator[str]:
    factor = args.hccl_ep_group_buffer_adaptive_factor
    if factor != UNKNOWN and factor <= 0:
        yield (
            f"--hccl-ep-group-buffer-adaptive-factor is {factor:g}, wanted more than 0: how many times its even share of tokens "
            "a rank of experts may get"
        )
    for name in ("seq_length", "micro_batch_size", "hidden_size", "num_attention_heads"):
        if hasattr(args, name) and getattr(args, name) is None:
            yield f"--{name.replace('_', '-')} is not given, and messages are as large as it says"


FEATURE = Feature(
    name="hccl-group-buffer-adaptive",
    level=Level.ACCELERATION,
    flags=(
        Flag("--hccl-group-buffer-adaptive", "Buffers of groups as large as the model's messages."),
        Flag(
            "--hccl-ep-group-buffer-adaptive-factor",
            "How many times its even share of tokens a rank of experts may get; default: HCCL_BUFFSIZE for such groups.",
            type=float,
            default=UNKNOWN,
        ),
    ),
    check=check,
    patches=with_option(OPTION, lambda: sizes(current_arguments())),
)
