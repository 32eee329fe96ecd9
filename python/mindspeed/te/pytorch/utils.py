# SPDX-License-Identifier: Apache-2.0
"""The group of tensor parallelism."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["get_tensor_model_parallel_group_if_none"]


def get_tensor_model_parallel_group_if_none(
    tp_group: Any, is_expert: bool = False, check_initialized: bool = True
) -> Any:
    """The group given, else Megatron's (of experts, if asked for); None where nothing is distributed."""
    if not torch.distributed.is_initialized():
        return None
    if tp_group is not None:
        return tp_group
    from megatron.core import parallel_state

    if is_expert:
        return parallel_state.get_expert_tensor_parallel_group(check_initialized=check_initialized)
    return parallel_state.get_tensor_model_parallel_group(check_initialized=check_initialized)
