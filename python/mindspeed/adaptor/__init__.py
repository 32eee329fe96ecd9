# SPDX-License-Identifier: Apache-2.0
"""The adaptor: features are tables of patches, applied as modules are imported, undone by revert()."""

from __future__ import annotations

from mindspeed.adaptor.errors import ImportOrderError, PatchError
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Feature, Patch

__all__ = ["Feature", "ImportOrderError", "Level", "Patch", "PatchError"]
