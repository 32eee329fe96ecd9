# SPDX-License-Identifier: Apache-2.0
"""Linear layers of which each rank has some columns or rows, by PyTorch's parallelize_module."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.distributed import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_module
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    parallelize_module,
)

from mindspeed.fsdp.parallel_engine_config import TPPlanConfig
from mindspeed.fsdp.utils.modules import matching

__all__ = ["tensor_parallel_modules"]


class _OnParts(ParallelStyle):
    """A norm with the same weights on every rank and a part of the tensor: gradients of its weights are summed.

    heads: what comes in is the rank's part already, [batch, sequence, heads, dimension]. Otherwise what comes in and goes
    out is whole, and ranks compute parts of the sequence in between.
    """

    def __init__(self, *, heads: bool) -> None:
        self.heads = heads

    def _enter(self, module: nn.Module, inputs: Any, mesh: DeviceMesh) -> Any:
        x, *others = inputs
        if self.heads:
            return DTensor.from_local(x, mesh, [Shard(2)], run_check=False), *others
        whole = DTensor.from_local(x, mesh, [Replicate()], run_check=False)
        return whole.redistribute(placements=[Shard(1)]), *others

    def _leave(self, module: nn.Module, output: DTensor, mesh: DeviceMesh) -> Tensor:
        if self.heads:
            return output.to_local()
        return output.redistribute(placements=[Replicate()]).to_local()

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        return distribute_module(module, device_mesh, None, self._enter, self._leave)


def tensor_parallel_modules(model: nn.Module, tp_mesh: DeviceMesh, tp_plan: TPPlanConfig) -> nn.Module:
    styles: dict[str, ParallelStyle] = {}
    for place, make in (("colwise_parallel", ColwiseParallel), ("rowwise_parallel", RowwiseParallel)):
        for name, module in matching(f"tp_plan.{place}", model, getattr(tp_plan, place) or ()).items():
            if name in styles:
                raise ValueError(
                    f"tp_plan: {name} is both colwise_parallel and rowwise_parallel; it can be one"
                )
            _check(place, name, module, tp_mesh.size())
            styles[name] = make()
    norms = _norms_of_heads(model, styles)
    styles |= {name: _OnParts(heads=True) for name in norms}
    for name in matching("tp_plan.sequence_parallel", model, tp_plan.sequence_parallel or ()):
        if isinstance(styles.get(name), (ColwiseParallel, RowwiseParallel)):
            raise ValueError(
                f"tp_plan: {name} is sequence_parallel, and colwise or rowwise as well; it can be one"
            )
        styles.setdefault(name, _OnParts(heads=False))
    _check_heads(model, styles, tp_mesh.size())
    return parallelize_module(model, tp_mesh, styles)


def _check(place: str, name: str, module: nn.Module, size: int) -> None:
    if not isinstance(module, (nn.Linear, nn.Embedding)):
        raise TypeError(
            f"tp_plan.{place}: {name} is a {type(module).__name__}, and only Linear and Embedding can be shared"
        )
    dimension = 0 if (place == "colwise_parallel") == isinstance(module, nn.Linear) else 1
    length = module.weight.shape[dimension]
    if length % size:
        raise ValueError(f"tp_plan.{place}: {name} has {length} of what {size} ranks are to share")


def _norms_of_heads(model: nn.Module, styles: dict[str, ParallelStyle]) -> set[str]:
    """Between a layer of which ranks have columns and their use: norms of the dimension of a head, as Qwen3 has them.
    They see the rank's heads only, so ranks have different gradients of their weights."""
    found = set()
    for name, style in styles.items():
        if not isinstance(style, ColwiseParallel):
            continue
        above = name.rpartition(".")[0]
        parent = model.get_submodule(above)
        dimension = getattr(parent, "head_dim", None)
        for child, module in parent.named_children():
            shapes = {tuple(weight.shape) for weight in module.parameters()}
            if dimension is not None and shapes == {(dimension,)}:
                found.add(f"{above}.{child}")
    return found


def _check_heads(model: nn.Module, styles: dict[str, ParallelStyle], size: int) -> None:
    for name, style in styles.items():
        parent = model.get_submodule(name.rpartition(".")[0])
        dimension = getattr(parent, "head_dim", None)
        if not isinstance(style, ColwiseParallel) or not isinstance(dimension, int):
            continue
        heads, rest = divmod(model.get_submodule(name).weight.shape[0], dimension)
        if not rest and heads % size:
            raise ValueError(
                f"tp_plan.colwise_parallel: {name} has {heads} heads, and {size} ranks are to share them"
            )
