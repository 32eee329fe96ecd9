# SPDX-License-Identifier: Apache-2.0
"""Kernels as objects."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute

from . import autotuner, jit

__all__ = ["autotuner", "jit"]

__getattr__ = missing_attribute(__name__)
