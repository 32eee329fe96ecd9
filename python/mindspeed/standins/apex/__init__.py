# SPDX-License-Identifier: Apache-2.0
"""MindSpeed's stand-in for Apex: optimizers, norms, and operations on lists of tensors."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute
from mindspeed.standins.versions import reported_version

from . import multi_tensor_apply, normalization, optimizers

__all__ = ["__version__", "multi_tensor_apply", "normalization", "optimizers"]

__version__ = reported_version("apex")
__getattr__ = missing_attribute(__name__)
