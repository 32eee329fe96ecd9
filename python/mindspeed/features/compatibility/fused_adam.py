# SPDX-License-Identifier: Apache-2.0
"""Megatron's Adam is one operator per parameter instead of Apex's CUDA extension.

Without Apex, Megatron falls back to torch.optim.AdamW; its distributed optimizer then cannot load a checkpoint,
because it looks for a step in states that do not exist before the first update.
"""

from __future__ import annotations

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch
from mindspeed.ops.fused_adam import FusedAdam

FEATURE = Feature(
    name="fused-adam",
    level=Level.COMPATIBILITY,
    patches=(
        Patch("megatron.core.optimizer:Adam", FusedAdam),
        Patch("megatron.core.optimizer.distrib_optimizer:Adam", FusedAdam),
        # What Megatron concludes from this: the step is kept in the parameter group.
        Patch("megatron.core.optimizer.distrib_optimizer:HAVE_APEX_OR_TE", True),
    ),
)
