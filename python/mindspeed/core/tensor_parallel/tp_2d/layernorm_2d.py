# SPDX-License-Identifier: Apache-2.0
"""LayerNorm of a hidden size that is cut over ranks, under the name that other projects import."""

from __future__ import annotations

from typing import Any

import torch

from mindspeed.core.tensor_parallel.tp_2d._norms import NormOfParts
from mindspeed.core.tensor_parallel.tp_2d.group_api_2d import TPYCollectiveComm

__all__ = ["LayerNorm2D"]


class LayerNorm2D(NormOfParts):
    """[..., hidden_size / y] -> the same; on the current device, in `dtype`."""

    def __init__(
        self,
        hidden_size: int,
        eps: float = 1e-5,
        bias: bool = True,
        dtype: torch.dtype | None = None,
        last_dim_split_comm_intf: Any = TPYCollectiveComm,
    ) -> None:
        made = {"device": torch.device("npu", torch.npu.current_device()), "dtype": dtype}
        super().__init__(hidden_size, eps, last_dim_split_comm_intf, centred=True, **made)
        if bias:
            self.bias = self._parameter(torch.zeros_like(self.weight))
