# SPDX-License-Identifier: Apache-2.0
"""Megatron's random number streams (one per parallel group) are those of the NPU's generator.

Megatron sets a state through private functions of torch.cuda, which put the call off until CUDA is initialised:
on an NPU that is never.
"""

from __future__ import annotations

import torch

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch


def _generator(device: int | str | torch.device) -> torch.Generator:
    index = torch.device(device).index if isinstance(device, (str, torch.device)) else device
    if index is None or index < 0:
        index = torch.npu.current_device()
    torch.npu.init()  # the generators exist only then
    return torch.npu.default_generators[index]


def _check(graph_safe: bool) -> None:
    if graph_safe:
        raise NotImplementedError(
            "random states for graph capture (graph_safe=True) are not available on an NPU"
        )


def get_state(
    device: int | str | torch.device = -1, clone: bool = False, graph_safe: bool = False
) -> torch.Tensor:
    """The state of a device's generator; always a copy, whatever `clone` says."""
    _check(graph_safe)
    return _generator(device).get_state()


def set_state(
    new_state: torch.Tensor, device: int | str | torch.device = -1, graph_safe: bool = False
) -> None:
    """Go on from a state that get_state returned."""
    _check(graph_safe)
    _generator(device).set_state(new_state)


FEATURE = Feature(
    name="random-state",
    level=Level.COMPATIBILITY,
    patches=(
        Patch("megatron.core.tensor_parallel.random:_get_cuda_rng_state", get_state),
        Patch("megatron.core.tensor_parallel.random:_set_cuda_rng_state", set_state),
    ),
)
