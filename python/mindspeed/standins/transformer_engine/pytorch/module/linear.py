# SPDX-License-Identifier: Apache-2.0
"""Linear: y = x w^T + b, alone or over a tensor-parallel group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mindspeed.ops.parallel_linear import Plan, compute_dtype
from mindspeed.ops.typed import typed
from mindspeed.standins.refusal import RefusedError, missing_attribute

from ..utils import divide, mark_parallel
from .base import Initialiser, TransformerEngineBaseModule, default_init_method

__getattr__ = missing_attribute(__name__)

MODES = ("row", "column", None)


def refuse_overlap(options: dict[str, Any]) -> None:
    """Communication in the shadow of a product; the names are given, with the value off, by default."""
    for name, value in options.items():
        if not name.startswith(("ub_", "delay_")) and name not in (
            "symmetric_ar_type",
            "parameters_split",
            "name",
        ):
            raise TypeError(f"Linear got an unexpected keyword argument {name!r}")
        if value and name != "ub_name" and name != "name":
            raise RefusedError(
                f"Linear({name}={value!r})", "Leave out --tp-comm-overlap or what else sets it"
            )


class SlicedLinear(TransformerEngineBaseModule):
    """What layers of one product and of several share: which slice of weight and bias this rank has."""

    def set_up_slice(
        self, in_features: int, out_features: int, parallel_mode: str | None, bias: bool, return_bias: bool
    ) -> None:
        """After set_up_parallel()."""
        if parallel_mode not in MODES:
            raise ValueError(f"parallel_mode={parallel_mode!r}: wanted one of {MODES}")
        self.parallel_mode = parallel_mode
        self.in_features = divide(in_features, self.tp_size) if parallel_mode == "row" else in_features
        self.out_features = divide(out_features, self.tp_size) if parallel_mode == "column" else out_features
        self.use_bias = bias
        self.return_bias = return_bias
        # A row-parallel bias is added once, to the sum.
        self.apply_bias = bias and not return_bias

    def mark_slice(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """As Megatron reads it from parameters."""
        mark_parallel(weight, 1 if self.parallel_mode == "row" else 0)
        if not self.use_bias:
            return
        if self.parallel_mode == "row":
            bias.sequence_parallel = self.sequence_parallel
        elif self.parallel_mode == "column":
            mark_parallel(bias, 0)


class Linear(SlicedLinear):
    """Parameters `weight` [out, in] and `bias` [out], both this rank's slice."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        sequence_parallel: bool = False,
        fuse_wgrad_accumulation: bool = False,
        tp_group: Any = None,
        tp_size: int = 1,
        get_rng_state_tracker: Callable[[], Any] | None = None,
        init_method: Initialiser | None = None,
        bias: bool = True,
        return_bias: bool = False,
        params_dtype: torch.dtype | None = None,
        parallel_mode: str | None = None,
        device: Any = "cuda",
        rng_tracker_name: str | None = None,
        delay_wgrad_compute: bool = False,
        save_original_input: bool = False,
        **overlap: Any,
    ) -> None:
        super().__init__()
        refuse_overlap(overlap)
        self.set_up_parallel(tp_group, tp_size, sequence_parallel)
        self.set_up_slice(in_features, out_features, parallel_mode, bias, return_bias)
        self.fuse_wgrad_accumulation = fuse_wgrad_accumulation
        self.get_rng_state_tracker = get_rng_state_tracker
        self.rng_tracker_name = rng_tracker_name
        self.save_original_input = save_original_input
        self._delayed = [] if delay_wgrad_compute else None
        dtype = params_dtype or torch.get_default_dtype()
        self.add_parameter(
            "weight", (self.out_features, self.in_features), dtype, device, init_method or default_init_method
        )
        if bias:
            self.add_parameter("bias", (self.out_features,), dtype, device, torch.nn.init.zeros_)
        else:
            self.bias = torch.empty(0, dtype=dtype, device=device)
        self.reset_parameters(defer_init=self.weight.is_meta)

    def mark_parameters(self) -> None:
        self.mark_slice(self.weight, self.bias)

    def plan(self) -> Plan:
        """Looked at in each forward: group and weight may be set late."""
        return Plan(
            mode=self.parallel_mode,
            group=self.tp_group,
            size=self.tp_size,
            sequence_parallel=self.sequence_parallel,
            fuse_wgrad=self.fuse_wgrad_accumulation,
            delayed=self._delayed,
        )

    def forward(
        self, inp: torch.Tensor, is_first_microbatch: bool | None = None, fp8_output: bool | None = False
    ) -> Any:
        bias = self.bias if self.apply_bias else None
        dtype = compute_dtype(self.weight.dtype, inp)
        out = self.multiply(
            inp, self.weight, bias, self.plan(), dtype, is_first_microbatch=is_first_microbatch
        )
        return (out, typed(self.bias, out.dtype)) if self.return_bias else out

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.use_bias}"
