# SPDX-License-Identifier: Apache-2.0
"""Weights that move between two layouts of ranks are copied behind what the memory is still used for.

Megatron copies what stays on a rank on a stream of its own, which waits for nothing (0.16.1 to 0.19.0): neither for what
makes the source, nor for the buffer's earlier user on the current stream, which may be a broadcast under way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch

_SERVICES = "megatron.core.resharding.copy_services"


def behind_current_work(run: Callable[..., Any]) -> Callable[..., Any]:
    """Let the service's stream begin where the current stream is now."""

    def run_behind(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._copy_stream.wait_stream(torch.cuda.current_stream())
        return run(self, *args, **kwargs)

    return run_behind


FEATURE = Feature(
    name="reshard-stream",
    level=Level.COMPATIBILITY,
    patches=tuple(
        Patch(
            f"{_SERVICES}.{name}_copy_service:{service}.run",
            behind_current_work,
            wraps=True,
            requires="megatron.core.resharding",
            since="0.16.0",
        )
        for name, service in (("nccl", "NCCLCopyService"), ("gloo", "GlooCopyService"))
    ),
)
