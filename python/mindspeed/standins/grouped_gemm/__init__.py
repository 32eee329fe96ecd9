# SPDX-License-Identifier: Apache-2.0
"""MindSpeed's stand-in for grouped_gemm: products of groups of rows, each with its own matrix."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute
from mindspeed.standins.versions import reported_version

from . import ops

__all__ = ["__version__", "ops"]

__version__ = reported_version("grouped_gemm")
__getattr__ = missing_attribute(__name__)
