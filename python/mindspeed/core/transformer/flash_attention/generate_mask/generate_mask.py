# SPDX-License-Identifier: Apache-2.0
"""The attention mask that all layers share, under the names that other projects import."""

from mindspeed.model.transformer import get_attention_mask, set_attention_mask

__all__ = ["get_attention_mask", "set_attention_mask"]
