# SPDX-License-Identifier: Apache-2.0
"""RMSNorm of a hidden size that is cut over ranks, under the name that other projects import."""

from __future__ import annotations

from typing import Any

from mindspeed.core.tensor_parallel.tp_2d._norms import NormOfParts
from mindspeed.core.tensor_parallel.tp_2d.group_api_2d import TPYCollectiveComm

__all__ = ["RMSNorm2D"]


class RMSNorm2D(NormOfParts):
    """[..., hidden_size / y] -> the same."""

    def __init__(
        self, hidden_size: int, eps: float = 1e-6, last_dim_split_comm_intf: Any = TPYCollectiveComm
    ) -> None:
        super().__init__(hidden_size, eps, last_dim_split_comm_intf, centred=False)
