# SPDX-License-Identifier: Apache-2.0
"""Megatron's attention as --position-embedding-type alibi makes it, under the name that other projects import."""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.transformer.dot_product_attention import DotProductAttention
from torch import Tensor

from mindspeed.features.fusion import alibi
from mindspeed.features.fusion.flash_attention import by_operator

__all__ = ["MindSpeedDotProductAttention"]


class MindSpeedDotProductAttention(DotProductAttention):
    """By the fused operator, with a bias whatever the flags are. pse: by how much scores of this rank's heads fall off."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pse: Tensor = alibi.slopes_of(self, torch.device("npu", torch.npu.current_device()))
        self.score_bias = lambda core, query, keys: alibi.bias_of(core.pse, core.config, query, keys)

    forward = by_operator(DotProductAttention.forward)
