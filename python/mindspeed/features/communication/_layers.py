# SPDX-License-Identifier: Apache-2.0
"""Single layers whose products are computed in one way, whatever flags say of the others."""

from __future__ import annotations

from collections.abc import Callable

from megatron.core.tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear
from torch import Tensor

from mindspeed.features.communication import _linears
from mindspeed.ops.parallel_linear import Plan


class Column(ColumnParallelLinear):
    def _takes(self, plan: Plan) -> bool:
        """Whether a product is computed so; else as by Megatron."""
        raise NotImplementedError

    def _lay(self, plan: Plan) -> Plan:
        raise NotImplementedError

    @property
    def _forward_impl(self) -> Callable[..., Tensor]:
        """What Megatron's forward() calls, which sets it for weights that are trained, and that are not."""
        return _linears.gathering(self._takes, self._lay)(self.__dict__["_linear"])

    @_forward_impl.setter
    def _forward_impl(self, linear: Callable[..., Tensor]) -> None:
        self.__dict__["_linear"] = linear


class Row(RowParallelLinear):
    _takes = Column._takes
    _lay = Column._lay

    def forward(self, input_: Tensor) -> tuple[Tensor, Tensor | None]:
        by_rows = _linears.rows(self._takes, self._lay)(RowParallelLinear.forward)
        found: tuple[Tensor, Tensor | None] = by_rows(self, input_)
        return found
