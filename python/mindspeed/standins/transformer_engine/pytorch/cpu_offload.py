# SPDX-License-Identifier: Apache-2.0
"""Activations of some layers wait in the host's memory between forward and backward."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from mindspeed.standins.refusal import RefusedError, missing_attribute

__getattr__ = missing_attribute(__name__)


class _Offload(AbstractContextManager[None]):
    """Layers are counted by the synchronisation function, which Megatron calls after each."""

    def __init__(self, layers: int) -> None:
        self._layers = layers
        self._layer = 0
        self._hooks: Any = None

    @staticmethod
    def _pack(tensor: torch.Tensor) -> Any:
        # Parameters stay: they are there anyway.
        if tensor.device.type == "cpu" or isinstance(tensor, torch.nn.Parameter):
            return tensor
        return tensor.device, tensor.to("cpu")

    @staticmethod
    def _unpack(packed: Any) -> torch.Tensor:
        if isinstance(packed, torch.Tensor):
            return packed
        device, tensor = packed
        return tensor.to(device)

    def __enter__(self) -> None:
        if self._layer < self._layers:
            self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack)
            self._hooks.__enter__()

    def __exit__(self, *exception: Any) -> None:
        hooks, self._hooks = self._hooks, None
        if hooks is not None:
            hooks.__exit__(*exception)

    def synchronise(self, tensor: torch.Tensor) -> torch.Tensor:
        """A layer is done; Megatron gives its output, and takes it back."""
        self._layer += 1
        return tensor

    def restart(self, layers: int) -> None:
        self._layer %= layers


def get_cpu_offload_context(
    enabled: bool = False,
    num_layers: int = 1,
    model_layers: int = 1,
    offload_activations: bool = True,
    offload_weights: bool = False,
    double_buffering: bool = False,
    retain_pinned_cpu_buffers: bool = False,
) -> tuple[AbstractContextManager[None], Callable[[torch.Tensor], torch.Tensor]]:
    """(context around a layer's forward, function to call with its output).

    Whether buffers are doubled or retained is speed alone: offloaded tensors lie in memory of the same host.
    """
    if not enabled:
        return contextlib.nullcontext(), lambda tensor: tensor
    if offload_weights:
        raise RefusedError("offloading of weights", "Set cpu_offloading_weights to False")
    offload = _Offload(num_layers if offload_activations else 0)

    def synchronise(tensor: torch.Tensor) -> torch.Tensor:
        tensor = offload.synchronise(tensor)
        offload.restart(model_layers)
        return tensor

    return offload, synchronise
