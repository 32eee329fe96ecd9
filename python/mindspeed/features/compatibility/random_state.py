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


def get_state(
    device: int | str | torch.device = -1, clone: bool = False, graph_safe: bool = False
) -> torch.Tensor | torch.Generator:
    """The state of a device's generator, always a copy. With graph_safe, what captured graphs go on to draw from: a
    generator, which shares its state with the device's unless it is to be a clone."""
    generator = _generator(device)
    if not graph_safe:
        return generator.get_state()
    return generator.clone_state() if clone else generator.graphsafe_get_state()


def set_state(
    new_state: torch.Tensor | torch.Generator,
    device: int | str | torch.device = -1,
    graph_safe: bool = False,
) -> None:
    """Go on from a state that get_state returned."""
    generator = _generator(device)
    if graph_safe:
        generator.graphsafe_set_state(new_state)
    else:
        generator.set_state(new_state)


FEATURE = Feature(
    name="random-state",
    level=Level.COMPATIBILITY,
    patches=(
        Patch("megatron.core.tensor_parallel.random:_get_cuda_rng_state", get_state),
        Patch("megatron.core.tensor_parallel.random:_set_cuda_rng_state", set_state),
    ),
)
