# SPDX-License-Identifier: Apache-2.0
"""MindSpeed's stand-in for flash-attn: its functions on the fused attention operator."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute
from mindspeed.standins.versions import reported_version

from .flash_attn_interface import flash_attn_func, flash_attn_varlen_func, flash_attn_with_kvcache

__all__ = ["__version__", "flash_attn_func", "flash_attn_varlen_func", "flash_attn_with_kvcache"]

__version__ = reported_version("flash_attn")
__getattr__ = missing_attribute(__name__)
