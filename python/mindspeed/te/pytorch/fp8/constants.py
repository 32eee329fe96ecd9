# SPDX-License-Identifier: Apache-2.0
"""Formats and recipes by name."""

from megatron.core.enums import Fp8Recipe
from transformer_engine.common.recipe import Format

__all__ = ["Format", "Fp8Recipe"]
