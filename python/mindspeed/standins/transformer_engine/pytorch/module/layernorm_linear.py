# SPDX-License-Identifier: Apache-2.0
"""LayerNormLinear: a normalisation and the Linear that takes its result."""

from __future__ import annotations

from typing import Any

import torch

from mindspeed.ops.norms import layer_norm, rms_norm
from mindspeed.ops.parallel_linear import compute_dtype, gather
from mindspeed.ops.typed import typed
from mindspeed.standins.refusal import missing_attribute

from ._norm_module import scale_initialiser
from .linear import Linear

__getattr__ = missing_attribute(__name__)


class LayerNormLinear(Linear):
    """Parameters `layer_norm_weight`, `layer_norm_bias` (not of RMSNorm), `weight`, `bias`."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        eps: float = 1e-5,
        *,
        normalization: str = "LayerNorm",
        return_layernorm_output: bool = False,
        return_layernorm_output_gathered: bool = False,
        zero_centered_gamma: bool = False,
        parallel_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        if normalization not in ("LayerNorm", "RMSNorm"):
            raise ValueError(f"normalization={normalization!r}: wanted LayerNorm or RMSNorm")
        if parallel_mode == "row":
            raise ValueError("LayerNormLinear(parallel_mode='row'): the normalisation needs whole rows")
        self._norm_options = (in_features, normalization, zero_centered_gamma)
        super().__init__(in_features, out_features, parallel_mode=parallel_mode, **kwargs)
        self.eps = eps
        self.normalization = normalization
        self.zero_centered_gamma = zero_centered_gamma
        self.return_layernorm_output = return_layernorm_output
        self.return_layernorm_output_gathered = return_layernorm_output_gathered

    def add_parameter(self, name: str, shape: Any, dtype: Any, device: Any, initialise: Any) -> None:
        """The norm's parameters come first, as in Transformer Engine."""
        if name == "weight":
            hidden, kind, zero_centered = self._norm_options
            scale = scale_initialiser(zero_centered)
            super().add_parameter("layer_norm_weight", (hidden,), dtype, device, scale)
            if kind == "LayerNorm":
                super().add_parameter("layer_norm_bias", (hidden,), dtype, device, torch.nn.init.zeros_)
            else:
                self.layer_norm_bias = None
        super().add_parameter(name, shape, dtype, device, initialise)

    def mark_parameters(self) -> None:
        super().mark_parameters()
        for parameter in (self.layer_norm_weight, self.layer_norm_bias):
            if parameter is not None:
                parameter.sequence_parallel = self.sequence_parallel

    def _normalise(self, x: torch.Tensor) -> torch.Tensor:
        if self.normalization == "RMSNorm":
            return rms_norm(x, self.layer_norm_weight, self.eps, self.zero_centered_gamma)
        return layer_norm(x, self.layer_norm_weight, self.layer_norm_bias, self.eps, self.zero_centered_gamma)

    def forward(
        self, inp: torch.Tensor, is_first_microbatch: bool | None = None, fp8_output: bool | None = False
    ) -> Any:
        dtype = compute_dtype(self.weight.dtype, inp)
        normal = self._normalise(inp.to(dtype))
        bias = self.bias if self.apply_bias else None
        out = self.multiply(
            normal, self.weight, bias, self.plan(), dtype, is_first_microbatch=is_first_microbatch
        )
        results = [out]
        if self.return_bias:
            results.append(typed(self.bias, out.dtype))
        if self.return_layernorm_output:
            gathered = self.return_layernorm_output_gathered and self.plan().gathers
            results.append(gather(normal, self.plan()) if gathered else normal)
        return results[0] if len(results) == 1 else tuple(results)
