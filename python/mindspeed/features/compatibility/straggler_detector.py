# SPDX-License-Identifier: Apache-2.0
"""Megatron's search for the slowest rank (--log-straggler): its flag travels by HCCL, and an NPU without sensors reads as 0.

Megatron puts the flag on the device for NCCL alone and on the host for every other backend, where HCCL takes nothing. It also asks
for the temperature, power and clock of the device by a library for NVIDIA's; torch.npu has none of these functions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from mindspeed.adaptor import Feature, Level, Patch


def on_device(configure: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(configure)
    def configure_on_device(self: Any, *args: Any, **kwargs: Any) -> None:
        configure(self, *args, **kwargs)
        if torch.distributed.get_backend() == "hccl":
            self.dev = torch.npu.current_device()

    return configure_on_device


def no_sensor(device: Any = None) -> int:
    """What torch.npu.utilization says too of a device that does not tell."""
    return 0


FEATURE = Feature(
    name="straggler-detector",
    level=Level.COMPATIBILITY,
    patches=(
        Patch("megatron.core.utils:StragglerDetector.configure", on_device, wraps=True),
        Patch("torch.cuda:temperature", no_sensor),
        Patch("torch.cuda:power_draw", no_sensor),
        Patch("torch.cuda:clock_rate", no_sensor),
    ),
)
