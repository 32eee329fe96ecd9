# SPDX-License-Identifier: Apache-2.0
"""Questions for a CUDA compute capability are answered as by a GPU with bfloat16 and without fp8: (8, 0).

torch_npu answers None with a warning, which neither PyTorch's own code nor Megatron's arguments expect. Its own
switch, TORCH_NPU_DEVICE_CAPABILITY, is obeyed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch

CAPABILITY = (8, 0)
SWITCH = "TORCH_NPU_DEVICE_CAPABILITY"


def answer(get_device_capability: Callable[..., Any]) -> Callable[..., tuple[int, int]]:
    """An NPU has no such number unless the user names one."""

    def capability(device: Any = None) -> tuple[int, int]:
        found: tuple[int, int] | None = get_device_capability(device) if os.environ.get(SWITCH) else None
        return CAPABILITY if found is None else found

    return capability


def get_device_arch_version() -> int:
    """What Megatron-LM calls the first number."""
    return CAPABILITY[0]


FEATURE = Feature(
    name="device-capability",
    level=Level.COMPATIBILITY,
    patches=(
        Patch("torch.cuda:get_device_capability", answer, wraps=True),
        # What torch_npu.contrib.transfer_to_npu puts there, if a program imports it.
        Patch("torch_npu.npu:get_device_capability", answer, wraps=True, requires="torch_npu"),
        Patch(
            "megatron.training.utils:get_device_arch_version",
            get_device_arch_version,
            requires="megatron.training",
        ),
    ),
)
