# SPDX-License-Identifier: Apache-2.0
"""Command lines that cannot work, over the features that there are, and what users are told.

Against a checkout of Megatron-LM: `PYTHONPATH=CHECKOUT python tests/support/wrong_lines.py` parses and validates each line
as `pretrain_gpt.py` does, and prints the lines that are told something else.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator, Sequence

MODEL = (
    "--num-layers 2 --hidden-size 64 --num-attention-heads 4 --seq-length 64 --max-position-embeddings 64 "
    "--micro-batch-size 1 --global-batch-size 1"
)
_SWAP, _REUSE, _EMA = "--swap-optimizer", "--reuse-fp32-param", "--optimizer-selection fused_ema_adamw"
_RECOMPUTE = "--recompute-activation-function"
_DEEPSPEED = "--moe-model-type deepspeed_moe --num-experts 4 --moe-router-topk 2 --disable-bias-linear"
_GROUPED = (
    "--num-experts 4 --moe-grouped-gemm --moe-token-dispatcher-type alltoall --expert-model-parallel-size 2"
)
_ALL = "--recompute-granularity full --recompute-method uniform --recompute-num-layers 1"


def _level(flag: str, feature: str, wanted: int, given: int) -> str:
    return (
        f"{flag} belongs to level {wanted} (feature {feature}), and --optimization-level is {given}: raise the level "
        "or leave the flag out"
    )


def _is_wrong(feature: str, what: str, flag: str = "") -> str:
    return f"feature {feature} (--{flag or feature}): {what}"


def _exclude(one: str, other: str, why: str, flags: Sequence[str] = ()) -> str:
    a, b = flags or (one, other)
    return f"feature {one} (--{a}) and feature {other} (--{b}) exclude each other: {why}; leave out --{a} or leave out --{b}"


WRONG = {
    # the level
    "--optimization-level 3": "argument --optimization-level: invalid choice: 3 (choose from 0, 1, 2) (0: what Megatron needs",
    "--optimization-level high": "argument --optimization-level: invalid int value: 'high' (0: what Megatron needs",
    "--optimization-level": "argument --optimization-level: expected one argument (0: what Megatron needs",
    "--optimization-level 0 --use-fused-swiglu": _level("--use-fused-swiglu", "fused-swiglu", 1, 0),
    "--optimization-level 0 --pre-tockens 5": _level("--pre-tockens", "flash-attention", 1, 0),
    "--optimization-level 0 --npu-deterministic": _level("--npu-deterministic", "npu-deterministic", 2, 0),
    "--optimization-level 1 --swap-attention": _level("--swap-attention", "swap-attention", 2, 1),
    "--optimization-level 1 --swap-optimizer-times 4": _level("--swap-optimizer-times", "swap-optimizer", 2, 1),
    f"--optimization-level 1 {_EMA}": _level("--optimizer-selection", "optimizer-selection", 2, 1),
    # two features
    f"{_REUSE} --bf16 {_SWAP} --use-distributed-optimizer": _exclude(
        "reuse-fp32-param", "swap-optimizer", "both decide where the fp32 main parameters are"
    ),
    f"{_REUSE} --bf16 {_EMA}": _exclude(
        "reuse-fp32-param", "optimizer-selection", "it averages the main parameters, which are in halves here"
    ),
    f"{_SWAP} {_EMA}": _exclude(
        "swap-optimizer", "optimizer-selection",
        "averages begin as the main parameters, which are away between steps",
    ),
    "--swap-attention --no-flash-attn": (
        "feature swap-attention (--swap-attention) needs feature flash-attention (--use-flash-attn), which is off "
        "(--no-flash-attn): without it attention saves its scores, which are more than all else; add --use-flash-attn, or "
        "leave out --swap-attention"
    ),
    # what must be given as well
    _SWAP: (
        "feature swap-optimizer (--swap-optimizer) needs --use-distributed-optimizer: it swaps the shards of that optimizer; "
        "add --use-distributed-optimizer, or leave out --swap-optimizer"
    ),
    f"{_REUSE} --fp16": (
        "feature reuse-fp32-param (--reuse-fp32-param) needs --bf16: the high half of an fp32 number is a bf16 number; "
        "add --bf16, or leave out --reuse-fp32-param"
    ),
    "--fix-router": (
        "feature fix-router (--fix-router) needs --num-experts: a model without experts has no router; add --num-experts, "
        "or leave out --fix-router"
    ),
    "--use-ascend-mc2 --tensor-model-parallel-size 2": (
        "feature ascend-mc2 (--use-ascend-mc2) needs --sequence-parallel: without it there is nothing to gather or to "
        "scatter; add --sequence-parallel, or leave out --use-ascend-mc2"
    ),
    "--use-ascend-mc2 --sequence-parallel --tensor-model-parallel-size 1": _is_wrong(
        "ascend-mc2",
        "--tensor-model-parallel-size is 1; the fused operators are for 2, 4, 8, 16, 32 ranks: give one of these, or leave "
        "the flag out",
        "use-ascend-mc2",
    ),
    "--use-ascend-coc --coc-parallel-num 2": (
        "feature ascend-coc (--use-ascend-coc) needs --tensor-model-parallel-size 2: one rank alone sends nothing; add "
        "--tensor-model-parallel-size 2, or leave out --use-ascend-coc"
    ),
    "--use-ascend-coc --tensor-model-parallel-size 2": _is_wrong(
        "ascend-coc",
        "--coc-parallel-num 1 cuts nothing; give 2 or more, or --coc-mode 1 (products are whole) or 0 (Megatron's own), or "
        "leave out --use-ascend-coc",
        "use-ascend-coc",
    ),
    "--use-ascend-coc --coc-parallel-num 2 --use-ascend-mc2 --sequence-parallel --tensor-model-parallel-size 2": _exclude(
        "ascend-coc", "ascend-mc2", "both compute the products of linear layers", ("use-ascend-coc", "use-ascend-mc2")
    ),
    "--use-fused-rotary-pos-emb --position-embedding-type none": _is_wrong(
        "fused-rope", "--position-embedding-type is none: give rope, or leave out --use-fused-rotary-pos-emb",
        "use-fused-rotary-pos-emb",
    ),
    # what Megatron does in another way
    f"{_REUSE} --bf16 --use-distributed-optimizer --use-precision-aware-optimizer": _is_wrong(
        "reuse-fp32-param", "--use-precision-aware-optimizer keeps the main parameters itself; leave one of the two out"
    ),
    f"{_SWAP} --use-distributed-optimizer --optimizer-cpu-offload": _is_wrong(
        "swap-optimizer", "--optimizer-cpu-offload keeps the main parameters itself; leave one of the two out"
    ),
    f"{_EMA} --use-distributed-optimizer --optimizer-cpu-offload": _is_wrong(
        "optimizer-selection",
        "fused_ema_adamw does not work with --optimizer-cpu-offload, which brings an Adam of its own; choose another "
        "selection or leave out --optimizer-cpu-offload",
    ),
    "--virtual-optimizer 1 2 --pipeline-model-parallel-size 1": _is_wrong(
        "virtual-optimizer",
        "2 numbers are given and --pipeline-model-parallel-size is 1; give one, or one for each stage",
    ),
    "--virtual-optimizer some": "argument --virtual-optimizer: invalid gigabytes value: 'some'",
    f"--virtual-optimizer all {_EMA}": _exclude("virtual-optimizer", "optimizer-selection", "both bring an Adam"),
    "--aiqos --aiqos-mode manual --aiqos-schedule {tp:high}": _is_wrong(
        "aiqos",
        "it sets priorities of messages on the switch between NPUs (UB), and collectives here pass none; leave out --aiqos",
    ),
    f"{_EMA} --optimizer sgd": _is_wrong(
        "optimizer-selection",
        "fused_ema_adamw is an Adam, and --optimizer is sgd; give --optimizer adam or choose another selection",
    ),
    f"--swap-attention {_ALL}": _is_wrong(
        "swap-attention",
        "--recompute-method uniform recomputes every layer as a whole, which leaves nothing to swap; give "
        "--recompute-method block, or leave one of the two out",
    ),
    f"{_RECOMPUTE} {_ALL}": _is_wrong(
        "recompute-activation-function",
        "--recompute-granularity full without --recompute-method block recomputes every layer as a whole, its activation "
        "function too; give --recompute-method block, or leave one of the two out",
    ),
    "--use-flash-attn --deterministic-mode": _is_wrong(
        "flash-attention",
        "--deterministic-mode is Megatron's, which refuses it; leave one of the two out, or give --npu-deterministic",
        "use-flash-attn",
    ),
    "--fix-router --num-experts 4 --moe-router-load-balancing-type sinkhorn": _is_wrong(
        "fix-router",
        "--moe-router-load-balancing-type sinkhorn chooses experts in another way; choose another type or leave out --fix-router",
    ),
    "--fix-router --num-experts 4 --moe-expert-capacity-factor 1.0": _is_wrong(
        "fix-router",
        "--moe-expert-capacity-factor drops tokens of full experts, and none is full here; leave one of the two out",
    ),
    "--position-embedding-type alibi --no-flash-attn": (
        "feature alibi (--position-embedding-type) needs feature flash-attention (--use-flash-attn), which is off "
        "(--no-flash-attn): its operator adds the bias to the scores; add --use-flash-attn, or leave out "
        "--position-embedding-type"
    ),
    "--optimization-level 1 --position-embedding-type alibi": _level(
        "--position-embedding-type alibi", "alibi", 2, 1
    ),
    "--variable-seq-lengths --num-experts 4": _is_wrong(
        "variable-seq-lengths",
        "--moe-token-dispatcher-type allgather wants sequences of one length; give alltoall, or leave out --variable-seq-lengths",
    ),
    "--tp-2d --tp-x 2 --tensor-model-parallel-size 2 --transformer-impl local --use-ascend-coc --coc-parallel-num 2": _exclude(
        "tp-2d",
        "ascend-coc",
        "both compute the products of linear layers",
        ("tp-2d", "use-ascend-coc"),
    ),
    "--tp-2d --tp-x 2 --tp-y 2 --tensor-model-parallel-size 2 --transformer-impl local": _is_wrong(
        "tp-2d", "--tp-x 2 by --tp-y 2 is no grid of --tensor-model-parallel-size 2 ranks; give --tp-y 1"
    ),
    "--unaligned-linear --transformer-impl local --use-ascend-mc2 --tensor-model-parallel-size 2 --sequence-parallel": _exclude(
        "unaligned-linear",
        "ascend-mc2",
        "its operators want parts of one size",
        ("unaligned-linear", "use-ascend-mc2"),
    ),
    "--unaligned-linear --transformer-impl local --num-experts 4": _is_wrong(
        "unaligned-linear", "--num-experts 4: experts are shared evenly; leave out one of them"
    ),
    "--unaligned-linear": _is_wrong(
        "unaligned-linear", "it is for Megatron's own layers; give --transformer-impl local, or leave it out"
    ),
    "--context-parallel-kv-cache-policy full --context-parallel-algo ulysses_cp_algo": _is_wrong(
        "context-parallel-kv-cache",
        "--context-parallel-size is 1, and no keys travel: give 2 or more, or leave it out",
        "context-parallel-kv-cache-policy",
    ),
    "--context-parallel-size 2 --context-parallel-algo adaptive_cp_algo --transformer-impl local --attention-mask-on-cpu": _is_wrong(
        "context-parallel-algo",
        "--attention-mask-on-cpu: masks are where the model hands them over; leave it out",
    ),
    "--context-parallel-size 4 --context-parallel-algo megatron_cp_algo --transformer-impl local --cp-window-size 3": _is_wrong(
        "context-parallel-algo",
        "--cp-window-size is 3, and 4 ranks are a ring: give a divisor of 4 other than itself, or leave it out",
    ),
    "--moe-permutation-async-comm": (
        "feature moe-permutation-async-comm (--moe-permutation-async-comm) needs --num-experts: a model without experts "
        "dispatches no tokens; add --num-experts, or leave out --moe-permutation-async-comm"
    ),
    "--moe-permutation-async-comm --num-experts 4 --moe-token-dispatcher-type flex": _is_wrong(
        "moe-permutation-async-comm",
        "--moe-token-dispatcher-type flex has collectives of its own; give one of allgather, alltoall, alltoall_seq, or "
        "leave out --moe-permutation-async-comm",
    ),
    "--fsdp2-config-path missing.yaml": (
        "feature fsdp2-config (--fsdp2-config-path) needs --use-torch-fsdp2: it is that which the file sets up; add "
        "--use-torch-fsdp2, or leave out --fsdp2-config-path"
    ),
    "--layerzero": (
        "feature layerzero (--layerzero) needs --untie-embeddings-and-output-weights: a parameter is part of one unit, and a tied "
        "embedding would be of two; add --untie-embeddings-and-output-weights, or leave out --layerzero"
    ),
    "--layerzero --swap-optimizer": _exclude(
        "layerzero", "swap-optimizer", "parameters that are shards have no main parameters of its kind"
    ),
    "--layerzero --reuse-fp32-param": _exclude(
        "layerzero", "reuse-fp32-param", "parameters that are shards have no main parameters of its kind"
    ),
    "--hccl-group-buffer tp:0": _is_wrong("hccl-group-buffer", "--hccl-group-buffer tp:0: wanted 1 to 65536 MB"),
    "--hccl-group-buffer tp:8 --hccl-group-buffer-adaptive": _exclude(
        "hccl-group-buffer", "hccl-group-buffer-adaptive", "both say how large the buffers are"
    ),
    "--hccl-group-buffer-adaptive --hccl-ep-group-buffer-adaptive-factor 0": _is_wrong(
        "hccl-group-buffer-adaptive",
        "--hccl-ep-group-buffer-adaptive-factor is 0, wanted more than 0: how many times its even share of tokens a rank of "
        "experts may get",
    ),
    "--moe-alltoall-overlap-comm --num-experts 4 --moe-grouped-gemm --expert-model-parallel-size 2": _is_wrong(
        "moe-alltoall-overlap-comm",
        "--moe-token-dispatcher-type is allgather; give alltoall or alltoall_seq, or leave out --moe-alltoall-overlap-comm",
    ),
    "--moe-alltoall-overlap-comm --num-experts 4 --moe-grouped-gemm --moe-token-dispatcher-type alltoall": _is_wrong(
        "moe-alltoall-overlap-comm",
        "--expert-model-parallel-size is 1, so all tokens stay where they are; give 2 or more, or leave out "
        "--moe-alltoall-overlap-comm",
    ),
    "--moe-allgather-overlap-comm --num-experts 4": (
        "feature moe-allgather-overlap-comm (--moe-allgather-overlap-comm) needs --moe-grouped-gemm: a weight for all experts "
        "of a rank is what has its gradient later; add --moe-grouped-gemm, or leave out --moe-allgather-overlap-comm"
    ),
    "--moe-allgather-overlap-comm --num-experts 4 --moe-grouped-gemm --moe-token-dispatcher-type alltoall": _is_wrong(
        "moe-allgather-overlap-comm",
        "--moe-token-dispatcher-type is alltoall; give allgather, or leave out --moe-allgather-overlap-comm",
    ),
    "--moe-tp-extend-ep --num-experts 6 --moe-grouped-gemm --moe-token-dispatcher-type alltoall --tensor-model-parallel-size 4": (
        _is_wrong(
            "moe-tp-extend-ep",
            "6 experts cannot be shared by --tensor-model-parallel-size 4 x --expert-model-parallel-size 1 ranks; give a "
            "multiple of 4",
        )
    ),
    "--moe-zero-memory level0": (
        "feature moe-zero-memory (--moe-zero-memory) needs --num-experts: it is about experts; add --num-experts, or leave out "
        "--moe-zero-memory"
    ),
    "--moe-zero-memory level0 --num-experts 4 --moe-grouped-gemm --moe-zero-memory-num-layers 1": _is_wrong(
        "moe-zero-memory",
        "--moe-zero-memory-num-layers is for level1, level0 is for all layers; leave it out, or give level1",
    ),
    f"--moe-zero-memory level0 --num-experts 4 --moe-grouped-gemm {_RECOMPUTE}": _exclude(
        "moe-zero-memory", "recompute-activation-function", "both compute activation functions of experts again"
    ),
    "--n-shared-experts 1": (
        "feature n-shared-experts (--n-shared-experts) needs --num-experts: experts are shared beside routed ones; add "
        "--num-experts, or leave out --n-shared-experts"
    ),
    "--n-shared-experts 2 --num-experts 4 --moe-ffn-hidden-size 64 --moe-shared-expert-intermediate-size 64": _is_wrong(
        "n-shared-experts",
        "--moe-shared-expert-intermediate-size is 64, and 2 experts are 128 wide together; leave out one of the two",
    ),
    f"--recompute-norm {_ALL}": _is_wrong(
        "recompute-norm",
        "--recompute-granularity full without --recompute-method block recomputes every layer as a whole, its norms too; "
        "give --recompute-method block, or leave one of the two out",
    ),
    "--recompute-norm --recompute-norm-num-layers 3": _is_wrong(
        "recompute-norm", "--recompute-norm-num-layers is 3, wanted 0 to --num-layers (2)"
    ),
    f"--adaptive-recompute-device-size 900 {_ALL} --train-iters 20": _is_wrong(
        "adaptive-recompute",
        "it chooses what is recomputed; leave out --recompute-granularity full",
        "adaptive-recompute-device-size",
    ),
    "--adaptive-recompute-device-size 900 --train-iters 20 --adaptive-recompute-profiling-step 3": _is_wrong(
        "adaptive-recompute",
        "--adaptive-recompute-profiling-step is 3, wanted 4 or more",
        "adaptive-recompute-device-size",
    ),
    "--adaptive-recompute-device-size 900 --train-iters 20 --swap-attention": _exclude(
        "adaptive-recompute", "swap-attention", "both decide what a layer keeps",
        ("adaptive-recompute-device-size", "swap-attention"),
    ),
    "--smart-swap --smart-swap-device-size 0": _is_wrong(
        "smart-swap",
        "--smart-swap-device-size is 0, wanted the MiB of device memory that training may take, 1 or more",
    ),
    "--smart-swap --swap-attention": _exclude("smart-swap", "swap-attention", "both decide what a layer keeps"),
    "--smart-swap --compress-activation 0": _exclude(
        "smart-swap", "compress-activation", "both decide what a layer keeps"
    ),
    "--compress-activation 1-3": _is_wrong(
        "compress-activation",
        "--compress-activation 1-3: wanted 0 for all layers, or numbers of layers as in 1-3,5, of the layers 1 to 2",
    ),
    "--compress-activation 0 --compress-dense level0": _exclude(
        "compress-activation", "compress-dense", "it has the dense layers' products too"
    ),
    f"--compress-dense level0 {_RECOMPUTE}": _exclude(
        "compress-dense", "recompute-activation-function", "both decide what a layer keeps"
    ),
    "--recompute-norm --swap-attention": _exclude(
        "recompute-norm", "swap-attention", "both decide where the inputs of attention and MLP are kept"
    ),
    "--recompute-in-advance --pipeline-model-parallel-size 2 --num-layers-per-virtual-pipeline-stage 1": _is_wrong(
        "recompute-in-advance",
        "nothing is recomputed; give --recompute-granularity full --recompute-method block --recompute-num-layers N",
    ),
    f"--recompute-in-advance --pipeline-model-parallel-size 2 {_ALL} --num-layers-per-virtual-pipeline-stage 1": _is_wrong(
        "recompute-in-advance",
        "--recompute-method uniform recomputes several layers at a time; give --recompute-method block, or leave out "
        "--recompute-in-advance",
    ),
    "--recompute-in-bubble --pipeline-model-parallel-size 2": _is_wrong(
        "recompute-in-bubble",
        "--recompute-in-bubble is for interleaved pipelines: give --num-layers-per-virtual-pipeline-stage, or leave it out",
    ),
    "--pipeline-num-transformer-layers [[1],[1],[1]] --pipeline-model-parallel-size 2": (
        "--pipeline-num-transformer-layers has 3 rows, and --pipeline-model-parallel-size is 2: give a row for each stage"
    ),
    "--pipeline-num-transformer-layers [[1],[2]] --pipeline-model-parallel-size 2": _is_wrong(
        "pipeline-num-transformer-layers",
        "--pipeline-num-transformer-layers has 3 layers, and --num-layers is 2: give as many",
    ),
    "--moe-model-type deepspeed_moe": (
        "feature moe-model-type (--moe-model-type) needs --num-experts: it is a kind of experts; add --num-experts, or leave out "
        "--moe-model-type"
    ),
    f"{_DEEPSPEED} --moe-grouped-gemm": _is_wrong(
        "moe-model-type",
        "--moe-grouped-gemm is for Megatron's own experts; leave it out, or leave out --moe-model-type deepspeed_moe",
    ),
    "--use-pipe-experts --num-experts 4": (
        "feature use-pipe-experts (--use-pipe-experts) needs --moe-model-type deepspeed_moe: its messages have one size; add "
        "--moe-model-type deepspeed_moe, or leave out --use-pipe-experts"
    ),
    f"{_DEEPSPEED} --use-pipe-experts --pipe-experts-multi-data 0": _is_wrong(
        "use-pipe-experts", "--pipe-experts-multi-data is 0, wanted 1 or more"
    ),
    f"{_GROUPED} --balanced-moe-experts --balanced-moe-hot-expert-num 3": _is_wrong(
        "balanced-moe-experts",
        "--balanced-moe-hot-expert-num is 3, and a rank has 2 experts: more copies than that are more weights on the way than a "
        "rank has; give as many or fewer",
    ),
    f"{_GROUPED} --moe-fb-overlap --moe-unperm2-mem-optim-swap": _is_wrong(
        "moe-fb-overlap",
        "--moe-unperm2-mem-optim-swap takes what the way back of tokens keeps to the host, which does not exist here; leave it out",
    ),
    f"{_GROUPED} --moe-fb-overlap --pipeline-model-parallel-size 2 --variable-seq-lengths": _is_wrong(
        "moe-fb-overlap", "messages between stages have one length here; leave out --variable-seq-lengths"
    ),
    f"{_GROUPED} --balanced-moe-experts --pipeline-model-parallel-size 2": _is_wrong(
        "balanced-moe-experts",
        "--pipeline-model-parallel-size: groups of ranks for copies are made in the first pass, which stages do not begin together; "
        "give 1, or leave out --balanced-moe-experts",
    ),
    f"{_GROUPED} --moe-fb-overlap --swap-attention": _exclude(
        "moe-fb-overlap", "swap-attention", "what it keeps of passes is for one pass at a time"
    ),
    # values
    f"{_SWAP} --use-distributed-optimizer --swap-optimizer-times many": (
        "argument --swap-optimizer-times: invalid int value: 'many' (feature swap-optimizer: In how many slices they come"
    ),
    f"{_SWAP} --use-distributed-optimizer --swap-optimizer-times 0": _is_wrong(
        "swap-optimizer", "--swap-optimizer-times is 0, wanted 1 or more"
    ),
    f"{_RECOMPUTE} --recompute-activation-function-num-layers 3": _is_wrong(
        "recompute-activation-function",
        "--recompute-activation-function-num-layers is 3, wanted 0 to --num-layers (2)",
    ),
    f"{_EMA} --ema-decay 2": _is_wrong(
        "optimizer-selection", "--ema-decay is 2.0: wanted a number from 0 to 1"
    ),
    "--optimizer muon --fp16": _is_wrong(
        "muon-optimizer", "--fp16 scales gradients, which Muon's steps do not follow; give --bf16 or neither", "optimizer"
    ),
    "--optimizer muon --muon-num-ns-steps 0": _is_wrong(
        "muon-optimizer", "--muon-num-ns-steps is 0, wanted 1 or more", "optimizer"
    ),
    "--optimizer muon --muon-coefficient-type cubic": (
        "argument --muon-coefficient-type: invalid choice: 'cubic' (choose from 'simple', 'quintic', 'polar_express', 'aol')"
    ),
    "--optimizer-selection ema": (
        "argument --optimizer-selection: invalid choice: 'ema' (choose from 'fused_adamw', 'fused_torch_adamw', "
        "'fused_ema_adamw') (feature optimizer-selection: Which Adam: "
    ),
    "--sparse-mode 1": _is_wrong(
        "flash-attention",
        "--sparse-mode 1 hides nothing and ignores the mask, which Megatron does not have: give one of 0, 2, 3, 4",
        "use-flash-attn",
    ),
    "--sparse-mode 2 --pre-tockens 5": _is_wrong(
        "flash-attention",
        "--sparse-mode 2 is causal whatever --pre-tockens and --next-tockens say; give --sparse-mode 4, or leave them out",
        "use-flash-attn",
    ),
    "--sparse-mode 4 --pre-tockens 2 --next-tockens -5": _is_wrong(
        "flash-attention", "--next-tockens -5 with --pre-tockens 2 hides every key; wanted -2 or more", "use-flash-attn"
    ),
    "--swap-attention --swap-modules attention": _is_wrong(
        "swap-attention", "--swap-modules attention: a layer has no 'attention'; it has input_norm, post_attention_norm, "
    ),
    "--fp8-format hif8 --fp8-recipe mxfp8": _is_wrong(
        "fp8-recipes",
        "--fp8-format hif8 has one scale for a tensor, and --fp8-recipe is mxfp8; give --fp8-recipe tensorwise",
        "fp8-format",
    ),
    "--fp8-format e4m3 --fp8-recipe blockwise --transformer-impl local": _is_wrong(
        "fp8-recipes",
        "fp8 is Transformer Engine's, and --transformer-impl is local; leave out --transformer-impl local",
        "fp8-format",
    ),
    "--quant-states fp8 --optimizer sgd": _is_wrong(
        "quant-states", "it is for Adam, and --optimizer is sgd; give --optimizer adam, or leave it out"
    ),
    "--quant-states int8": "argument --quant-states: invalid choice: 'int8'",
    "--quant-states fp8 --virtual-optimizer all": _exclude("quant-states", "virtual-optimizer", "both bring an Adam"),
    "--quant-grads --bf16 --virtual-optimizer all": _exclude("quant-grads", "virtual-optimizer", "both bring an Adam"),
    "--compress-optimizer --quant-states mxfp8": _exclude(
        "compress-optimizer", "quant-states", "both decide in which form the averages are"
    ),
    "--ttp-enabled --ttp-heartbeat-interval-ms 5": _is_wrong(
        "ttp-enabled",
        "--ttp-heartbeat-interval-ms 5 would have no effect, as torchrun sees the end of a process within --monitor-interval: "
        "leave it out",
    ),
    "--ttp-enabled --ttp-dump-dir a/b": _is_wrong(
        "ttp-enabled",
        "--ttp-dump-dir a/b is neither a name (of a folder within /dev/shm) nor a whole path: give one of these",
    ),
    f"--ttp-enabled {_SWAP} --use-distributed-optimizer": _exclude(
        "ttp-enabled",
        "swap-optimizer",
        "copies are made of states on the device, which are with the host there",
    ),
    "--fp8-reuse-quantized-weight": _is_wrong(
        "fp8-reuse-quantized-weight",
        "without fp8 no weight is quantised; give --fp8-format, or leave out --fp8-reuse-quantized-weight",
    ),
    "--qat-scheme w4a8-moe-only --transformer-impl local": _is_wrong(
        "qat-scheme", "--qat-scheme w4a8-moe-only is for experts, and there are none; give --num-experts, or another scheme"
    ),
    "--qad-enable --qat-scheme w4a4-mxfp4 --transformer-impl local": _is_wrong(
        "qad",
        "there is no teacher; give --qad-teacher-load FOLDER, where Megatron has saved a training in full precision",
        "qad-enable",
    ),
    "--qad-enable --qad-teacher-load . --kl-temperature 0 --qat-scheme w4a4-mxfp4": _is_wrong(
        "qad", "--kl-temperature is 0.0; wanted a number above 0", "qad-enable"
    ),
    "--qad-enable --qad-teacher-load .": "feature qad (--qad-enable) needs feature qat-scheme (--qat-scheme), which is off",
    "--swap-layer-input --recompute-granularity selective": (
        "feature swap-layer-input (--swap-layer-input) needs --recompute-granularity full"
    ),
    # words that nobody knows
    "--swap-optimiser": "unrecognized arguments: --swap-optimiser; did you mean --swap-optimizer for --swap-optimiser?",
    "--optimisation-level 1": "did you mean --optimization-level for --optimisation-level?",
    "--use-fused-swiglo": "did you mean --use-fused-swiglu for --use-fused-swiglo?",
    "--reuse-fp32 --bf16": "did you mean --reuse-fp32-param for --reuse-fp32?",
    "--swap-attention true": "unrecognized arguments: true; --swap-attention takes no value; --help lists the options",
    "--swap-attention=1": "argument --swap-attention: ignored explicit argument '1' (feature swap-attention: Keep what",
}  # fmt: skip

# What looks like one of them and is none.
RIGHT = (
    "--optimization-level 0 --no-fused-swiglu",
    f"{_EMA} --use-distributed-optimizer",
    "--async-log-allreduce",
    "--virtual-optimizer all",
    "--virtual-optimizer 0.5",
    "--quant-states hif8 --use-distributed-optimizer --optimization-level 0",
    "--compress-optimizer --use-distributed-optimizer",
    f"--swap-layer-input {_ALL}",
    "--optimizer muon --bf16 --use-distributed-optimizer --muon-no-split-qkv",
    "--optimizer dist_muon --muon-nesterov --optimization-level 0",
    "--swap-attention",
    "--swap-attention --swap-modules mlp,self_attention.core_attention",
    "--use-fused-rotary-pos-emb --use-rotary-position-embeddings",
    f"{_REUSE} --bf16 --use-distributed-optimizer",
    f"{_SWAP} --use-distributed-optimizer",
    f"{_RECOMPUTE} --recompute-granularity full --recompute-method block --recompute-num-layers 1",
    "--fix-router --num-experts 4",
    "--moe-permutation-async-comm --num-experts 4 --moe-token-dispatcher-type alltoall",
    "--n-shared-experts 2 --num-experts 4 --moe-model-type megatron_moe",
    "--moe-zero-memory level1 --moe-zero-memory-num-layers 1 --num-experts 4 --moe-grouped-gemm --bf16",
    "--moe-zero-memory disable",
    f"{_DEEPSPEED} --use-pipe-experts --pipe-experts-multi-data 2 --enable-token-rearrange-opt",
    "--fp8-format hif8 --fp8-recipe tensorwise",
    "--fp8-format hybrid --fp8-recipe blockwise",
    "--sparse-mode 4 --pre-tockens 2 --next-tockens -1",
)


def told(line: str) -> tuple[object, str]:
    """Exit code (None: the line is right) and what stands on stderr."""
    from megatron.training import arguments

    sys.argv = ["pretrain_gpt.py", *MODEL.split(), *line.split()]
    error = io.StringIO()
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
        try:
            arguments.validate_args(arguments.parse_args())
        except SystemExit as end:
            return end.code, error.getvalue()
    return None, error.getvalue()


def surprises() -> Iterator[str]:
    for line, wanted in WRONG.items():
        code, text = told(line)
        if code != 2 or wanted not in text:
            yield f"{line}: {code}, {text.strip()}"
    for line in RIGHT:
        code, text = told(line)
        if code is not None:
            yield f"{line}: {code}, {text.strip()}"


if __name__ == "__main__":
    import torch  # noqa: F401  (the device's autoload comes first)

    # isort: split
    import mindspeed.megatron_adaptor  # noqa: F401

    found = list(surprises())
    print(
        "\n".join([*found, f"{len(WRONG)} wrong lines and {len(RIGHT)} right ones: {len(found)} surprises"])
    )
    sys.exit(1 if found else 0)
