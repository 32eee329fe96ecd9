# SPDX-License-Identifier: Apache-2.0
"""Groups of ranks of an engine: two views of the same ranks, one for experts and one for everything else.

dp x fsdp x cp x ulysses x tp, the last one being neighbours, and edp x efsdp x ep. Of each dimension there are
is_NAME_enable, get_NAME_group, get_NAME_group_size, get_NAME_rank and get_NAME_device_mesh.
"""

from __future__ import annotations

import functools
import math
import os
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from mindspeed.fsdp.parallel_engine_config import ParallelEngineConfig

__all__ = ["ParallelState", "init_parallel_state"]

_PARTS = {
    "is_{}_enable": "is_group_enable",
    "get_{}_group": "get_group",
    "get_{}_group_size": "get_group_size",
    "get_{}_rank": "get_rank",
    "get_{}_device_mesh": "get_device_mesh",
}


class _Latest(type):
    """Called without arguments: the one that was made last."""

    _made: ClassVar[Any] = None

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs or _Latest._made is None:
            _Latest._made = super().__call__(*args, **kwargs)
        return _Latest._made


def init_parallel_state(config: ParallelEngineConfig) -> ParallelState:
    sizes = {f.name: getattr(config, f.name) for f in fields(ParallelState)}
    state: ParallelState = ParallelState(**sizes)
    return state


@dataclass
class ParallelState(metaclass=_Latest):
    data_parallel_size: int = 1
    fully_shard_parallel_size: int = 1
    tensor_parallel_size: int = 1
    context_parallel_size: int = 1
    ulysses_parallel_size: int = 1

    expert_parallel_size: int = 1
    expert_fully_shard_parallel_size: int = 1
    expert_data_parallel_size: int = 1

    def __post_init__(self) -> None:
        if not torch.distributed.is_initialized():
            torch.npu.set_device(max(self.local_rank, 0))
            torch.distributed.init_process_group("hccl")
        self.device_mesh_map: dict[str, DeviceMesh] = {}
        inner = {
            "fsdp": self.fully_shard_parallel_size,
            "cp": self.context_parallel_size,
            "ulysses": self.ulysses_parallel_size,
            "tp": self.tensor_parallel_size,
        }
        self.data_parallel_size = self._left("data_parallel_size", self.data_parallel_size, inner)
        self._add({"dp": self.data_parallel_size} | inner)
        # Parameters are sharded by all ranks that hold the same ones, but for replicas: those of a sequence too. One mesh
        # with tp, since a parameter that both shard lies on both.
        shards = self.fully_shard_parallel_size * self.context_parallel_size * self.ulysses_parallel_size
        self._weights = init_device_mesh(
            "npu",
            (self.data_parallel_size, shards, self.tensor_parallel_size),
            mesh_dim_names=("replicate", "shard", "tp"),
        )
        self.device_mesh_map["tp"] = self._weights
        experts = {"efsdp": self.expert_fully_shard_parallel_size, "ep": self.expert_parallel_size}
        self.expert_data_parallel_size = self._left(
            "expert_data_parallel_size", self.expert_data_parallel_size, experts
        )
        self._add({"edp": self.expert_data_parallel_size} | experts)

    def _left(self, name: str, given: int, sizes: dict[str, int]) -> int:
        """Ranks that the other dimensions leave over."""
        product = math.prod(sizes.values())
        if self.world_size % product:
            wanted = " x ".join(f"{key} {size}" for key, size in sizes.items())
            raise ValueError(f"{self.world_size} ranks are not a multiple of {wanted}")
        left = self.world_size // product
        if given not in (1, left):
            raise ValueError(
                f"{name} is {given}, and the other sizes leave {left} of {self.world_size} ranks; leave it out"
            )
        return left

    def _add(self, sizes: dict[str, int]) -> None:
        mesh = init_device_mesh("npu", tuple(sizes.values()), mesh_dim_names=tuple(sizes))
        for name in sizes:
            self.device_mesh_map[name] = mesh
            for pattern, method in _PARTS.items():
                setattr(self, pattern.format(name), functools.partial(getattr(self, method), name))

    def __str__(self) -> str:
        return " ".join(
            f"{name}={self.get_rank(name)}/{self.get_group_size(name)}" for name in self.device_mesh_map
        )

    @property
    def is_initialized(self) -> bool:
        return torch.distributed.is_initialized()

    @property
    def world_size(self) -> int:
        return torch.distributed.get_world_size() if self.is_initialized else 1

    @property
    def local_rank(self) -> int:
        return int(os.environ.get("LOCAL_RANK", "-1"))

    @property
    def global_rank(self) -> int:
        return torch.distributed.get_rank() if self.is_initialized else -1

    @property
    def batches(self) -> int:
        """Ranks with samples of their own."""
        return self.data_parallel_size * self.fully_shard_parallel_size

    @property
    def batch(self) -> int:
        """Which of them this rank is of; ranks of one sequence and of one product have the same samples."""
        return self.get_rank("dp") * self.fully_shard_parallel_size + self.get_rank("fsdp")

    def _mesh(self, mesh_name: str) -> DeviceMesh:
        if mesh_name not in self.device_mesh_map:
            raise RuntimeError(
                f"there is no group {mesh_name!r}; there are {', '.join(self.device_mesh_map)}"
            )
        return self.device_mesh_map[mesh_name]

    def is_group_enable(self, mesh_name: str) -> bool:
        return mesh_name in self.device_mesh_map and self.get_group_size(mesh_name) > 1

    def get_group(self, mesh_name: str) -> Any:
        return self._mesh(mesh_name).get_group(mesh_name)

    def get_group_size(self, mesh_name: str) -> int:
        return int(self._mesh(mesh_name)[mesh_name].size())

    def get_rank(self, mesh_name: str) -> int:
        return int(self._mesh(mesh_name).get_local_rank(mesh_name))

    def get_device_mesh(self, mesh_name: str) -> DeviceMesh:
        return self._mesh(mesh_name)[mesh_name]

    def weights_mesh(self) -> DeviceMesh:
        """Of fully_shard: shards, and replicas if there are any."""
        return self._weights["shard"] if self.data_parallel_size == 1 else self._weights["replicate", "shard"]

    def experts_mesh(self) -> DeviceMesh:
        mesh = self.device_mesh_map["ep"]
        return mesh["efsdp"] if self.expert_data_parallel_size == 1 else mesh["edp", "efsdp"]
