# SPDX-License-Identifier: Apache-2.0
"""Adam's two averages are numbers of 8 bits with a scale for each block, between steps.

A step decodes a slice of a parameter's averages, updates it in float32 and encodes it again, all by operators of the device.
"""

from __future__ import annotations

from mindspeed.adaptor import Feature, Flag, Level
from mindspeed.features.optimizer import _blocks, _low_precision, _sliced_adam

FEATURE = Feature(
    name="quant-states",
    level=Level.COMPATIBILITY,
    flags=(
        Flag(
            "--quant-states",
            "Keep Adam's averages in 8 bits: e4m3 and e5m2 (fp8), hifloat8 (hif8), or both fp8 types with scales that are "
            "powers of two (mxfp8).",
            type=str,
            default=None,
            choices=_blocks.KINDS,
            in_config=False,
        ),
    ),
    conflicts=_sliced_adam.CONFLICTS,
    check=_sliced_adam.unsupported,
    patches=(_low_precision.ADAM, *_low_precision.MARKS, *_sliced_adam.STATES),
)
