# SPDX-License-Identifier: Apache-2.0
"""Gradients are kept and added over ranks as float16 numbers with a factor for each parameter, in place of float32.

A sum over micro-batches is made in float32 and rounded after each, with a factor that fits the largest number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mindspeed.adaptor import Feature, Flag, Level
from mindspeed.features.optimizer import _half_gradients, _low_precision, _sliced_adam

_FUSED = {
    "gradient_accumulation_fusion": "--no-gradient-accumulation-fusion",
    "gemm_gradient_accumulation_fusion": "leave out --gemm-gradient-accumulation-fusion",
}
_OTHERS = {
    "log_num_zeros_in_grad": "which counts zeros of gradients in float32",
    "check_for_large_grads": "which looks at norms of buffers",
    "nccl_ub": "which has memory of its own for gradients",
    "layerzero": "which has gradients in shards of its own",
}


def check(args: Any) -> Iterator[str]:
    yield from _sliced_adam.unsupported(args)
    for name, remedy in _FUSED.items():
        if getattr(args, name, False):
            give = f"give {remedy}" if remedy.startswith("--") else remedy
            yield f"products that add to gradients themselves add to float32; {give}"
    for name, why in _OTHERS.items():
        if getattr(args, name, False):
            yield f"it does not work with --{name.replace('_', '-')}, {why}; leave one of the two out"
    # A program that builds configs by code gives no types here: then the optimizer refuses models of float32.
    if hasattr(args, "bf16") and not (args.bf16 or getattr(args, "fp16", False)):
        yield "models of float32 update their parameters with gradients of that type; give --bf16 or --fp16"
    instances = getattr(args, "num_distributed_optimizer_instances", 1) or 1
    if instances > 1:
        yield (
            f"--num-distributed-optimizer-instances is {instances}, and gradients are added over one group of ranks; give 1"
        )


FEATURE = Feature(
    name="quant-grads",
    level=Level.COMPATIBILITY,
    flags=(
        Flag("--quant-grads", "Keep gradients as float16 with a factor for each parameter.", in_config=False),
    ),
    conflicts=_sliced_adam.CONFLICTS,
    check=check,
    patches=(_low_precision.ADAM, *_half_gradients.PATCHES),
)
