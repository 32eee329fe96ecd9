# SPDX-License-Identifier: Apache-2.0
"""The dynamic inference engine of Megatron 0.15 and later writes into its cache of keys and values without Triton.

It takes its kernel in Triton wherever Triton can be imported, which the stand-in can, and writes by indices otherwise.
"""

from __future__ import annotations

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch

FEATURE = Feature(
    name="inference-cache",
    level=Level.COMPATIBILITY,
    patches=(
        Patch(
            "megatron.core.inference.contexts.dynamic_context:triton_append_key_value_cache",
            None,
            since="0.15.0",
        ),
    ),
)
