# SPDX-License-Identifier: Apache-2.0
"""The distributed optimizer's state over HCCL in place of Gloo, as methods, under the names that other projects import.

--disable-gloo-group makes Megatron's own methods do so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from mindspeed.features.communication.disable_gloo_group import over_devices

__all__ = ["get_parameter_state_dp_zero_hccl", "load_parameter_state_from_dp_zero_hccl"]


@contextlib.contextmanager
def _without_gloo(optimizer: Any) -> Iterator[Any]:
    """Megatron's class, whose methods ask the group of Gloo for ranks and hand it to collectives."""
    from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

    kept = optimizer.data_parallel_group_gloo
    optimizer.data_parallel_group_gloo = optimizer.data_parallel_group
    try:
        with over_devices():
            yield DistributedOptimizer
    finally:
        optimizer.data_parallel_group_gloo = kept


def get_parameter_state_dp_zero_hccl(self: Any) -> dict[str, Any]:
    """The whole state on the first rank of data parallelism."""
    with _without_gloo(self) as megatrons:
        found: dict[str, Any] = megatrons.get_parameter_state_dp_zero(self)
    return found


def load_parameter_state_from_dp_zero_hccl(
    self: Any, state_dict: dict[str, Any], *, update_legacy_format: bool = False
) -> None:
    """The other way: every rank gets its part."""
    with _without_gloo(self) as megatrons:
        megatrons.load_parameter_state_from_dp_zero(
            self, state_dict, update_legacy_format=update_legacy_format
        )
