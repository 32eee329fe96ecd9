# SPDX-License-Identifier: Apache-2.0
"""The norm of gradients that are sharded in different ways."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

__all__ = ["clip_grad_norm_"]


@torch.no_grad()
def clip_grad_norm_(parameters: Iterable[Tensor], max_norm: float, norm_type: float = 2.0) -> Tensor:
    """As torch.nn.utils.clip_grad_norm_, whose parameters must all be on one mesh; returns the norm of all of them."""
    by_mesh: dict[object, list[Tensor]] = {}
    for gradient in (p.grad for p in parameters if p.grad is not None):
        by_mesh.setdefault(gradient.device_mesh if isinstance(gradient, DTensor) else None, []).append(
            gradient
        )
    norms = []
    for gradients in by_mesh.values():
        norm = torch.nn.utils.get_total_norm(gradients, norm_type)
        norms.append(norm.full_tensor() if isinstance(norm, DTensor) else norm)
    if not norms:
        return torch.zeros(())
    total = torch.linalg.vector_norm(torch.stack(norms), norm_type)
    factor = (max_norm / (total + 1e-6)).clamp(max=1.0)
    for gradients in by_mesh.values():
        for gradient in gradients:
            (gradient.to_local() if isinstance(gradient, DTensor) else gradient).mul_(factor)
    return total
