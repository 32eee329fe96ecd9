# SPDX-License-Identifier: Apache-2.0
"""A weight as all ranks have it when its shards were gathered in 8 bits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["PostQuantWeight"]

aten = torch.ops.aten
# What PyTorch's FSDP does with a gathered weight, none of which changes it.
_SAME = (aten.as_strided.default, aten.detach.default, aten.view.default)


class PostQuantWeight(Tensor):
    """Looks like the weight, and holds numbers and scales for two products: along rows (forward) and along columns (gradient).

    One of the two pairs is None where only the other was gathered.
    """

    _weight_fwd: Tensor | None
    _scale_fwd: Tensor | None
    _weight_bwd: Tensor | None
    _scale_bwd: Tensor | None
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(
        cls: type[PostQuantWeight],
        weight_fwd: Tensor | None,
        scale_fwd: Tensor | None,
        weight_bwd: Tensor | None,
        scale_bwd: Tensor | None,
        orig_dtype: torch.dtype,
    ) -> PostQuantWeight:
        like = weight_fwd if weight_fwd is not None else weight_bwd
        if like is None:
            raise ValueError("PostQuantWeight: give the numbers of one product at least")
        made: PostQuantWeight = torch.Tensor._make_wrapper_subclass(
            cls, like.shape, strides=like.stride(), dtype=orig_dtype, device=like.device
        )
        made.take(weight_fwd, scale_fwd, weight_bwd, scale_bwd)
        return made

    def take(
        self,
        weight_fwd: Tensor | None,
        scale_fwd: Tensor | None,
        weight_bwd: Tensor | None,
        scale_bwd: Tensor | None,
    ) -> None:
        self._weight_fwd, self._scale_fwd = weight_fwd, scale_fwd
        self._weight_bwd, self._scale_bwd = weight_bwd, scale_bwd

    def forward_operand(self) -> tuple[Tensor, Tensor]:
        return _there(self._weight_fwd, self._scale_fwd, "forward")

    def backward_operand(self) -> tuple[Tensor, Tensor]:
        return _there(self._weight_bwd, self._scale_bwd, "backward")

    def __repr__(self, **_: Any) -> str:
        return f"PostQuantWeight(shape={tuple(self.shape)}, dtype={self.dtype})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = args[0]
        if func not in _SAME or (func is not aten.detach.default and torch.Size(args[1]) != given.shape):
            raise NotImplementedError(
                f"{func} of a weight that was gathered in 8 bits: set quantization_plan.enable_fsdp_low_precision_all_gather "
                "to False, or put the module into ignored_modules"
            )
        return cls(given._weight_fwd, given._scale_fwd, given._weight_bwd, given._scale_bwd, given.dtype)


def _there(numbers: Tensor | None, scale: Tensor | None, way: str) -> tuple[Tensor, Tensor]:
    if numbers is None or scale is None:
        raise RuntimeError(
            f"a weight was gathered in 8 bits, but not for its {way} product: set "
            'quantization_plan.fsdp_low_precision_all_gather_mode to "all"'
        )
    return numbers, scale
