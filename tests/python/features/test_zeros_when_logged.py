# SPDX-License-Identifier: Apache-2.0
"""Zeros are counted when somebody logs them; the training is the same."""

from __future__ import annotations

from typing import Any

import megatron_gpt
import pytest
import torch

SIZE = megatron_gpt.Size()


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("is_logged", [False, True])
def test_zeros_are_counted_when_they_are_logged(switch: Any, level: int, is_logged: bool) -> None:
    switch(optimization_level=level)
    model, optimizer = megatron_gpt.trainer(megatron_gpt.build(SIZE), SIZE)
    optimizer.config.log_num_zeros_in_grad = is_logged
    for parameter in model.parameters():
        parameter.main_grad.zero_()
    updated, norm, zeros = optimizer.step()
    assert updated and norm == 0
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert zeros == (None if level == 1 and not is_logged else parameters)


def test_training_is_the_same(switch: Any) -> None:
    losses = []
    for level in (0, 1):
        switch(optimization_level=level)
        losses.append(megatron_gpt.losses(SIZE, 3))
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=1e-5, atol=1e-6)
