# SPDX-License-Identifier: Apache-2.0
"""Routers of experts work under Megatron's own FSDP, which forbids to convert the parameters that it shards.

It replaces Parameter.to by an error, and routers ask for their weight in the type that it mostly has already. A copy
in another type harms nothing: the shards stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch


def with_a_copy(gating: Callable[..., Any]) -> Callable[..., Any]:
    """Router.gating, with the weight's own `to` for as long as it runs."""

    def gate(self: Any, *args: Any, **kwargs: Any) -> Any:
        attributes = vars(self.weight)
        if "to" not in attributes:
            return gating(self, *args, **kwargs)
        forbidden = attributes.pop("to")
        try:
            return gating(self, *args, **kwargs)
        finally:
            attributes["to"] = forbidden

    return gate


FEATURE = Feature(
    name="router-weight",
    level=Level.COMPATIBILITY,
    patches=(Patch("megatron.core.transformer.moe.router:Router.gating", with_a_copy, wraps=True),),
)
