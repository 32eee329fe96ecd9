# SPDX-License-Identifier: Apache-2.0
"""Combinations of features and of Megatron's options, such that every pair of values that may be given together is in one.

Factors of features come from the features themselves: a new one is in the combinations without a line here. Whether a
combination may be given is asked of the rules that a command line is asked (mindspeed.adaptor.rules).
"""

from __future__ import annotations

import functools
import itertools
import random
from argparse import Namespace
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mindspeed.adaptor import Feature, Level, arguments, rules
from mindspeed.adaptor.discovery import all_features

Given = dict[str, Any]  # flags of a feature, by attribute
Setting = dict[str, Any]  # of each factor its value: of a feature Given, of Megatron a number or a word
Choice = tuple[str, int]  # a factor, and which of its values
Row = dict[str, int]

# More ways than on and off to give a feature.
WAYS: dict[str, tuple[Given, ...]] = {
    "flash-attention": (
        {"use_flash_attn": True, "use_fusion_attn_v2": True},
        {"use_flash_attn": True, "sparse_mode": 2},
        {"use_flash_attn": True, "sparse_mode": 3},
    ),
    "recompute-activation-function": (
        {"recompute_activation_function": True, "recompute_activation_function_num_layers": 1},
    ),
    "swap-attention": ({"swap_attention": True, "swap_modules": "self_attention,mlp"},),
    "virtual-optimizer": ({"virtual_optimizer": [1.0]},),
    "swap-optimizer": ({"swap_optimizer": True, "swap_optimizer_times": 3},),
}
# Of Megatron; the first value is the default. Experts over ranks, context parallelism: test_parallel_parity.py.
OPTIONS: dict[str, tuple[Any, ...]] = {
    "dtype": ("fp32", "bf16"),
    "optimizer": ("plain", "distributed"),
    "recompute": ("", "selective", "full"),
    "groups": (8, 2),  # of queries; there are 8 heads
    "gated": (False, True),
    "norm": ("LayerNorm", "RMSNorm"),
    "tied": (True, False),
    "position": ("learned_absolute", "rope"),
    "impl": ("local", "transformer_engine"),
    "experts": (0, 4),
    "grouped": (False, True),  # products of experts, if there are some
}
RANKS: dict[str, tuple[Any, ...]] = {"tp": (1, 2), "pp": (1, 2)}
LAYERS = 2
# Not in combinations, and why.
LEFT_OUT = {
    "adaptive-recompute": "it chooses after some steps, which test_adaptive_recompute.py has",
    "ascend-coc": "ranks that share products, which test_ascend_coc.py has",
    "ascend-mc2": "ranks that share the sequence, which test_ascend_mc2.py has",
    "balanced-moe-experts": "experts over ranks, which test_balanced_moe_experts.py has",
    "compress-activation": "tensors of 32768 elements and more, which test_compress_activation.py has",
    "compress-dense": "tensors of 32768 elements and more, which test_compress_activation.py has",
    "compress-optimizer": "tensors of 32768 elements and more, which test_compress_optimizer.py has",
    "async-log-allreduce": "another function for the loss, which test_async_log_allreduce.py has",
    "context-parallel-algo": "ranks that share the sequence, which test_context_parallel_algo.py has",
    "context-parallel-kv-cache": "ranks that share the sequence, which test_context_parallel_kv_cache.py has",
    "aiqos": "it is refused",
    "fp8-reuse-quantized-weight": "layers of Transformer Engine in 8 bits, which test_fp8_reuse_quantized_weight.py has",
    "alibi": "positions that level 0 does not have; test_alibi.py compares with the formula",
    "disable-gloo-group": "groups of ranks, which test_disable_gloo_group.py makes",
    "dualpipev-dw-detach": "two chunks of a stage, which test_dualpipev_dw_detach.py has",
    "fsdp2-config": "PyTorch's FSDP, which test_fsdp2_config.py has",
    "hccl-group-buffer": "groups of ranks, which test_hccl_group_buffer.py makes",
    "hccl-group-buffer-adaptive": "groups of ranks, which test_hccl_group_buffer_adaptive.py makes",
    "hccl-op-mode": "groups of ranks, which test_hccl_op_mode.py makes",
    "latent-position-gradients": "latent attention over ranks, which test_latent_position_gradients.py has",
    "layerzero": "PyTorch's FSDP in groups of ranks, which test_layerzero.py has",
    "moe-allgather-overlap-comm": "experts over ranks, which test_moe_allgather_overlap_comm.py has",
    "moe-alltoall-overlap-comm": "experts over ranks, which test_moe_alltoall_overlap_comm.py has",
    "moe-fb-overlap": "experts over ranks and several micro-batches, which test_moe_fb_overlap.py has",
    "moe-tp-extend-ep": "other sizes of Megatron's groups; test_moe_tp_extend_ep.py compares with those that are given",
    "moe-zero-memory": "layers of grouped experts, beside the features that compute meanwhile: test_moe_zero_memory.py",
    "multiparameter-pipeline": "stages with several outputs, which test_multiparameter_pipeline.py has",
    "noop-layers": "a model with fewer layers, which level 0 has no flag for",
    "optimize-send-recv-comm": "plain pipelines, which test_optimize_send_recv_comm.py has",
    "param-and-grad-buffer-pad": "shares of ranks, which test_param_and_grad_buffer_pad.py has",
    "pipeline-num-transformer-layers": "other layouts of stages, which test_pipeline_num_transformer_layers.py has",
    "recompute-in-advance": "interleaved pipelines, which test_recompute_in_advance.py has",
    "recompute-in-bubble": "interleaved pipelines, which test_recompute_in_bubble.py has",
    "profile": "it looks on: test_profile.py",
    "qad": "another loss, and a checkpoint of a teacher, which test_qad.py has",
    "qat-scheme": "other results, as coarse as the format: test_qat_scheme.py compares products and losses",
    "reset-bucket-group-order": "gathers that overlap, which test_reset_bucket_group_order.py has",
    "schedules-method": "two chunks of a stage, which test_schedules_method.py has",
    "smart-swap": "it plans after two steps, which test_smart_swap.py has",
    "swap-layer-input": "long inputs of recomputed layers, which test_swap_layer_input.py has",
    "ttp-enabled": "ranks that are started again, which test_ttp_enabled.py has",
    "tp-2d": "four ranks that share layers, which test_tp_2d.py has",
    "unaligned-linear": "ranks that share heads, which test_unaligned_linear.py has",
    "use-pipe-experts": "experts of a fixed capacity over ranks, which test_use_pipe_experts.py has",
    "variable-seq-lengths": "samples of several lengths, which test_variable_seq_lengths.py has",
}
# What is computed is something else: compared with the feature alone, not with level 0.
CHANGE_RESULTS = ("fix-router",)
# The same arithmetic, as their pages say: the same bits.
SAME_BITS = (
    "moe-permutation-async-comm", "npu-deterministic", "optimizer-selection", "recompute-activation-function",
    "recompute-layers-per-stage", "recompute-norm", "reuse-fp32-param", "swap-attention", "swap-optimizer", "virtual-optimizer", "vocab-parallel-embedding",
)  # fmt: skip
_TRIES, _CANDIDATES = 150, 5


@functools.cache
def features() -> list[Feature]:
    """All that can be switched, but those of level 0 and those that are left out."""
    return [
        feature
        for feature in all_features()
        if feature.level > 0 and feature.flags and feature.name not in LEFT_OUT
    ]


@functools.cache
def nothing() -> Given:
    """All flags as if nobody had given any."""
    return {flag.dest: flag.unset for flag in arguments.flags_of(all_features()).values()}


@functools.cache
def ways(feature: Feature) -> tuple[Given, ...]:
    """Off, on, and what else there is."""
    flag = feature.flags[0]
    if flag.is_switch:
        return ({flag.dest: False}, {flag.dest: True}, *WAYS.get(feature.name, ()))
    values = dict.fromkeys((flag.unset, *(flag.choices or ())))
    return (*({flag.dest: value} for value in values), *WAYS.get(feature.name, ()))


def factors(world: int) -> dict[str, tuple[Any, ...]]:
    found: dict[str, tuple[Any, ...]] = {feature.name: ways(feature) for feature in features()}
    return found | OPTIONS | (RANKS if world > 1 else {})


def given(setting: Setting, keep: Collection[str] | None = None) -> Given:
    """All flags of features, and of Megatron what the features' rules look at, as repatch() takes them. `keep`: the
    features that are not switched off."""
    flags: Given = nothing() | {
        "optimization_level": 2,
        "bf16": setting["dtype"] == "bf16",
        "use_distributed_optimizer": setting["optimizer"] == "distributed",
        "recompute_granularity": setting["recompute"] or None,
        "recompute_method": "block" if setting["recompute"] == "full" else None,
        "recompute_num_layers": 1 if setting["recompute"] == "full" else None,
        "position_embedding_type": setting["position"],
        "num_experts": setting["experts"] or None,
        "moe_grouped_gemm": bool(setting["grouped"] and setting["experts"]),
        "num_layers": LAYERS,
    }
    for feature in features():
        is_kept = keep is None or feature.name in keep
        flags |= setting[feature.name] if is_kept else ways(feature)[0]
    return flags


def features_on(setting: Setting) -> list[str]:
    choices = rules.choose(features(), Namespace(**given(setting)), Level.ACCELERATION)
    return [choice.feature.name for choice in choices if choice.on]


def problems(setting: Setting) -> list[str]:
    return rules.problems(features(), Namespace(**given(setting)), Level.ACCELERATION)


def setting_of(table: Mapping[str, Sequence[Any]], row: Row) -> Setting:
    return {name: table[name][number] for name, number in row.items()}


def pairs_of(row: Row) -> set[tuple[Choice, Choice]]:
    return set(itertools.combinations(row.items(), 2))


def all_pairs(table: Mapping[str, Sequence[Any]]) -> list[tuple[Choice, Choice]]:
    choices = [[(name, number) for number in range(len(values))] for name, values in table.items()]
    return [
        pair for one, other in itertools.combinations(choices, 2) for pair in itertools.product(one, other)
    ]


def _draw(table: Mapping[str, Sequence[Any]], dice: random.Random, fixed: Row) -> Row | None:
    """A valid row with what is fixed: while rules object, a factor is drawn again, often one that they name."""
    row = {name: dice.randrange(len(values)) for name, values in table.items()} | fixed
    free = [name for name in table if name not in fixed]
    for _ in range(_TRIES):
        wrong = " ".join(problems(setting_of(table, row)))
        if not wrong:
            return row
        named = [name for name in free if f"feature {name} (" in wrong]
        name = dice.choice(named if named and dice.random() < 0.5 else free)
        row[name] = dice.randrange(len(table[name]))
    return None


def combinations(world: int, count: int, seed: int = 1) -> tuple[list[Setting], list[tuple[Choice, Choice]]]:
    """`count` settings or more with all pairs that can be, and the pairs for which none was found.

    Greedy: of a few valid rows with a pair that is missing, the one with most of the missing ones. This takes more rows
    than a covering array needs, whose generators want the rules as forbidden pairs.
    """
    table, dice = factors(world), random.Random(seed)
    missing = dict.fromkeys(all_pairs(table))  # in an order, unlike a set
    rows, impossible = [], []
    while missing or len(rows) < count:
        wanted = next(iter(missing), None)
        drawn = [_draw(table, dice, dict(wanted or ())) for _ in range(_CANDIDATES)]
        found = [row for row in drawn if row is not None]
        if wanted is not None and not found:
            impossible.append(wanted)
            del missing[wanted]
        elif found:
            rows.append(max(found, key=lambda row: len(pairs_of(row) & missing.keys())))
            for pair in pairs_of(rows[-1]):
                missing.pop(pair, None)
    return [setting_of(table, row) for row in rows], impossible
