# SPDX-License-Identifier: Apache-2.0
"""Zeros among gradients are counted with --log-num-zeros-in-grad alone, as from Megatron 0.13 on.

Megatron 0.12's chain of optimizers counts them in each step, whatever the flag says: four operators for every parameter,
which read all gradients, and a wait for the device. Each single optimizer of the chain asks the flag first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch


def when_logged(count: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """None, which is what Megatron logs nothing for, unless the flag is given."""

    def count_zeros(self: Any) -> Any:
        return count(self) if self.config.log_num_zeros_in_grad else None

    return count_zeros


FEATURE = Feature(
    name="zeros-when-logged",
    level=Level.AFFINITY,
    patches=(
        Patch(
            "megatron.core.optimizer.optimizer:ChainedOptimizer.count_zeros",
            when_logged,
            wraps=True,
            until="0.13.0",
        ),
    ),
)
