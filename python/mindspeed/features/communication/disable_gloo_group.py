# SPDX-License-Identifier: Apache-2.0
"""No Gloo groups: the distributed optimizer's state is gathered and scattered over HCCL, in slices, to save and to load it.

Gloo connects every rank with every other one over TCP, which is slow to begin and fails on large clusters. Megatron uses it to
bring the state, in host memory, to the first rank. Here the same calls move slices of it through the devices.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from mindspeed.adaptor import Feature, Flag, Level, Patch
from mindspeed.adaptor.session import current_arguments

_STATE = "megatron.core.parallel_state:initialize_model_parallel"
_OPTIMIZER = "megatron.core.optimizer:get_megatron_optimizer"
_DISTRIBUTED = "megatron.core.optimizer.distrib_optimizer:DistributedOptimizer.__init__"


def without(keyword: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A function of Megatron whose argument of that name asks for groups of Gloo."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            bound = inspect.signature(function).bind(*args, **kwargs)
            bound.arguments[keyword] = False
            return function(*bound.args, **bound.kwargs)

        return called

    return wrap


def by_device(initialize: Callable[..., None]) -> Callable[..., None]:
    """The optimizer asks the group of Gloo for its ranks, and gives it to gather and scatter."""

    @functools.wraps(initialize)
    def with_group(self: Any, *args: Any, **kwargs: Any) -> None:
        initialize(self, *args, **kwargs)
        if getattr(self, "data_parallel_group_gloo", None) is None:
            self.data_parallel_group_gloo = getattr(self, "data_parallel_group", None)

    return with_group


def _is_foreign(tensor: Tensor, group: Any) -> bool:
    """A tensor of the host, and a group that moves those of the device alone."""
    return tensor.device.type == "cpu" and torch.distributed.get_backend(group) == "hccl"


def _slices(length: int) -> Iterator[slice]:
    size = current_arguments().hccl_slice_size
    for begin in range(0, length, size):
        yield slice(begin, min(begin + size, length))


def gathering(gather: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(gather)
    def through_device(
        tensor: Tensor,
        gather_list: Any = None,
        dst: Any = None,
        group: Any = None,
        async_op: bool = False,
        **more: Any,
    ) -> Any:
        if async_op or more or not _is_foreign(tensor, group):
            return gather(tensor, gather_list, dst, group, async_op, **more)
        mine = tensor.reshape(-1)
        parts = [part.view(-1) for part in gather_list] if gather_list else None
        for cut in _slices(mine.numel()):
            sent = mine[cut].npu()
            received = [torch.empty_like(sent) for _ in parts] if parts else None
            gather(sent, received, dst, group)
            for part, arrived in zip(parts or (), received or (), strict=True):
                part[cut].copy_(arrived)
        return None

    return through_device


def scattering(scatter: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(scatter)
    def through_device(
        tensor: Tensor,
        scatter_list: Any = None,
        src: Any = None,
        group: Any = None,
        async_op: bool = False,
        **more: Any,
    ) -> Any:
        if async_op or more or not _is_foreign(tensor, group):
            return scatter(tensor, scatter_list, src, group, async_op, **more)
        mine = tensor.view(-1)
        parts = [part.reshape(-1) for part in scatter_list] if scatter_list else None
        for cut in _slices(mine.numel()):
            received = torch.empty_like(mine[cut], device="npu")
            scatter(received, [part[cut].npu() for part in parts] if parts else None, src, group)
            mine[cut].copy_(received)
        return None

    return through_device


@contextlib.contextmanager
def over_devices() -> Iterator[None]:
    """torch.distributed's gather and scatter take tensors of the host for groups of the device, for as long."""
    names = {"gather": gathering, "scatter": scattering}
    kept = {name: getattr(torch.distributed, name) for name in names}
    for name, through_device in names.items():
        setattr(torch.distributed, name, through_device(kept[name]))
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(torch.distributed, name, function)


def check(args: Any) -> Iterator[str]:
    if args.hccl_slice_size <= 0:
        yield f"--hccl-slice-size is {args.hccl_slice_size}: wanted a number of values above 0"
    for flag in ("use_custom_fsdp", "use_megatron_fsdp"):
        if getattr(args, flag, False):
            yield f"--{flag.replace('_', '-')} asks Megatron for groups of Gloo; leave one of the two out"


FEATURE = Feature(
    name="disable-gloo-group",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--disable-gloo-group",
            "Save and load the distributed optimizer's state over HCCL, and make no groups of Gloo.",
            in_config=False,
        ),
        Flag(
            "--hccl-slice-size",
            "Values that are moved at a time; a rank needs 4 bytes x (2 x ranks + 1) for each.",
            type=int,
            default=10 * 1024 * 1024,
            metavar="VALUES",
            in_config=False,
        ),
    ),
    check=check,
    patches=(
        Patch(_STATE, without("create_gloo_process_groups"), wraps=True),
        Patch(_OPTIMIZER, without("use_gloo_process_groups"), wraps=True),
        Patch(_DISTRIBUTED, by_device, wraps=True),
        Patch("torch.distributed:gather", gathering, wraps=True),
        Patch("torch.distributed:scatter", scattering, wraps=True),
    ),
)
