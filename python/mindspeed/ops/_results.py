# SPDX-License-Identifier: Apache-2.0
"""Results of autograd functions that are written here."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["not_a_view"]


def not_a_view(result: Tensor) -> Tensor:
    """The same memory, as a tensor of its own.

    PyTorch refuses to change a view in place that a function's forward has made (`loss *= n`), though nobody else has the
    tensor that it is a view of.
    """
    return torch.ops.aten._unsafe_view(result, result.shape) if result._is_view() else result
