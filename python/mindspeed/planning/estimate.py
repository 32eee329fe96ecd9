# SPDX-License-Identifier: Apache-2.0
"""Parameters and memory of a GPT per device, by formulas, from validated arguments.

Parameters, gradients and optimizer states are counted as Megatron allocates them. Activations are what autograd keeps of a
layer (after "Reducing Activation Recomputation in Large Transformer Models", Korthikanti et al. 2022, arXiv 2205.05198,
with the dtypes and the attention in use), times the micro-batches in flight, and the logits of the last stage.
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict, dataclass
from typing import Any

FP32 = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Bytes on one device of a pipeline stage; peak is their sum, reached at the end of the last forward."""

    stage: int
    parameters: int
    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def peak(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """parameters of the whole model, each counted once."""

    parameters: int
    stages: tuple[Stage, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        stages = [{**asdict(stage), "peak": stage.peak} for stage in self.stages]
        return {"parameters": self.parameters, "stages": stages, "notes": list(self.notes)}


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


def estimate(args: Namespace) -> Estimate:
    """For a GPT with dense or MoE layers; what is not counted is in the notes."""
    shape = Shape(args)
    stages = tuple(_stage(shape, stage) for stage in range(shape.pp))
    return Estimate(parameters=_whole_model(args), stages=stages, notes=tuple(_notes(args)))


def _get(args: Namespace, name: str, default: Any) -> Any:
    value = getattr(args, name, None)
    return default if value is None else value


class Shape:
    """The sizes that formulas use, with Megatron's defaults filled in."""

    def __init__(self, args: Namespace, *, whole: bool = False) -> None:
        self.args = args
        self.tp = 1 if whole else _get(args, "tensor_model_parallel_size", 1)
        self.pp = 1 if whole else _get(args, "pipeline_model_parallel_size", 1)
        self.cp = _get(args, "context_parallel_size", 1)
        self.ep = 1 if whole else _get(args, "expert_model_parallel_size", 1)
        self.etp = 1 if whole else _get(args, "expert_tensor_parallel_size", self.tp)
        self.ranks = _get(args, "world_size", 1)
        self.dp = max(1, self.ranks // (self.tp * self.pp))  # with the ranks of context parallelism
        self.expert_dp = max(1, self.ranks // (self.etp * self.pp * self.ep))
        self.hidden = args.hidden_size
        self.heads = args.num_attention_heads
        self.channels = _get(args, "kv_channels", self.hidden // self.heads)
        grouped = _get(args, "group_query_attention", False)
        self.groups = _get(args, "num_query_groups", self.heads) if grouped else self.heads
        self.gated = bool(_get(args, "swiglu", False))
        self.ffn = _get(args, "ffn_hidden_size", 4 * self.hidden)
        self.experts = _get(args, "num_experts", 0)
        self.expert_ffn = _get(args, "moe_ffn_hidden_size", self.ffn)
        self.shared_ffn = _get(args, "moe_shared_expert_intermediate_size", 0)
        self.bias = bool(_get(args, "add_bias_linear", True))
        self.norm = self.hidden * (1 if _get(args, "normalization", "LayerNorm") == "RMSNorm" else 2)
        self.sequence = args.seq_length // self.cp
        self.batch = _get(args, "micro_batch_size", 1)
        self.vocabulary = _padded_vocabulary(args, _get(args, "tensor_model_parallel_size", 1))
        self.is_moe = [self.experts > 0 and flag for flag in _moe_pattern(args)]

    @property
    def dtype(self) -> int:
        return 2 if _get(self.args, "bf16", False) or _get(self.args, "fp16", False) else FP32

    def layers(self, stage: int) -> list[bool]:
        """Of a stage: whether each of its layers is MoE."""
        total = self.args.num_layers
        first = _get(self.args, "decoder_first_pipeline_num_layers", None)
        last = _get(self.args, "decoder_last_pipeline_num_layers", None)
        uneven = (first is not None) + (last is not None)
        rest = (total - (first or 0) - (last or 0)) // max(1, self.pp - uneven)
        counts = [rest] * self.pp
        if first is not None:
            counts[0] = first
        if last is not None:
            counts[-1] = last
        begin = sum(counts[:stage])
        return self.is_moe[begin : begin + counts[stage]]


def _moe_pattern(args: Namespace) -> list[bool]:
    frequency = _get(args, "moe_layer_freq", 1)
    if isinstance(frequency, int):
        return [index % frequency == 0 for index in range(args.num_layers)]
    return [bool(one) for one in frequency]


def _padded_vocabulary(args: Namespace, tp: int) -> int:
    padded = getattr(args, "padded_vocab_size", None)
    if padded:
        return int(padded)
    size = _get(args, "vocab_size", 0)
    if _get(args, "tokenizer_type", "") == "NullTokenizer":
        size += 1
    multiple = _get(args, "make_vocab_size_divisible_by", 128) * tp
    return -(-size // multiple) * multiple


def _attention(shape: Shape) -> int:
    """Query, key, value and output projections; of latent attention its low-rank ones."""
    args = shape.args
    if _get(args, "multi_latent_attention", False):
        return _latent_attention(shape)
    query, key_value = shape.heads * shape.channels, 2 * shape.groups * shape.channels
    weights = shape.hidden * (2 * query + key_value) // shape.tp
    with_bias = shape.bias or _get(args, "add_qkv_bias", False)
    biases = (query + key_value) // shape.tp * with_bias + shape.hidden * shape.bias
    norms = 2 * shape.channels * (shape.norm // shape.hidden) if _get(args, "qk_layernorm", False) else 0
    return int(weights + biases + norms)


def _latent_attention(shape: Shape) -> int:
    args = shape.args
    nope, rope, value = args.qk_head_dim, args.qk_pos_emb_head_dim, args.v_head_dim
    kv_rank, q_rank = args.kv_lora_rank, _get(args, "q_lora_rank", None)
    up_kv = kv_rank * shape.heads * (nope + value) // shape.tp
    down_kv = shape.hidden * (kv_rank + rope)
    if q_rank is None:
        query = shape.hidden * shape.heads * (nope + rope) // shape.tp
    else:
        query = shape.hidden * q_rank + q_rank * shape.heads * (nope + rope) // shape.tp
    norms = (
        ((q_rank or 0) + kv_rank) * (shape.norm // shape.hidden) if _get(args, "qk_layernorm", False) else 0
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
    learned = _get(shape.args, "position_embedding_type", "learned_absolute") == "learned_absolute"
    positions = _get(shape.args, "max_position_embeddings", 0) * shape.hidden if learned else 0
    return int(words + positions)


def _parameters(shape: Shape, stage: int) -> Count:
    found = Count()
    for is_moe in shape.layers(stage):
        found += _layer(shape, is_moe)
    if stage == 0:
        found += Count(_embedding(shape))
    if stage == shape.pp - 1:
        found += Count(shape.norm)
        if _get(shape.args, "untie_embeddings_and_output_weights", False) or shape.pp > 1:
            found += Count(shape.vocabulary // shape.tp * shape.hidden)
    return found


def _whole_model(args: Namespace) -> int:
    return _parameters(Shape(args, whole=True), 0).total


def _stage(shape: Shape, stage: int) -> Stage:
    count = _parameters(shape, stage)
    args = shape.args
    grad = FP32 if _get(args, "accumulate_allreduce_grads_in_fp32", shape.dtype == FP32) else shape.dtype
    return Stage(
        stage=stage,
        parameters=count.total,
        weights=count.total * shape.dtype,
        gradients=count.total * grad,
        optimizer=_optimizer(shape, count),
        activations=_activations(shape, stage),
    )


def _optimizer(shape: Shape, count: Count) -> int:
    """Adam's two moments in fp32, and the fp32 parameters of a 16-bit model."""
    each = 2 * FP32 + (FP32 if shape.dtype != FP32 else 0)
    if not _get(shape.args, "use_distributed_optimizer", False):
        return count.total * each
    return each * (_share(count.dense, shape.dp) + _share(count.expert, shape.expert_dp))


def _activations(shape: Shape, stage: int) -> int:
    """Of all micro-batches in flight at the stage, and the logits of one."""
    layers = shape.layers(stage)
    flight = _in_flight(shape, stage)
    full = _get(shape.args, "recompute_granularity", None) == "full"
    tokens = shape.sequence * shape.batch
    kept = tokens * shape.hidden * shape.dtype // (shape.tp if _split(shape) else 1)
    per_layer = [_layer_activations(shape, is_moe) for is_moe in layers]
    if full:
        # Inputs of all layers, and one layer while it is recomputed.
        total = flight * kept * len(layers) + max(per_layer, default=0)
    else:
        total = flight * sum(per_layer)
    if stage == 0:
        total += flight * tokens * (8 + shape.hidden)  # token numbers, dropout mask of the embedding
    if stage == shape.pp - 1:
        # Logits, in the model's dtype and in fp32 as the loss takes them; its softmax is the gradient.
        total += tokens * shape.vocabulary // shape.tp * (shape.dtype + 2 * FP32) + 2 * kept
    return int(total)


def _split(shape: Shape) -> bool:
    return bool(_get(shape.args, "sequence_parallel", False)) and shape.tp > 1


def _in_flight(shape: Shape, stage: int) -> int:
    """Micro-batches whose activations a stage keeps in the 1F1B schedule."""
    batches = _get(shape.args, "global_batch_size", shape.batch * shape.dp) // (
        shape.batch * max(1, shape.dp // shape.cp)
    )
    return max(1, min(shape.pp - stage, batches))


def _layer_activations(shape: Shape, is_moe: bool) -> int:
    tokens, tp = shape.sequence * shape.batch, shape.tp
    outside = tokens * shape.hidden // (tp if _split(shape) else 1)
    query, key_value = (n * shape.channels * tokens // tp for n in (shape.heads, 2 * shape.groups))
    # Inputs of both norms and their outputs; q, k, v; the output of the attention.
    elements = 4 * outside + 2 * query + key_value
    ffn, copies = (shape.expert_ffn, shape.args.moe_router_topk) if is_moe else (shape.ffn, 1)
    elements += copies * tokens * ffn * (3 if shape.gated else 2) // tp
    if is_moe and shape.shared_ffn:
        elements += tokens * shape.shared_ffn * (3 if shape.gated else 2) // tp
    masks = 2 * outside if _get(shape.args, "hidden_dropout", 0.1) else 0
    return elements * shape.dtype + masks + _scores(shape)


def _scores(shape: Shape) -> int:
    """Attention that is not fused keeps its probabilities, and with dropout a mask and their product."""
    args = shape.args
    if _get(args, "use_flash_attn", False) or _get(args, "recompute_granularity", None) == "selective":
        return 8 * FP32 * 2 * shape.heads * shape.sequence * shape.batch // shape.tp
    scores = shape.batch * shape.heads // shape.tp * shape.sequence * shape.sequence * shape.cp
    with_dropout = _get(args, "attention_dropout", 0.1) > 0
    return scores * (shape.dtype * (2 if with_dropout else 1) + (1 if with_dropout else 0))


def _notes(args: Namespace) -> list[str]:
    notes = [
        "Not counted: buffers of process groups, workspaces, what the allocator keeps but does not use.",
    ]
    if _get(args, "multi_latent_attention", False) or _get(args, "num_experts", 0):
        notes.append(
            "Activations of latent attention and of experts are rough: routing decides how many tokens an expert has."
        )
    if _get(args, "mtp_num_layers", 0):
        notes.append("Layers of multi-token prediction are not counted.")
    return notes


def _share(parameters: int, ranks: int) -> int:
    """Of the rank with the largest part."""
    return -(-parameters // ranks)
