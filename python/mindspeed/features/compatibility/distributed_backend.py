# SPDX-License-Identifier: Apache-2.0
"""Process groups asked for with NCCL use HCCL."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch.distributed
import torch.distributed.device_mesh
import torch_npu  # noqa: F401  (adds torch.distributed.is_hccl_available)

from mindspeed.adaptor import Feature, Level, Patch
from mindspeed.features.compatibility._devices import Function, anywhere, npu_device


def hccl_backend(backend: Any) -> Any:
    """'nccl' -> 'hccl', 'cpu:gloo,cuda:nccl' -> 'cpu:gloo,npu:hccl'; other values come back as they are."""
    if not isinstance(backend, str):
        return backend
    return backend.replace("nccl", "hccl").replace("cuda", "npu")


def _with_backend(function: Function) -> Function:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        for name, translate in (("backend", hccl_backend), ("device_id", npu_device)):
            if name in bound.arguments:
                bound.arguments[name] = translate(bound.arguments[name])
        return function(*bound.args, **bound.kwargs)

    return call


FEATURE = Feature(
    name="distributed-backend",
    level=Level.COMPATIBILITY,
    patches=(
        Patch("torch.distributed:init_process_group", _with_backend, wraps=True),
        Patch("torch.distributed.distributed_c10d:init_process_group", _with_backend, wraps=True),
        Patch("torch.distributed:new_group", _with_backend, wraps=True),
        Patch("torch.distributed.distributed_c10d:new_group", _with_backend, wraps=True),
        Patch("torch.distributed:is_nccl_available", torch.distributed.is_hccl_available),
        Patch("torch.distributed:init_device_mesh", anywhere, wraps=True),
        Patch("torch.distributed.device_mesh:init_device_mesh", anywhere, wraps=True),
        Patch("torch.distributed.device_mesh:DeviceMesh.__init__", anywhere, wraps=True),
        Patch("torch.distributed.device_mesh:DeviceMesh.from_group", anywhere, wraps=True),
        Patch("torch.distributed:ProcessGroup._get_backend", anywhere, wraps=True),
    ),
)
