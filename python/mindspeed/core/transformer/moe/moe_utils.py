# SPDX-License-Identifier: Apache-2.0
"""Means over layers, under the name that other projects import."""

from __future__ import annotations

import torch

from mindspeed.args_utils import get_full_args
from mindspeed.core.pipeline_parallel.noop_layers import moe_metrics_tracker

__all__ = ["get_mean"]


def get_mean(tensor: torch.Tensor) -> torch.Tensor:
    """Of a value for each layer; those that compute nothing (--noop-layers) do not count."""
    left_out = getattr(get_full_args(), "noop_layers", None)
    return moe_metrics_tracker.get_mean(tensor, tensor.numel(), left_out)
