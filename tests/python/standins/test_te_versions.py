# SPDX-License-Identifier: Apache-2.0
"""What releases of Megatron name or pass beyond 0.12.1's."""

from __future__ import annotations

import pytest
import torch
from mindspeed.standins.refusal import RefusedError
from mindspeed.standins.transformer_engine.pytorch import ops
from mindspeed.standins.transformer_engine.pytorch.cpu_offload import get_cpu_offload_context


@pytest.mark.parametrize("name", ["GroupedLinear", "ScaledSwiGLU", "Linear"])
def test_operations_can_be_named_and_not_built(name):
    with pytest.raises(RefusedError, match=rf"ops\.{name} .*--use-transformer-engine-op-fuser"):
        getattr(ops, name)()


def test_offloading_takes_what_newer_releases_pass():
    context, synchronise = get_cpu_offload_context(
        False, 2, 2, True, False, False, retain_pinned_cpu_buffers=False
    )
    with context:
        x = torch.ones(2)
    assert synchronise(x) is x
