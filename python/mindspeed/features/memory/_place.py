# SPDX-License-Identifier: Apache-2.0
"""Which layers of a chunk have a part recomputed: those behind the ones that are recomputed as a whole."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from mindspeed.features.memory.recompute_layers_per_stage import place_in_stage


def numbering(attribute: str, modules_of: Callable[[Any], Iterable[Any]]) -> Callable[..., Any]:
    """TransformerLayer.__init__, which tells modules how many layers of their chunk (or pipeline stage) come before."""

    def wrapping(init: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(init)

        @functools.wraps(init)
        def numbered_init(self: Any, *args: Any, **kwargs: Any) -> None:
            init(self, *args, **kwargs)
            given = signature.bind(self, *args, **kwargs).arguments
            place = given.get("layer_number", 1) - 1
            if getattr(self.config, "enable_recompute_layers_per_pp_rank", False):
                place = place_in_stage(place, self.config, given.get("vp_stage"))
            for module in modules_of(self):
                setattr(module, attribute, place)

        return numbered_init

    return wrapping


def is_chosen(config: Any, place: int, most: int | None) -> bool:
    """Layers that are recomputed as a whole come first, then those of which a part is."""
    first = config.recompute_num_layers or 0 if config.recompute_granularity == "full" else 0
    return place >= first and (most is None or place < first + most)
