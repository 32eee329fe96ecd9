# SPDX-License-Identifier: Apache-2.0
"""The sizes of a GPT that formulas use, from validated arguments."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection
from typing import Any

FP32 = 4


def value_of(args: Namespace, name: str, default: Any) -> Any:
    value = getattr(args, name, None)
    return default if value is None else value


class Shape:
    """The sizes that formulas use, with Megatron's defaults filled in; `features` are the names of those that are on."""

    def __init__(self, args: Namespace, features: Collection[str] = (), *, whole: bool = False) -> None:
        self.args = args
        self.features = frozenset(features)
        self.tp = 1 if whole else value_of(args, "tensor_model_parallel_size", 1)
        self.pp = 1 if whole else value_of(args, "pipeline_model_parallel_size", 1)
        self.vp = 1 if whole else value_of(args, "virtual_pipeline_model_parallel_size", 1)
        self.cp = value_of(args, "context_parallel_size", 1)
        self.ep = 1 if whole else value_of(args, "expert_model_parallel_size", 1)
        self.etp = 1 if whole else value_of(args, "expert_tensor_parallel_size", self.tp)
        self.ranks = value_of(args, "world_size", 1)
        self.dp = max(1, self.ranks // (self.tp * self.pp))  # with the ranks of context parallelism
        self.expert_dp = max(1, self.ranks // (self.etp * self.pp * self.ep))
        self.hidden = args.hidden_size
        self.heads = args.num_attention_heads
        self.channels = value_of(args, "kv_channels", self.hidden // self.heads)
        grouped = value_of(args, "group_query_attention", False)
        self.groups = value_of(args, "num_query_groups", self.heads) if grouped else self.heads
        self.gated = bool(value_of(args, "swiglu", False))
        self.ffn = value_of(args, "ffn_hidden_size", 4 * self.hidden)
        self.experts = value_of(args, "num_experts", 0)
        self.expert_ffn = value_of(args, "moe_ffn_hidden_size", self.ffn)
        self.shared_ffn = value_of(args, "moe_shared_expert_intermediate_size", 0)
        self.bias = bool(value_of(args, "add_bias_linear", True))
        self.norm = self.hidden * (1 if value_of(args, "normalization", "LayerNorm") == "RMSNorm" else 2)
        self.sequence = args.seq_length // self.cp
        self.batch = value_of(args, "micro_batch_size", 1)
        self.vocabulary = _padded_vocabulary(args, value_of(args, "tensor_model_parallel_size", 1))
        self.is_moe = [self.experts > 0 and flag for flag in _moe_pattern(args)]

    @property
    def dtype(self) -> int:
        return 2 if value_of(self.args, "bf16", False) or value_of(self.args, "fp16", False) else FP32

    @property
    def is_split(self) -> bool:
        """Whether the stream between layers is cut along the sequence."""
        return bool(value_of(self.args, "sequence_parallel", False)) and self.tp > 1

    @property
    def tokens(self) -> int:
        return int(self.sequence * self.batch)

    @property
    def stream(self) -> int:
        """Elements of the tensor that goes from layer to layer."""
        return int(self.tokens * self.hidden // (self.tp if self.is_split else 1))

    @property
    def queries(self) -> int:
        """Elements of all queries of this rank; `keys` of its keys, and as many of its values."""
        return int(self.tokens * self.heads * self.channels // self.tp)

    @property
    def keys(self) -> int:
        return int(self.tokens * self.groups * self.channels // self.tp)

    @property
    def scores(self) -> int:
        """Elements of the attention's scores, where they are written out."""
        return int(self.batch * self.heads // self.tp * self.sequence * self.sequence * self.cp)

    @property
    def is_local(self) -> bool:
        """Megatron's own layers, not those of Transformer Engine (its stand-in)."""
        return bool(value_of(self.args, "transformer_impl", "transformer_engine") == "local")

    @property
    def is_flash(self) -> bool:
        """Transformer Engine's attention is one operator at every level."""
        return not self.is_local or "flash-attention" in self.features

    @property
    def has_mask(self) -> bool:
        """Whether batches bring a mask, which Transformer Engine's attention does not look at."""
        return bool(value_of(self.args, "create_attention_mask_in_dataloader", True))

    @property
    def has_rope(self) -> bool:
        return bool(value_of(self.args, "position_embedding_type", "learned_absolute") == "rope")

    @property
    def main_grad(self) -> int:
        """Bytes of an element of the gradients' buffer."""
        default = self.dtype == FP32
        return FP32 if value_of(self.args, "accumulate_allreduce_grads_in_fp32", default) else self.dtype

    def dropout(self, name: str) -> float:
        return float(value_of(self.args, name, 0.1))

    def passes(self, stage: int) -> list[int]:
        """Forward passes whose activations a stage keeps at most, each by its chunk; interleaved ones go in rounds of pp."""
        each = self.batch * max(1, self.dp // self.cp)
        batches = int(value_of(self.args, "global_batch_size", self.batch * self.dp) // each)
        if self.vp == 1:
            return [0] * max(1, min(self.pp - stage, batches))
        total = batches * self.vp
        warm = total if batches == self.pp else 2 * (self.pp - stage - 1) + (self.vp - 1) * self.pp
        return [number % (self.pp * self.vp) // self.pp for number in range(min(total, warm + 1))]

    def chunks(self, stage: int) -> list[list[bool]]:
        """Of each chunk of a stage: whether each of its layers is MoE; without those that compute nothing."""
        counts = self._counts()
        left_out = value_of(self.args, "noop_layers", ())
        found = []
        for chunk in range(self.vp):
            begin = sum(row[place] for row in counts for place in range(chunk))
            begin += sum(row[chunk] for row in counts[:stage])
            indices = range(begin, begin + counts[stage][chunk])
            found.append([self.is_moe[index] for index in indices if index not in left_out])
        return found

    def layers(self, stage: int) -> list[bool]:
        return [is_moe for chunk in self.chunks(stage) for is_moe in chunk]

    def _counts(self) -> list[list[int]]:
        """Layers of each stage's chunks."""
        told = value_of(self.args, "pipeline_num_transformer_layers", None)
        if told and len(told) == self.pp and "pipeline-num-transformer-layers" in self.features:
            return [list(row) for row in told]
        total = self.args.num_layers
        first = value_of(self.args, "decoder_first_pipeline_num_layers", None)
        last = value_of(self.args, "decoder_last_pipeline_num_layers", None)
        uneven = (first is not None) + (last is not None)
        rest = (total - (first or 0) - (last or 0)) // max(1, self.pp - uneven)
        counts = [rest] * self.pp
        if first is not None:
            counts[0] = first
        if last is not None:
            counts[-1] = last
        return [[count // self.vp] * self.vp for count in counts]


def _moe_pattern(args: Namespace) -> list[bool]:
    frequency = value_of(args, "moe_layer_freq", 1)
    if isinstance(frequency, int):
        return [index % frequency == 0 for index in range(args.num_layers)]
    return [bool(one) for one in frequency]


def _padded_vocabulary(args: Namespace, tp: int) -> int:
    padded = getattr(args, "padded_vocab_size", None)
    if padded:
        return int(padded)
    size = value_of(args, "vocab_size", 0)
    if value_of(args, "tokenizer_type", "") == "NullTokenizer":
        size += 1
    multiple = value_of(args, "make_vocab_size_divisible_by", 128) * tp
    return -(-size // multiple) * multiple
