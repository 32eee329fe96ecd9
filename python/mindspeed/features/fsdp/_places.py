# SPDX-License-Identifier: Apache-2.0
"""Where a shard lies in a checkpoint, when groups of ranks hold the same shards.

Megatron takes it that all data-parallel ranks share a parameter, so with groups it would write each shard once for every group, one
after the other, as parts of a parameter that is that many times too large. A shard's place is its rank's within the group;
shards of the first group are written, those of others are copies.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from mindspeed.adaptor import Patch


def _copies(make: Callable[..., Any], mesh: Any, *args: Any, **kwargs: Any) -> Any:
    made = make(*args, **kwargs)
    made.replica_id = (*made.replica_id[:2], mesh.get_local_rank("replicate"))
    return made


@contextlib.contextmanager
def _as_if_alone(mesh: Any) -> Iterator[None]:
    """Megatron's number of data-parallel ranks, and this one's, within its group."""
    from megatron.core import parallel_state

    ours = {
        "_MPU_DATA_PARALLEL_RANK": mesh.get_local_rank("shard"),
        "_MPU_DATA_PARALLEL_WORLD_SIZE": mesh["shard"].size(),
    }
    before = {name: getattr(parallel_state, name) for name in ours}
    try:
        for name, value in ours.items():
            setattr(parallel_state, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(parallel_state, name, value)


def _mesh_of_groups(tensor: Any) -> Any:
    mesh = getattr(tensor, "device_mesh", None)
    return mesh if mesh is not None and mesh.ndim > 1 else None


def by_numbers(make: Callable[..., Any]) -> Callable[..., Any]:
    """make_[tp_]sharded_tensor_for_checkpoint, which asks for the ranks."""

    @functools.wraps(make)
    def made(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        mesh = _mesh_of_groups(tensor)
        if mesh is None:
            return make(tensor, *args, **kwargs)
        with _as_if_alone(mesh):
            return _copies(make, mesh, tensor, *args, **kwargs)

    return made


def by_group(make: Callable[..., Any]) -> Callable[..., Any]:
    """The same from 0.16 on, which is given the group of ranks."""

    @functools.wraps(make)
    def made(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        mesh = _mesh_of_groups(tensor)
        if mesh is None:
            return make(tensor, *args, **kwargs)
        from megatron.core import parallel_state

        groups = {
            "tp_group": kwargs.get("tp_group") or parallel_state.get_tensor_model_parallel_group(),
            "dp_cp_group": mesh.get_group("shard"),
        }
        return _copies(make, mesh, tensor, *args, **kwargs | groups)

    return made


def _patches() -> Iterator[Patch]:
    for kind in ("", "tp_"):
        target = f"megatron.core.utils:make_{kind}sharded_tensor_for_checkpoint"
        yield Patch(target, by_numbers, wraps=True, until="0.16.0")
        yield Patch(target, by_group, wraps=True, since="0.16.0")


PATCHES = tuple(_patches())
