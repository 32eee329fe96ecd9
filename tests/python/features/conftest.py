# SPDX-License-Identifier: Apache-2.0
"""Megatron on one virtual NPU in this process, loaded under the adaptor; features are switched by repatch().

Other tests of the same process may have loaded Megatron in another way, so theirs is put aside meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from mindspeed import megatron_adaptor
from mindspeed.adaptor import session


def _loaded() -> dict[str, Any]:
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "megatron"}


@pytest.fixture(scope="module")
def megatron() -> Iterator[None]:
    session.revert()
    kept = _loaded()
    for name in kept:
        del sys.modules[name]
    argv, sys.argv = sys.argv, ["pretrain.py"]
    session.start()
    import megatron_gpt

    megatron_gpt.start()
    yield
    megatron_gpt.stop()
    session.revert()
    sys.argv = argv
    for name in _loaded():
        del sys.modules[name]
    sys.modules.update(kept)


Switch = Callable[..., None]


@pytest.fixture
def switch(megatron: None) -> Iterator[Switch]:
    """switch(use_fused_swiglu=True): that feature alone; without arguments none."""
    from mindspeed.adaptor.discovery import all_features

    off = {f.flags[0].dest: False for f in all_features() if f.level > 0 and f.flags and f.flags[0].is_switch}

    def only(**flags: Any) -> None:
        megatron_adaptor.repatch({"optimization_level": 1} | off | flags)

    only()
    torch.manual_seed(5)
    yield only
    only(pre_tockens=65536, next_tockens=0, sparse_mode=0, use_fusion_attn_v2=False)
