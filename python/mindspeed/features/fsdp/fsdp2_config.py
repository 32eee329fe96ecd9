# SPDX-License-Identifier: Apache-2.0
"""A file sets how PyTorch's FSDP shards a model of Megatron: units, precision, prefetching, recomputation.

Megatron's wrapper runs as it is; its calls of fully_shard get what the file says as well.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from mindspeed.adaptor import Feature, Flag, Level, Need, Patch
from mindspeed.adaptor.session import current_arguments
from mindspeed.features.fsdp._settings import DTYPES, Settings, classes, problems, read

WRAPPER = "megatron.core.distributed.torch_fully_sharded_data_parallel"


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """What a run gave, and by which flag."""

    flag: str
    settings: Settings
    ignored: tuple[str, ...] = ()  # attributes of the model


class Sharding:
    """One model that is being wrapped: what fully_shard gets, and the units in their order."""

    now: ClassVar[Sharding | None] = None

    def __init__(self, file: File, model: torch.nn.Module, group: Any) -> None:
        self._file, self._settings, self._model, self._group = file, file.settings, model, group
        self._mesh: Any = None
        self.units: list[Any] = []

    @contextmanager
    def going_on(self) -> Iterator[Sharding]:
        before, Sharding.now = Sharding.now, self
        try:
            yield self
        finally:
            Sharding.now = before

    def mesh(self) -> Any:
        """Shards in groups of sharding_size ranks and replicas across them; None: shards over all."""
        size, ranks = self._settings.sharding_size, torch.distributed.get_process_group_ranks(self._group)
        if size is None or size == len(ranks):
            return None
        if len(ranks) % size:
            raise ValueError(
                f"{self._file.flag}: shards are of {size} ranks, wanted a divisor of the {len(ranks)} data-parallel ranks"
            )
        if self._mesh is None:
            # All ranks make all groups, in one order: those of other parts of tensor-parallel products too.
            found: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(found, tuple(ranks))
            parts = torch.tensor(sorted(set(found))).view(-1, len(ranks) // size, size)
            names = ("part", "replicate", "shard")
            self._mesh = torch.distributed.DeviceMesh("npu", parts, mesh_dim_names=names)[
                "replicate", "shard"
            ]
        return self._mesh

    def options(self) -> dict[str, Any]:
        from torch.distributed.fsdp import MixedPrecisionPolicy

        given = self._settings
        types = {
            name: DTYPES[getattr(given, name)]
            for name in ("param_dtype", "reduce_dtype", "output_dtype")
            if getattr(given, name) is not None
        }
        found: dict[str, Any] = {
            "reshard_after_forward": given.reshard_after_forward,
            "mp_policy": MixedPrecisionPolicy(cast_forward_inputs=given.cast_forward_inputs, **types),
        }
        if (mesh := self.mesh()) is not None:
            found["mesh"] = mesh
        if ignored := self.ignored():
            found["ignored_params"] = ignored
        return found

    def ignored(self) -> set[torch.nn.Parameter]:
        found = set(self._parameters_of(classes(self._settings.ignored_modules or ())))
        found.update(*(self._attribute(name).parameters() for name in self._file.ignored))
        return found

    def _attribute(self, name: str) -> torch.nn.Module:
        """Of the model, which may be in a module that converts what goes in and out."""
        model = self._model
        while not hasattr(model, name) and isinstance(getattr(model, "module", None), torch.nn.Module):
            model = model.module
        found = getattr(model, name, None)
        if not isinstance(found, torch.nn.Module):
            raise ValueError(
                f"{self._file.flag}: ignored_modules names {name}, and the model has no such module"
            )
        return found

    def _parameters_of(self, kinds: tuple[type[torch.nn.Module], ...]) -> Iterator[torch.nn.Parameter]:
        for module in self._model.modules():
            if isinstance(module, kinds):
                yield from module.parameters()

    def recompute(self) -> None:
        """Modules that compute again what they keep: FSDP's hooks are around it, so parameters are whole both times."""
        for module in self._model.modules():
            if isinstance(module, classes(self._settings.recompute_modules or ())):
                module.forward = recomputed(module.forward)

    def prefetch(self) -> None:
        """While a unit computes forward, parameters of the next ones are gathered. The model itself is the last unit."""
        ahead, units = self._settings.num_to_forward_prefetch, self.units[:-1]
        for place, unit in enumerate(units if ahead else []):
            unit.set_modules_to_forward_prefetch(units[place + 1 : place + 1 + ahead])


def recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Megatron's checkpoint, which knows its random streams. It sees tensors that are given by place, so all are."""

    @functools.wraps(forward)
    def computed_again(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        from megatron.core import tensor_parallel

        names = [name for name, value in kwargs.items() if isinstance(value, torch.Tensor)]
        others = {name: value for name, value in kwargs.items() if name not in names}

        def call(*values: Any) -> Any:
            named = dict(zip(names, values[len(args) :], strict=True))
            return forward(*values[: len(args)], **named, **others)

        return tensor_parallel.checkpoint(call, False, *args, *(kwargs[name] for name in names))

    return computed_again


def as_the_file_says(file: Callable[[], File]) -> Callable[..., Any]:
    """TorchFullyShardedDataParallel.__init__"""

    def wrapping(init: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(init)
        def set_up(
            self: Any, config: Any, ddp_config: Any, module: torch.nn.Module, *args: Any, **kwargs: Any
        ) -> None:
            from megatron.core import parallel_state

            group = kwargs.get("process_group") or parallel_state.get_data_parallel_group(
                with_context_parallel=True
            )
            given = file()
            if given.settings.sub_modules_to_wrap is not None:
                kwargs["sub_modules_to_wrap"] = set(classes(given.settings.sub_modules_to_wrap))
            with Sharding(given, module, group).going_on() as sharding:
                sharding.recompute()
                init(self, config, ddp_config, module, *args, **kwargs)
            sharding.prefetch()
            self.device_mesh = sharding.mesh() or self.device_mesh

        return set_up

    return wrapping


def sharding(fully_shard: Callable[..., Any]) -> Callable[..., Any]:
    """As Megatron's wrapper calls it, for each unit and last for the whole model."""

    @functools.wraps(fully_shard)
    def shard(module: Any, **kwargs: Any) -> Any:
        going_on = Sharding.now
        if going_on is None:
            return fully_shard(module, **kwargs)
        result = fully_shard(module, **kwargs | going_on.options())
        going_on.units.append(module)
        return result

    return shard


def of_shards(group_of: Callable[..., Any]) -> Callable[..., Any]:
    """get_data_parallel_group_if_dtensor: norms are summed over shards, of which replicas have the same."""

    @functools.wraps(group_of)
    def group_of_shards(tensor: Any, data_parallel_group: Any = None) -> Any:
        mesh = getattr(tensor, "device_mesh", None)
        if mesh is None or mesh.ndim == 1:
            return group_of(tensor, data_parallel_group)
        return mesh.get_group("shard")

    return group_of_shards


def of_the_flag() -> File:
    return File(flag="--fsdp2-config-path", settings=read(current_arguments().fsdp2_config_path))


def patches_of(file: Callable[[], File]) -> tuple[Patch, ...]:
    return (
        Patch(f"{WRAPPER}:TorchFullyShardedDataParallel.__init__", as_the_file_says(file), wraps=True),
        Patch(f"{WRAPPER}:fully_shard", sharding, wraps=True),
        Patch("megatron.core.utils:get_data_parallel_group_if_dtensor", of_shards, wraps=True),
    )


def check(args: Any) -> Iterable[str]:
    found = list(problems(args.fsdp2_config_path))
    yield from (f"--fsdp2-config-path {problem}" for problem in found)
    recomputes = not found and read(args.fsdp2_config_path).recompute_modules
    if recomputes and getattr(args, "recompute_granularity", None) is not None:
        yield (
            f"--fsdp2-config-path {args.fsdp2_config_path} has recompute_modules, and --recompute-granularity "
            f"{args.recompute_granularity} recomputes as well; leave one of the two out"
        )


FEATURE = Feature(
    name="fsdp2-config",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--fsdp2-config-path",
            "A YAML file with settings of PyTorch's FSDP: units, precision, prefetching, recomputation.",
            type=str,
            metavar="FILE",
        ),
    ),
    needs=(Need(flag="--use-torch-fsdp2", why="it is that which the file sets up"),),
    check=check,
    patches=patches_of(of_the_flag),
)
