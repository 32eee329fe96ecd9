# SPDX-License-Identifier: Apache-2.0
"""PyTorch's own question which kind of device there is (torch._utils) has the answer "npu", not "cuda".

It asks torch.cuda, which says for the NPUs that it is available; the writer of distributed checkpoints then copies to the host
what is on "cuda", and refuses what is left elsewhere.
"""

from __future__ import annotations

from mindspeed.adaptor import Feature, Level, Patch


def npu() -> str:
    return "npu"


FEATURE = Feature(
    name="available-device",
    level=Level.COMPATIBILITY,
    patches=(
        Patch("torch._utils:_get_available_device_type", npu),
        Patch("torch.distributed.checkpoint.filesystem:_get_available_device_type", npu),
    ),
)
