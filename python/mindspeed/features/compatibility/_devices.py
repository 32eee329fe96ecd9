# SPDX-License-Identifier: Apache-2.0
"""Translate CUDA devices in arguments: 'cuda:1' and torch.device('cuda', 1) become the NPU of that index.

torch.device itself is left alone, it is a C type that code compares and pickles; a device object made for
CUDA is translated where it is used. Integers need nothing: torch reads them as an index of its accelerator.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch

Function = Callable[..., Any]

KEYWORDS = ("device", "device_type", "map_location", "device_id", "device_ids", "pin_memory_device")
# Not __module__: patching tells by it which objects are ours.
_ASSIGNED = tuple(name for name in functools.WRAPPER_ASSIGNMENTS if name != "__module__")
# torch.jit keeps builtins by id(): a wrapper must live as long as the process.
_immortal: list[Function] = []


def npu_device(device: Any) -> Any:
    """The same place on an NPU; what names no CUDA device comes back as it is."""
    kind = type(device)
    if kind is str:
        return f"npu{device[4:]}" if device.startswith("cuda") else device
    if kind is torch.device:
        if device.type != "cuda":
            return device
        return torch.device("npu") if device.index is None else torch.device("npu", device.index)
    if kind is dict:  # map_location
        return {npu_device(key): npu_device(value) for key, value in device.items()}
    if kind is list:  # device_ids
        return [npu_device(item) for item in device]
    return device


def by_keyword(function: Function) -> Function:
    """For functions whose only device is the keyword argument `device`, the constructors of tensors."""

    @functools.wraps(function, assigned=_ASSIGNED)
    def call(*args: Any, **kwargs: Any) -> Any:
        device = kwargs.get("device")
        if device is not None:
            kwargs["device"] = npu_device(device)
        return function(*args, **kwargs)

    _let_jit_know(function, call)
    return call


def anywhere(function: Function) -> Function:
    """For functions that also take a device by position."""

    @functools.wraps(function, assigned=_ASSIGNED)
    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            for name in KEYWORDS:
                if name in kwargs:
                    kwargs[name] = npu_device(kwargs[name])
        return function(*[npu_device(a) if type(a) in (str, torch.device) else a for a in args], **kwargs)

    _let_jit_know(function, call)
    return call


def takes_arguments(function: Function) -> bool:
    try:
        return bool(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # builtins
        return True


def _let_jit_know(function: Function, wrapper: Function) -> None:
    """torch.jit.script compiles a Python function it meets, but knows builtins by identity."""
    from torch.jit import _builtins

    operator = _builtins._find_builtin(function)
    if operator is not None:
        _builtins._register_builtin(wrapper, operator)
        _immortal.append(wrapper)
