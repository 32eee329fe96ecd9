# SPDX-License-Identifier: Apache-2.0
"""Where the shards of PyTorch's fully_shard lie in Megatron's distributed checkpoints.

Megatron places a shard as if all data-parallel ranks shared the first axis of what a layer saves. That is not so for groups of ranks
with copies, for experts, whose copies it numbers among their own ranks and whose weights it turns around, and for gated layers,
whose two halves are saved one after the other. So layers are asked what they would save of whole parameters, on the meta device:
what they cut and turn are views, and strides tell where each element of the parameter goes. A shard is a run of these elements,
and becomes the blocks of the checkpoint that lie in it. The checkpoint is that of any other layout of ranks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from mindspeed.adaptor.patching import Patch

Run = tuple[int, int]  # elements of a parameter as they lie in memory: first, and behind the last


@dataclass(frozen=True, slots=True)
class Block:
    """Of a view: the first index and the length along each axis."""

    start: tuple[int, ...]
    size: tuple[int, ...]


def runs_of(rows: int, row: int, ranks: int) -> list[Run]:
    """What each rank has of so many rows of `row` elements: as torch.chunk cuts them."""
    share = -(-rows // ranks)
    return [(min(rank * share, rows) * row, min((rank + 1) * share, rows) * row) for rank in range(ranks)]


def blocks_in(view: torch.Tensor, run: Run) -> list[Block]:
    """The parts of a view of a parameter that lie in a run of it, none twice. Axes come in any order, and nothing overlaps."""
    order = sorted(range(view.ndim), key=lambda axis: (-view.stride(axis), view.shape[axis]))
    start, size = [0] * view.ndim, list(view.shape)

    def inside(depth: int, first: int) -> Iterator[Block]:
        last = first + sum((size[axis] - 1) * view.stride(axis) for axis in order[depth:])
        if last < run[0] or first >= run[1]:
            return
        if run[0] <= first and last < run[1]:
            yield Block(tuple(start), tuple(size))
            return
        yield from _along(order[depth], depth, first)

    def _along(axis: int, depth: int, first: int) -> Iterator[Block]:
        """Whole indices of an axis together; those that the run cuts, each by the axes that are left."""
        step, length = view.stride(axis), size[axis]
        extent = sum((size[other] - 1) * view.stride(other) for other in order[depth + 1 :])
        whole = range(
            min(max(-(-(run[0] - first) // step), 0), length),
            min(max((run[1] - 1 - extent - first) // step + 1, 0), length),
        )
        cut = [index for index in (whole.start - 1, whole.stop) if 0 <= index < length]
        if whole.start > whole.stop:  # none is whole
            whole, cut = range(0), [index for index in range(whole.stop, whole.start) if index < length]
        if len(whole):
            start[axis], size[axis] = whole.start, len(whole)
            yield Block(tuple(start), tuple(size))
        for index in sorted(set(cut)):
            start[axis], size[axis] = index, 1
            yield from inside(depth + 1, first + index * step)
        start[axis], size[axis] = 0, length

    return [] if 0 in view.shape else list(inside(0, view.storage_offset()))


def grid_of(view: torch.Tensor, runs: list[Run]) -> tuple[int, ...]:
    """The largest block that all ranks' parts can be cut into: Megatron's checkpoints are of equal ones."""
    found = [block for run in runs for block in blocks_in(view, run)]
    return tuple(
        functools.reduce(
            math.gcd, (n for block in found for n in (block.start[axis], block.size[axis])), length
        )
        for axis, length in enumerate(view.shape)
    )


def cut(block: Block, grid: tuple[int, ...]) -> Iterator[Block]:
    counts = [length // part for length, part in zip(block.size, grid, strict=True)]
    for index in torch.cartesian_prod(*map(torch.arange, counts)).view(-1, len(grid)).tolist():
        places = zip(block.start, index, grid, strict=True)
        yield Block(tuple(first + number * part for first, number, part in places), grid)


class _ViewsOnly(TorchFunctionMode):
    """What would be copied to lie in order stays a view: it is asked for its strides, and has no values."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return args[0] if function is torch.Tensor.contiguous else function(*args, **kwargs or {})


def _sharded_tensors(state: Any) -> Iterator[Any]:
    """Of what a layer makes of a parameter, in any nesting."""
    from megatron.core.dist_checkpointing.mapping import ShardedTensor

    if isinstance(state, ShardedTensor):
        yield state
    elif isinstance(state, dict | list):
        for value in state.values() if isinstance(state, dict) else state:
            yield from _sharded_tensors(value)


class Shard:
    """One parameter of fully_shard in a checkpoint. `whole`: what Megatron makes of all of it."""

    def __init__(self, tensor: Any, whole: Any) -> None:
        self._shape, self._whole = tensor.shape, whole
        mesh = tensor.device_mesh
        ranks = mesh["shard"].size() if mesh.ndim > 1 else mesh.size()
        self._copy = mesh.get_local_rank("replicate") if mesh.ndim > 1 else 0
        self._runs = runs_of(tensor.shape[0], math.prod(tensor.shape[1:]), ranks)
        self._run = self._runs[mesh.get_local_rank("shard") if mesh.ndim > 1 else mesh.get_local_rank()]

    def _made(self, key: str, dtype: torch.dtype) -> list[Any]:
        """Megatron's own places, of a whole parameter or of a state of it."""
        unreal = torch.empty(self._shape, dtype=dtype, device="meta")
        if hasattr(self._whole, "build_fn"):
            with _ViewsOnly():
                state = self._whole.build_fn(key, unreal, self._whole.replica_id, None)
            return list(_sharded_tensors(state))
        return [replace(self._whole, key=key, data=unreal, dtype=dtype)]

    def build(self, key: str, part: torch.Tensor, *_: Any) -> dict[str, Any]:
        """The blocks of this rank's part, views of it."""
        from megatron.core.dist_checkpointing.mapping import LocalNonpersistentObject

        flat, blocks = part.detach().view(-1), []
        for whole in self._made(key, part.dtype):
            view = whole.data
            grid = grid_of(view, self._runs)
            for block in (piece for found in blocks_in(view, self._run) for piece in cut(found, grid)):
                offset = view.storage_offset() - self._run[0]
                offset += sum(at * step for at, step in zip(block.start, view.stride(), strict=True))
                blocks.append(self._placed(whole, block, flat.as_strided(block.size, view.stride(), offset)))
        views = [block.data for block in blocks]
        return {
            "blocks": blocks,
            "views": LocalNonpersistentObject(views),
            "part": LocalNonpersistentObject(part),
        }

    def _placed(self, whole: Any, block: Block, data: torch.Tensor) -> Any:
        first = whole.prepend_axis_num
        starts, sizes = (0,) * first + block.start, (1,) * first + block.size
        lengths = (1,) * first + tuple(whole.local_shape)
        return replace(
            whole,
            data=data,
            local_shape=block.size,
            global_offset=tuple(a + b for a, b in zip(whole.global_offset, starts, strict=True)),
            axis_fragmentations=tuple(
                number * length // size
                for number, length, size in zip(whole.axis_fragmentations, lengths, sizes, strict=True)
            ),
            replica_id=self._replica(whole),
        )

    def _replica(self, whole: Any) -> tuple[int, int, int]:
        """Its number among the ranks with the same. Experts that are cut less than other layers are so often there."""
        from megatron.core import parallel_state

        others = 0
        if ".experts." in whole.key and torch.distributed.is_initialized():
            rank = parallel_state.get_tensor_model_parallel_rank()
            others = rank - rank % parallel_state.get_expert_tensor_parallel_world_size()
        return (whole.replica_id[0], whole.replica_id[1] + others, self._copy)

    @staticmethod
    def merge(state: dict[str, Any]) -> torch.Tensor:
        """What was read goes into the part that asked for it, where it is not there yet."""
        for view, found in zip(state["views"], state.get("blocks", ()), strict=True):
            if found is not view:
                view.copy_(found)
        part: torch.Tensor = state["part"]
        return part


_MARK = "_mindspeed_shard"  # of a tensor without values: the parameter that it stands for
_telling: list[Any] = []  # models that are being asked for their state, in this process


def as_whole(make: Callable[..., Any]) -> Callable[..., Any]:
    """make_[tp_]sharded_tensor_for_checkpoint, while a model of fully_shard is asked."""

    @functools.wraps(make)
    def made(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        if not _telling or not _is_shard(tensor):
            return make(tensor, *args, **kwargs)
        unreal = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
        setattr(unreal, _MARK, tensor)
        return make(unreal, *args, **kwargs)

    return made


def _is_shard(tensor: Any) -> bool:
    return hasattr(tensor, "device_mesh") and hasattr(tensor, "_local_tensor")


def _placed(entry: Any) -> Any:
    data = getattr(entry, "data", None)
    tensor = data if _is_shard(data) else getattr(data, _MARK, None)
    if tensor is None:
        return entry
    from megatron.core.dist_checkpointing.mapping import ShardedTensorFactory

    shard = Shard(tensor, entry)
    # The optimizer finds a parameter by the identity of its part.
    return ShardedTensorFactory(entry.key, tensor._local_tensor, shard.build, shard.merge, entry.replica_id)


def _state_of(model: Any, *args: Any, **kwargs: Any) -> Any:
    from megatron.core.dist_checkpointing.dict_utils import dict_list_map_inplace

    _telling.append(model)
    try:
        state = type(model).sharded_state_dict(model, *args, **kwargs)
    finally:
        _telling.pop()
    return dict_list_map_inplace(_placed, state)


def tell(model: Any) -> None:
    """From now on the model, and what it wraps, tells where its shards lie."""
    while isinstance(model, torch.nn.Module):
        if hasattr(type(model), "sharded_state_dict"):
            model.sharded_state_dict = functools.partial(_state_of, model)
        model = getattr(model, "module", None)


def the_very_part(to_local: Callable[..., Any]) -> Callable[..., Any]:
    """to_local_if_dtensor: checkpoints find parameters of an optimizer by the identity of their shards, and PyTorch 2.13 makes
    views of these."""

    @functools.wraps(to_local)
    def part(tensor: Any) -> Any:
        return getattr(tensor, "_local_tensor", tensor)

    return part


PATCHES = (
    Patch("megatron.core.utils:make_sharded_tensor_for_checkpoint", as_whole, wraps=True),
    Patch("megatron.core.utils:make_tp_sharded_tensor_for_checkpoint", as_whole, wraps=True),
    Patch("megatron.core.utils:to_local_if_dtensor", the_very_part, wraps=True),
)
