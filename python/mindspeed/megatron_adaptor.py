# SPDX-License-Identifier: Apache-2.0
"""`import mindspeed.megatron_adaptor` after `import torch` and before Megatron: that is all.

The import checks the versions of the frameworks and activates the features of level 0. `revert()` undoes
it, `activate()` does it again. See docs/architecture.md.
"""

from __future__ import annotations

from mindspeed.adaptor import session
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.session import is_active, patched_targets, revert
from mindspeed.adaptor.versions import require

__all__ = ["activate", "is_active", "patched_targets", "revert"]


def activate(level: Level = Level.COMPATIBILITY) -> None:
    """Apply the features of a level; idempotent."""
    if session.is_active():
        return
    require("torch", "torch_npu", "megatron-core")
    session.activate(session.discover(level))


activate()
