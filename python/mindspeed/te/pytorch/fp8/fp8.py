# SPDX-License-Identifier: Apache-2.0
"""The switches of fp8, which are those of the stand-in."""

from transformer_engine.pytorch.fp8 import fp8_autocast, fp8_model_init

__all__ = ["fp8_autocast", "fp8_model_init"]
