# SPDX-License-Identifier: Apache-2.0
"""A norm of --tp-2d that is given its group of ranks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from mindspeed.args_utils import get_full_args
from mindspeed.core.tensor_parallel.comm_group_api import TPYCollectiveComm
from mindspeed.features.communication._grid import Side, grid_of
from mindspeed.features.communication._grid_layers import share
from mindspeed.features.communication._grid_norm import Normalized


def side_of(comm: Any) -> Side:
    """From a group as a class of comm_group_api."""
    if comm.get_comm_group_world_size() == 1:
        return Side(None, (0,), 0)
    group = comm.get_comm_group()
    return Side(group, tuple(torch.distributed.get_process_group_ranks(group)), comm.get_comm_rank())


class NormOfParts(torch.nn.Module):
    """Over [..., hidden_size / ranks]. Without centring there is no bias either: RMSNorm."""

    def __init__(self, hidden_size: int, eps: float, comm: Any, *, centred: bool, **made: Any) -> None:
        super().__init__()
        self.side = side_of(comm)
        if hidden_size % self.side.size:
            raise ValueError(
                f"a norm of {hidden_size} is not divisible by the {self.side.size} ranks of {comm}"
            )
        self.hidden_size, self.eps, self.centred = hidden_size, eps, centred
        self.last_dim_split_comm_intf = comm
        self.weight = self._parameter(torch.ones(hidden_size // self.side.size, **made))
        self.register_parameter("bias", None)

    def _parameter(self, values: Tensor) -> Parameter:
        """Of the grid's own groups, gradients are summed along x with those of --tp-2d's layers."""
        parameter = Parameter(values)
        comm = self.last_dim_split_comm_intf
        if isinstance(comm, TPYCollectiveComm) or comm is TPYCollectiveComm:
            share(parameter, grid_of(get_full_args()))
        return parameter

    def forward(self, x: Tensor) -> Tensor:
        bias = torch.zeros_like(self.weight) if self.centred and self.bias is None else self.bias
        normalized: Tensor = Normalized.apply(x, self.weight, bias, self.eps, self.hidden_size, self.side)
        return normalized
