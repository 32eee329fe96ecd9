# SPDX-License-Identifier: Apache-2.0
"""Sizes of groups, and ranks in them."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["get_distributed_rank", "get_distributed_world_size"]


def get_distributed_world_size(group: Any = None) -> int:
    """1 where nothing is distributed."""
    return torch.distributed.get_world_size(group) if torch.distributed.is_initialized() else 1


def get_distributed_rank(group: Any = None) -> int:
    return torch.distributed.get_rank(group)
