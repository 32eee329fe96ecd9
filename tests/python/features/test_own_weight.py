# SPDX-License-Identifier: Apache-2.0
"""Features that save tensors elsewhere, with gradients that are added to the weights' own accumulators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from mindspeed import megatron_adaptor

OFF = {"recompute_activation_function": False, "swap_attention": False}


@pytest.fixture
def level_2(megatron: None) -> Iterator[None]:
    yield
    megatron_adaptor.repatch({"optimization_level": 1, **OFF})


def losses(**flags: Any) -> list[float]:
    import megatron_gpt

    megatron_adaptor.repatch({"optimization_level": 2, **OFF, **flags})
    size = megatron_gpt.Size(layers=2, hidden=64, heads=4, sequence=64, vocab=128, dtype=torch.bfloat16)
    return megatron_gpt.losses(size, steps=3, gradient_accumulation_fusion=True)


@pytest.mark.parametrize("flags", [{name: True} for name in OFF] + [dict.fromkeys(OFF, True)], ids=str)
def test_losses_are_the_same(level_2: None, flags: dict[str, bool]) -> None:
    assert losses(**flags) == losses()
