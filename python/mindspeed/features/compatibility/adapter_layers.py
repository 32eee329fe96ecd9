# SPDX-License-Identifier: Apache-2.0
"""Adapters (LoRA) of mcore-bridge, which ms-swift trains by, take Megatron's layers for those of Transformer Engine.

Where it finds an NPU it takes them for the original's: it asks a layer for its norm by a name of theirs, and expects no
output of the norm though it has asked for it. Layers here are Megatron's over the stand-in, on devices of both kinds.
"""

from __future__ import annotations

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch


def are_of_the_original() -> bool:
    """What mcore-bridge asks as is_torch_npu_available."""
    return False


FEATURE = Feature(
    name="adapter-layers",
    level=Level.COMPATIBILITY,
    patches=(
        Patch(
            "mcore_bridge.tuners.lora:is_torch_npu_available", are_of_the_original, requires="mcore_bridge"
        ),
    ),
)
