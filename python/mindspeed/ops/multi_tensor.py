# SPDX-License-Identifier: Apache-2.0
"""Operations on lists of tensors, called as Apex and Transformer Engine call theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

Lists = Sequence[Sequence[torch.Tensor]]


class MultiTensorApply:
    """multi_tensor_applier(operation, flag, lists, *arguments); the size of a chunk means nothing here."""

    available = True
    warned = False

    def __init__(self, chunk_size: int) -> None:
        self.chunk_size = chunk_size

    def __call__(
        self, op: Callable[..., Any], noop_flag: torch.Tensor, tensor_lists: Lists, *args: Any
    ) -> Any:
        return op(self.chunk_size, noop_flag, tensor_lists, *args)


multi_tensor_applier = MultiTensorApply(2048 * 32)


def _flag_not_finite(noop_flag: torch.Tensor, tensors: Sequence[torch.Tensor]) -> None:
    """1 in the flag if a value is infinite or no number; a largest magnitude shows both."""
    found = [~norm.isfinite() for norm in torch._foreach_norm(list(tensors), float("inf"))]
    if found:
        noop_flag.logical_or_(torch.stack(found).any())


def multi_tensor_scale(chunk_size: int, noop_flag: torch.Tensor, tensor_lists: Lists, scale: float) -> None:
    """second list = first list * scale; of tensors that ranks share, each rank's part, and its flag is of that alone."""
    sources, targets = ([getattr(t, "_local_tensor", t) for t in tensors] for tensors in tensor_lists)
    pairs = [(s, t) for s, t in zip(sources, targets, strict=True) if s.numel() > 0]
    if not pairs:
        return
    for source, target in pairs:
        if source is not target:
            target.copy_(source)
    scaled = [target for _, target in pairs]
    if scale != 1.0:
        torch._foreach_mul_(scaled, scale)
    _flag_not_finite(noop_flag, scaled)


def multi_tensor_l2norm(
    chunk_size: int, noop_flag: torch.Tensor, tensor_lists: Lists, per_tensor: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """(norm of all together [1], norm of each), of float32"""
    tensors = [tensor.float() for tensor in tensor_lists[0]]
    if not tensors:
        nothing = torch.zeros(1, dtype=torch.float32, device=noop_flag.device)
        return nothing, nothing[:0]
    norms = torch.stack(torch._foreach_norm(tensors))
    return norms.norm().view(1), norms if per_tensor else norms[:0]
