# SPDX-License-Identifier: Apache-2.0
"""MindSpeed's stand-in for Transformer Engine: its PyTorch modules on operators of an NPU, without fp8."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute
from mindspeed.standins.versions import reported_version

from . import common, pytorch

__all__ = ["__version__", "common", "pytorch"]

__version__ = reported_version("transformer_engine")
__getattr__ = missing_attribute(__name__)
