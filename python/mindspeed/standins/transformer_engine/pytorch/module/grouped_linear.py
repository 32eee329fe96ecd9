# SPDX-License-Identifier: Apache-2.0
"""GroupedLinear: a Linear layer for each group of rows, for the experts of a mixture, as one product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mindspeed.ops.parallel_linear import Plan, compute_dtype
from mindspeed.ops.typed import typed
from mindspeed.standins.refusal import missing_attribute

from ..fp8 import FP8GlobalStateManager
from ._grouped import GroupedProduct
from .base import Initialiser, default_init_method
from .linear import SlicedLinear, refuse_overlap

__getattr__ = missing_attribute(__name__)


class GroupedLinear(SlicedLinear):
    """Parameters `weight0`, `weight1`, ... and `bias0`, ... It cuts its weights for a tensor-parallel group but sends nothing:
    whoever brings the rows to the ranks sums the results as well."""

    def __init__(
        self,
        num_gemms: int,
        in_features: int,
        out_features: int,
        sequence_parallel: bool = False,
        fuse_wgrad_accumulation: bool = False,
        tp_group: Any = None,
        tp_size: int = 1,
        get_rng_state_tracker: Callable[[], Any] | None = None,
        rng_tracker_name: str | None = None,
        init_method: Initialiser | None = None,
        bias: bool = True,
        return_bias: bool = False,
        params_dtype: torch.dtype | None = None,
        parallel_mode: str | None = None,
        device: Any = "cuda",
        delay_wgrad_compute: bool = False,
        save_original_input: bool = False,
        **overlap: Any,
    ) -> None:
        super().__init__()
        refuse_overlap(overlap)
        self.set_up_parallel(tp_group, tp_size, sequence_parallel)
        self.set_up_slice(in_features, out_features, parallel_mode, bias, return_bias)
        self.num_gemms = num_gemms
        self.fuse_wgrad_accumulation = fuse_wgrad_accumulation
        self.get_rng_state_tracker = get_rng_state_tracker
        self.rng_tracker_name = rng_tracker_name
        self.save_original_input = save_original_input
        self._delayed = [] if delay_wgrad_compute else None
        self.init_fp8_metadata(num_gemms=num_gemms)
        dtype = params_dtype or torch.get_default_dtype()
        for i in range(num_gemms):
            self.add_parameter(
                f"weight{i}",
                (self.out_features, self.in_features),
                dtype,
                device,
                init_method or default_init_method,
            )
            if bias:
                self.add_parameter(f"bias{i}", (self.out_features,), dtype, device, torch.nn.init.zeros_)
            else:
                setattr(self, f"bias{i}", torch.empty(0, dtype=dtype, device=device))
        self.reset_parameters(defer_init=self.weight0.is_meta)

    def mark_parameters(self) -> None:
        for i in range(self.num_gemms):
            self.mark_slice(getattr(self, f"weight{i}"), getattr(self, f"bias{i}"))

    def _biases(self) -> list[torch.Tensor]:
        return [getattr(self, f"bias{i}") for i in range(self.num_gemms)]

    def forward(self, inp: torch.Tensor, m_splits: list[int], is_first_microbatch: bool | None = None) -> Any:
        if len(m_splits) != self.num_gemms:
            raise ValueError(f"m_splits has {len(m_splits)} entries, GroupedLinear {self.num_gemms} groups")
        dtype = compute_dtype(self.weight0.dtype, inp)
        plan = Plan(fuse_wgrad=self.fuse_wgrad_accumulation, delayed=self._delayed)
        sizes = [int(rows) for rows in m_splits]
        rows = inp.reshape(-1, inp.shape[-1]).to(dtype)
        if sum(sizes) != rows.shape[0]:
            raise ValueError(f"m_splits has {sum(sizes)} rows, the input {rows.shape[0]}: {sizes}")
        weights = [getattr(self, f"weight{i}") for i in range(self.num_gemms)]
        if FP8GlobalStateManager.is_fp8_enabled():
            groups = enumerate(zip(rows.split(sizes), weights, strict=True))
            out = torch.cat(
                [
                    self.multiply(group, w, None, plan, dtype, i, is_first_microbatch)
                    for i, (group, w) in groups
                ]
            )
        else:
            out = GroupedProduct.apply(rows, sizes, plan, *weights)
        if self.apply_bias:
            parts = zip(out.split(sizes), self._biases(), strict=True)
            out = torch.cat([part + typed(bias, part.dtype) for part, bias in parts])
        out = out.view(*inp.shape[:-1], self.out_features)
        return (out, [typed(bias, out.dtype) for bias in self._biases()]) if self.return_bias else out
