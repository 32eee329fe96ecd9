# SPDX-License-Identifier: Apache-2.0
"""The adaptor: features are tables of patches, applied as modules are imported, undone by revert()."""

from __future__ import annotations

from mindspeed.adaptor.errors import ConfigurationError, ImportOrderError, PatchError
from mindspeed.adaptor.feature import Conflict, Feature, Native, Need
from mindspeed.adaptor.flags import Flag
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch

__all__ = [
    "ConfigurationError",
    "Conflict",
    "Feature",
    "Flag",
    "ImportOrderError",
    "Level",
    "Native",
    "Need",
    "Patch",
    "PatchError",
]
