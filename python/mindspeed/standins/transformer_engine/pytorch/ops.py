# SPDX-License-Identifier: Apache-2.0
"""Transformer Engine's fuser of operations: code may name its classes, building one is refused."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute, refused_class

ADVICE = "Leave out --use-transformer-engine-op-fuser"

FusibleOperation = refused_class(f"{__name__}.FusibleOperation", ADVICE)
Sequential = refused_class(f"{__name__}.Sequential", ADVICE)

__getattr__ = missing_attribute(__name__)
