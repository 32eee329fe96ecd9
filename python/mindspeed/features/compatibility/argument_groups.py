# SPDX-License-Identifier: Apache-2.0
"""Megatron makes options of the fields of TransformerConfig that are its own, not of ours, whose options there are.

From 0.16 on it makes them of all fields that the dataclass has. An option of one of ours would be of another kind (it
would want a value where ours is a switch), or clash with one that Megatron's parser adds itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch
from mindspeed.features.compatibility.config_fields import our_fields


def _added(cls: type) -> set[str]:
    """Those of our fields that the class does not declare."""
    declared = {name for base in cls.__mro__ for name in vars(base).get("__annotations__", {})}
    return our_fields().keys() - declared


def without_our_fields(init: Callable[..., None]) -> Callable[..., None]:
    """ArgumentGroupFactory.__init__."""

    @functools.wraps(init)
    def __init__(
        self: Any, src_cfg_class: type, exclude: Iterable[str] | None = None, **options: Any
    ) -> None:
        init(self, src_cfg_class, [*(exclude or ()), *_added(src_cfg_class)], **options)

    return __init__


FEATURE = Feature(
    name="argument-groups",
    level=Level.COMPATIBILITY,
    patches=(
        Patch(
            "megatron.training.argument_utils:ArgumentGroupFactory.__init__",
            without_our_fields,
            wraps=True,
            requires="megatron.training.argument_utils",
            since="0.16.0",
        ),
    ),
)
