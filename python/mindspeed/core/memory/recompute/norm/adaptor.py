# SPDX-License-Identifier: Apache-2.0
"""A layer that computes its norms again in the backward pass, under the name that other projects import."""

from __future__ import annotations

from typing import Any

from mindspeed.features.memory.recompute_norm import without_norms

__all__ = ["mindspeed_norm_recompute_forward"]


def mindspeed_norm_recompute_forward(self: Any, *args: Any, **kwargs: Any) -> Any:
    """In the place of one layer's forward(); --recompute-norm says it of all."""
    with without_norms(self):
        return type(self).forward(self, *args, **kwargs)
