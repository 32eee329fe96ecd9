# SPDX-License-Identifier: Apache-2.0
"""Recomputation, which is Megatron's."""

from __future__ import annotations

from typing import Any

from megatron.core.extensions.transformer_engine import te_checkpoint
from megatron.core.transformer.transformer_block import TransformerBlock

__all__ = ["te_checkpoint", "transformer_block_checkpointed_forward"]

# Taken now: projects register the function below in its place.
_checkpointed_forward = TransformerBlock._checkpointed_forward


def transformer_block_checkpointed_forward(self: Any, *args: Any, **kwargs: Any) -> Any:
    """The block's layers, each recomputed in the backward pass as the config says."""
    return _checkpointed_forward(self, *args, **kwargs)
