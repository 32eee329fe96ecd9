# SPDX-License-Identifier: Apache-2.0
"""Latent attention runs with Megatron's own core attention, and without its fused rotary embedding.

The core attention of earlier releases does not know that values may be narrower than keys, although it computes so. The
fused embedding, a default of Megatron-LM, is a kernel in Triton for CUDA, or, in earlier releases, an error.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch


def without_fusion(args: Any) -> None:
    if getattr(args, "multi_latent_attention", False):
        args.apply_rope_fusion = False


def of_two_widths(init: Callable[..., None]) -> Callable[..., None]:
    """DotProductAttention.__init__, with the widths of a head of keys and of values."""
    if "k_channels" in inspect.signature(init).parameters:
        return init

    def __init__(
        self: Any,
        config: Any,
        *args: Any,
        k_channels: int | None = None,
        v_channels: int | None = None,
        **kwargs: Any,
    ) -> None:
        if k_channels is not None and kwargs.get("softmax_scale") is None:
            kwargs["softmax_scale"] = 1.0 / math.sqrt(k_channels)
        init(self, config, *args, **kwargs)
        if k_channels is not None:
            self.hidden_size_per_attention_head = k_channels
        if v_channels is not None:
            self.hidden_size_per_partition = v_channels * self.num_attention_heads_per_partition

    return __init__


FEATURE = Feature(
    name="latent-attention",
    level=Level.COMPATIBILITY,
    adjust=without_fusion,
    patches=(
        Patch(
            "megatron.core.transformer.dot_product_attention:DotProductAttention.__init__",
            of_two_widths,
            wraps=True,
        ),
    ),
)
