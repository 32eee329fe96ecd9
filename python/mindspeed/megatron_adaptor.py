# SPDX-License-Identifier: Apache-2.0
"""`import mindspeed.megatron_adaptor` after `import torch` and before Megatron: that is all.

The import checks the versions of the frameworks and applies what Megatron needs to run on an NPU. Features of the
optimisation levels 1 and 2 follow when the arguments are known: from the command line of Megatron's scripts, from
repatch(), or, for programs on megatron.core that give none, with the first TransformerConfig. See docs/architecture.md.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from mindspeed.adaptor import guests, session
from mindspeed.adaptor.session import is_active, patched_targets, revert
from mindspeed.adaptor.versions import require

__all__ = ["activate", "get_mindspeed_args", "is_active", "patched_targets", "repatch", "revert"]


def activate() -> None:
    """Apply what the import applies, after revert(); idempotent."""
    if session.is_active():
        return
    require("torch", "torch_npu", "megatron-core")
    session.start()
    guests.repatch(session.current_arguments)


def repatch(arguments: Mapping[str, Any]) -> None:
    """Configure by code: names of flags (`use_flash_attn` or `--use-flash-attn`) and their values.

    Can be called again and again; what a call does not name stays as it was. Raises ConfigurationError, and changes
    nothing, for values of a wrong type and for flags that cannot be used together.
    """
    activate()
    session.repatch(arguments)
    guests.repatch(session.current_arguments)


def get_mindspeed_args() -> Namespace:
    """The arguments in effect: Megatron's and those of features."""
    return session.current_arguments()


activate()
