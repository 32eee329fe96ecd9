# SPDX-License-Identifier: Apache-2.0
"""Megatron's checkpoint writer calls a private function of PyTorch, which has got one argument more since.

The new argument is the file format; what Megatron's files always had is torch.save's.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch


def add_format(write_item: Callable[..., Any]) -> Callable[..., Any]:
    """Give PyTorch's _write_item the format that Megatron does not know of."""
    if "serialization_format" not in inspect.signature(write_item).parameters:
        return write_item
    from torch.distributed.checkpoint.filesystem import SerializationFormat

    def write_with_format(*args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("serialization_format", SerializationFormat.TORCH_SAVE)
        return write_item(*args, **kwargs)

    return write_with_format


FEATURE = Feature(
    name="checkpoint-writer",
    level=Level.COMPATIBILITY,
    patches=(
        Patch(
            "megatron.core.dist_checkpointing.strategies.filesystem_async:_write_item", add_format, wraps=True
        ),
    ),
)
