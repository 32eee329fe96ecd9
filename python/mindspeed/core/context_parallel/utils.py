# SPDX-License-Identifier: Apache-2.0
"""Parts of a ring of attention, under the names that other projects import."""

from __future__ import annotations

from torch import Tensor

from mindspeed import absent
from mindspeed.args_utils import get_full_args
from mindspeed.features.sequence._softmax import Result, merged, merged_by_operator

__all__ = ["forward_update", "sbh_to_tnd", "tnd_to_sbh"]


def forward_update(
    prev_attn_out: Tensor,
    prev_softmax_max: Tensor,
    prev_softmax_sum: Tensor,
    cur_attn_out: Tensor,
    cur_softmax_max: Tensor,
    cur_softmax_sum: Tensor,
    actual_seq_qlen: object = None,
    layout: str = "SBH",
) -> tuple[Tensor, Tensor, Tensor]:
    """Attention to two sets of keys, from that to each: (output, maxima, sums) of the softmax.

    By one operator with --use-fused-ring-attention-update; packed outputs [t, h, d] have maxima and sums [t, h, 8].
    """
    one = Result(prev_attn_out, prev_softmax_max, prev_softmax_sum)
    other = Result(cur_attn_out, cur_softmax_max, cur_softmax_sum)
    is_fused = layout == "SBH" and getattr(get_full_args(), "use_fused_ring_attention_update", False)
    found = (merged_by_operator if is_fused else merged)(one, other)
    return found.out, found.most, found.total


def sbh_to_tnd(x: Tensor, n: int) -> Tensor:
    """[s, b, n * d] -> [b * s, n, d], one sequence behind the other"""
    s, b, h = x.shape
    return x.transpose(0, 1).reshape(b * s, n, h // n)


def tnd_to_sbh(x: Tensor, b: int) -> Tensor:
    """Back."""
    t, n, d = x.shape
    return x.reshape(b, t // b, n * d).transpose(0, 1).contiguous()


_BY_FLAG = "a ring is chosen by --context-parallel-algo and has no parts to build on but forward_update"
__getattr__ = absent.attributes(
    __name__,
    dict.fromkeys(
        (
            "AdaptiveCpOps", "RingP2P", "causal_out_update", "clear_global_info", "general_out_update",
            "get_scheduling_info", "get_selection_indices_for_tnd_softmax_update", "pad_data",
            "set_remapped_seq_order", "set_scheduling_info", "tnd_out_update",
        ),
        _BY_FLAG,
    ),
)  # fmt: skip
