# SPDX-License-Identifier: Apache-2.0
"""What LayerNorm and RMSNorm have in common."""

from __future__ import annotations

from typing import Any

import torch

from mindspeed.ops.typed import typed

from .base import Initialiser


def scale_initialiser(zero_centered: bool) -> Initialiser:
    return torch.nn.init.zeros_ if zero_centered else torch.nn.init.ones_


class Norm(torch.nn.Module):
    """Over the last dimension. Without an extra state: Megatron's own norms have none either."""

    def __init__(
        self,
        normalized_shape: Any = None,
        eps: float = 1e-5,
        sequence_parallel: bool | None = None,
        params_dtype: torch.dtype | None = None,
        zero_centered_gamma: bool = False,
        hidden_size: int | None = None,
        device: Any = "cuda",
        dtype: torch.dtype | None = None,
        has_bias: bool = False,
    ) -> None:
        super().__init__()
        shape = normalized_shape if normalized_shape is not None else hidden_size
        if shape is None:
            raise ValueError(f"{type(self).__name__}: neither normalized_shape nor hidden_size is given")
        size = tuple(shape) if not isinstance(shape, int) else (shape,)
        if len(size) != 1:
            raise ValueError(f"{type(self).__name__}: normalized_shape {size}, wanted one dimension")
        self.eps = eps
        self.zero_centered_gamma = zero_centered_gamma
        self.sequence_parallel = sequence_parallel
        options: dict[str, Any] = {
            "dtype": params_dtype or dtype or torch.get_default_dtype(),
            "device": device,
        }
        self.weight = torch.nn.Parameter(torch.empty(size, **options))
        if has_bias:
            self.bias = torch.nn.Parameter(torch.empty(size, **options))
        self.reset_parameters(defer_init=self.weight.is_meta)

    def reset_parameters(self, defer_init: bool = False) -> None:
        """Weight 1 (kept as 0 if zero-centred) and bias 0."""
        for name, parameter in list(self.named_parameters(recurse=False)):
            if parameter.is_meta and not defer_init:
                device = torch.accelerator.current_accelerator() or "cpu"
                parameter = torch.nn.Parameter(torch.empty_like(parameter, device=device))
                setattr(self, name, parameter)
            if not defer_init:
                ones = name == "weight" and not self.zero_centered_gamma
                torch.nn.init.constant_(parameter, 1.0 if ones else 0.0)
            if self.sequence_parallel is not None:
                parameter.sequence_parallel = self.sequence_parallel

    def rounded(self, out: torch.Tensor) -> torch.Tensor:
        """The result has the weight's type, as Transformer Engine's from 2.0 on: what float32 residuals come as goes on as
        the next layer wants it. Autocast decides if it is on."""
        device = out.device.type
        is_auto = torch.is_autocast_enabled(device)
        return typed(out, torch.get_autocast_dtype(device) if is_auto else self.weight.dtype)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, eps={self.eps}, zero_centered_gamma={self.zero_centered_gamma}"
