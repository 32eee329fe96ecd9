# SPDX-License-Identifier: Apache-2.0
"""Parameters of a GPT: those of the model that Megatron builds, exactly."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass

from mindspeed.planning.shape import Shape, value_of


@dataclass(frozen=True, slots=True)
class Count:
    """Parameters that data-parallel ranks share, and those of experts, which expert-data-parallel ranks share."""

    dense: int = 0
    expert: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.dense + other.dense, self.expert + other.expert)

    def __mul__(self, times: int) -> Count:
        return Count(self.dense * times, self.expert * times)

    @property
    def total(self) -> int:
        return self.dense + self.expert


def _attention(shape: Shape) -> int:
    """Query, key, value and output projections; of latent attention its low-rank ones."""
    args = shape.args
    if value_of(args, "multi_latent_attention", False):
        return _latent_attention(shape)
    query, key_value = shape.heads * shape.channels, 2 * shape.groups * shape.channels
    weights = shape.hidden * (2 * query + key_value) // shape.tp
    with_bias = shape.bias or value_of(args, "add_qkv_bias", False)
    biases = (query + key_value) // shape.tp * with_bias + shape.hidden * shape.bias
    norms = 2 * shape.channels * (shape.norm // shape.hidden) if value_of(args, "qk_layernorm", False) else 0
    return int(weights + biases + norms)


def _latent_attention(shape: Shape) -> int:
    args = shape.args
    nope, rope, value = args.qk_head_dim, args.qk_pos_emb_head_dim, args.v_head_dim
    kv_rank, q_rank = args.kv_lora_rank, value_of(args, "q_lora_rank", None)
    up_kv = kv_rank * shape.heads * (nope + value) // shape.tp
    down_kv = shape.hidden * (kv_rank + rope)
    if q_rank is None:
        query = shape.hidden * shape.heads * (nope + rope) // shape.tp
    else:
        query = shape.hidden * q_rank + q_rank * shape.heads * (nope + rope) // shape.tp
    norms = (
        ((q_rank or 0) + kv_rank) * (shape.norm // shape.hidden)
        if value_of(args, "qk_layernorm", False)
        else 0
    )
    return int(up_kv + down_kv + query + norms + shape.heads * value * shape.hidden // shape.tp)


def _mlp(shape: Shape, ffn: int, tp: int) -> int:
    up = ffn * (2 if shape.gated else 1) // tp
    down = ffn // tp
    return int(shape.hidden * (up + down) + shape.bias * (up + shape.hidden))


def _layer(shape: Shape, is_moe: bool) -> Count:
    dense = _attention(shape) + 2 * shape.norm
    if not is_moe:
        return Count(dense + _mlp(shape, shape.ffn, shape.tp))
    dense += shape.experts * shape.hidden  # the router
    if shape.shared_ffn:
        dense += _mlp(shape, shape.shared_ffn, shape.tp)
    return Count(dense, shape.experts // shape.ep * _mlp(shape, shape.expert_ffn, shape.etp))


def _embedding(shape: Shape) -> int:
    words = shape.vocabulary // shape.tp * shape.hidden
    learned = value_of(shape.args, "position_embedding_type", "learned_absolute") == "learned_absolute"
    positions = value_of(shape.args, "max_position_embeddings", 0) * shape.hidden if learned else 0
    return int(words + positions)


def _joint(shape: Shape) -> int:
    """Of a layer that predicts a token further on: what joins the stream with the next token, and norms of both and of the result."""
    return int(2 * shape.hidden * shape.hidden // shape.tp + 3 * shape.norm)


def of_stage(shape: Shape, stage: int) -> Count:
    found = Count()
    for is_moe in shape.layers(stage):
        found += _layer(shape, is_moe)
    if stage == 0:
        found += Count(_embedding(shape))
    if stage == shape.pp - 1:
        found += Count(shape.norm)
        found += (_layer(shape, shape.is_moe[-1]) + Count(_joint(shape))) * value_of(
            shape.args, "mtp_num_layers", 0
        )
        if value_of(shape.args, "untie_embeddings_and_output_weights", False) or shape.pp > 1:
            found += Count(shape.vocabulary // shape.tp * shape.hidden)
    return found


def of_whole_model(args: Namespace) -> int:
    """Each counted once."""
    return of_stage(Shape(args, whole=True), 0).total
