# SPDX-License-Identifier: Apache-2.0
"""Groups of ranks as classes, under the names that other projects import: those of --tp-2d, and of context parallelism."""

from __future__ import annotations

from typing import Any

from mindspeed import absent
from mindspeed.args_utils import get_full_args
from mindspeed.features.communication._grid import Grid, Side, grid_of

__all__ = [
    "CPCollectiveComm",
    "CollectiveCommIntf",
    "TPXCollectiveComm",
    "TPXYCollectiveComm",
    "TPYCollectiveComm",
]


class CollectiveCommIntf:
    """To derive from; asked as a class or as an object. A group of one rank may be None."""

    def __init__(self, comm_group_name: str) -> None:
        self.comm_group_name = comm_group_name

    @classmethod
    def get_comm_group_world_size(cls) -> int:
        raise NotImplementedError

    @classmethod
    def get_comm_group(cls) -> Any:
        raise NotImplementedError

    @classmethod
    def get_comm_rank(cls) -> int:
        raise NotImplementedError

    def get_comm_group_name(self) -> str:
        return self.comm_group_name


def _grid() -> Grid:
    """Of --tp-x by --tp-y of the arguments in effect; all tensor-parallel ranks make it together, when it is first asked for."""
    return grid_of(get_full_args())


class _OfASide(CollectiveCommIntf):
    @classmethod
    def _side(cls) -> Side:
        raise NotImplementedError

    @classmethod
    def get_comm_group_world_size(cls) -> int:
        return cls._side().size

    @classmethod
    def get_comm_group(cls) -> Any:
        return cls._side().group

    @classmethod
    def get_comm_rank(cls) -> int:
        return cls._side().rank


class TPXCollectiveComm(_OfASide):
    """The ranks along which --tp-2d cuts the sequence."""

    def __init__(self, name: str = "tp-x") -> None:
        super().__init__(name)

    @classmethod
    def _side(cls) -> Side:
        return _grid().x


class TPYCollectiveComm(_OfASide):
    """The ranks along which --tp-2d cuts the hidden size."""

    def __init__(self, name: str = "tp-y") -> None:
        super().__init__(name)

    @classmethod
    def _side(cls) -> Side:
        return _grid().y


class _OfAGroup(CollectiveCommIntf):
    @classmethod
    def get_comm_group_world_size(cls) -> int:
        return int(cls.get_comm_group().size())

    @classmethod
    def get_comm_rank(cls) -> int:
        return int(cls.get_comm_group().rank())


class TPXYCollectiveComm(_OfAGroup):
    """All ranks of tensor parallelism."""

    def __init__(self, name: str = "tp-xy") -> None:
        super().__init__(name)

    @classmethod
    def get_comm_group(cls) -> Any:
        from megatron.core import parallel_state

        return parallel_state.get_tensor_model_parallel_group()


class CPCollectiveComm(_OfAGroup):
    """All ranks that share a sequence."""

    @classmethod
    def get_comm_group(cls) -> Any:
        from megatron.core import parallel_state

        return parallel_state.get_context_parallel_group()


_OVERLAP = "messages of --tp-2d that overlap products travel in the groups that TPXCollectiveComm and TPYCollectiveComm have"
__getattr__ = absent.attributes(
    __name__,
    dict.fromkeys(
        ("OverlapCollectiveIntf", "TPXOverlapCollectiveComm", "TPYOverlapCollectiveComm"), _OVERLAP
    ),
)
