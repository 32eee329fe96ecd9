# SPDX-License-Identifier: Apache-2.0
"""Names that code compares with."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute

AttnMaskTypes = (
    "no_mask",
    "padding",
    "causal",
    "padding_causal",
    "causal_bottom_right",
    "padding_causal_bottom_right",
    "arbitrary",
)
AttnTypes = ("self", "cross")
AttnBiasTypes = ("pre_scale_bias", "post_scale_bias", "no_bias", "alibi")
QKVLayouts = ("sbhd", "bshd", "thd")
GemmParallelModes = ("row", "column", None)

__getattr__ = missing_attribute(__name__)
