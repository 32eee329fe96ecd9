# SPDX-License-Identifier: Apache-2.0
"""Gradients of experts' weights are added to Megatron's float32 accumulators by the grouped product that computes them.

Without it the product is rounded to the type of the weights, kept beside them, and added by another pass. Megatron's
GroupedMLP keeps a weight for all experts of a rank, so one operator serves them all; the layers of Transformer Engine's
stand-in follow --no-gradient-accumulation-fusion instead.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from mindspeed.adaptor.feature import Feature, Need
from mindspeed.adaptor.flags import Flag
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch
from mindspeed.ops.gmm import npu_gmm_v2


def accumulating(matrices: Tensor) -> Tensor | None:
    """The parameter that they are a view of, if it has an accumulator that can take their gradient."""
    parameter = matrices if matrices._base is None else matrices._base
    if not isinstance(parameter, torch.nn.Parameter) or not parameter.requires_grad:
        return None
    if not torch.is_grad_enabled() or matrices.numel() != parameter.numel() or not matrices.is_contiguous():
        return None
    accumulator = getattr(parameter, "main_grad", None)
    if accumulator is None or accumulator.dtype is not torch.float32 or not accumulator.is_contiguous():
        return None
    return parameter


def into_accumulators(ops: Any) -> Any:
    """grouped_gemm.ops as Megatron's experts see it."""

    def gmm(a: Tensor, b: Tensor, batch_sizes: Tensor, trans_b: bool = False) -> Tensor:
        parameter = None if trans_b or a.device.type != "npu" else accumulating(b)
        if parameter is None:
            product: Tensor = ops.gmm(a, b, batch_sizes, trans_b=trans_b)
            return product
        sizes = batch_sizes.to(device=a.device, dtype=torch.int64)
        return npu_gmm_v2(a, b, group_list=sizes, gemm_fusion=True, original_weight=parameter)

    return SimpleNamespace(gmm=gmm)


FEATURE = Feature(
    name="moe-grouped-gemm",
    level=Level.ACCELERATION,
    until="0.17",  # which has no experts by grouped_gemm any more
    flags=(
        Flag(
            "--gemm-gradient-accumulation-fusion",
            "Add gradients of grouped experts' weights to their accumulators by the product itself.",
        ),
    ),
    needs=(Need(flag="--moe-grouped-gemm", why="it has one weight for all experts of a rank"),),
    patches=(Patch("megatron.core.transformer.moe.grouped_gemm_util:ops", into_accumulators, wraps=True),),
)
