# SPDX-License-Identifier: Apache-2.0
"""Sums of PyTorch that HCCL does not have."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.distributed import ReduceOp

__all__ = ["apply_hccl_premul_sum_patch"]


def _in_two_steps(collective: Callable[..., Any], output: str) -> Callable[..., Any]:
    """A sum that multiplies first: the sum, and then the product."""

    @functools.wraps(collective)
    def summed(*args: Any, **kwargs: Any) -> Any:
        operation = kwargs.get("op")
        if operation is None or operation != ReduceOp.PREMUL_SUM:
            return collective(*args, **kwargs)
        factor = operation.__getstate__()[1]
        work = collective(*args, **kwargs | {"op": ReduceOp.SUM})
        if work is not None:
            work.wait()
        (args[0] if args else kwargs[output]).mul_(factor)
        return work

    summed._is_in_two_steps = True  # type: ignore[attr-defined]
    return summed


def apply_hccl_premul_sum_patch() -> None:
    """Give all_reduce, reduce_scatter and reduce_scatter_tensor the operation PREMUL_SUM (given by name); once."""
    for name, output in (
        ("all_reduce", "tensor"),
        ("reduce_scatter", "output"),
        ("reduce_scatter_tensor", "output"),
    ):
        collective = getattr(torch.distributed, name)
        if not hasattr(collective, "_is_in_two_steps"):
            setattr(torch.distributed, name, _in_two_steps(collective, output))
