# SPDX-License-Identifier: Apache-2.0
"""The features of the package: the FEATURE of each module below mindspeed.features."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from functools import cache

from mindspeed import features as feature_package
from mindspeed.adaptor.errors import PatchError
from mindspeed.adaptor.feature import Feature


@cache
def all_features() -> tuple[Feature, ...]:
    """By level, area and name. Helpers, whose names begin with an underscore, are no features."""
    found: dict[str, Feature] = {}
    for info in pkgutil.walk_packages(feature_package.__path__, f"{feature_package.__name__}."):
        if info.ispkg or info.name.rpartition(".")[2].startswith("_"):
            continue
        module = importlib.import_module(info.name)
        feature = getattr(module, "FEATURE", None)
        if not isinstance(feature, Feature):
            raise PatchError(f"{info.name} defines no FEATURE")
        if feature.name in found:
            raise PatchError(f"{info.name}: there is a feature {feature.name!r} already")
        found[feature.name] = replace(
            feature, area=info.name.split(".")[2], summary=(module.__doc__ or "").strip().partition("\n")[0]
        )
    return tuple(sorted(found.values(), key=lambda feature: feature.level))
