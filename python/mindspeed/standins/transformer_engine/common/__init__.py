# SPDX-License-Identifier: Apache-2.0
"""What Transformer Engine shares between frameworks: the recipes."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute

from . import recipe

__all__ = ["recipe"]

__getattr__ = missing_attribute(__name__)
