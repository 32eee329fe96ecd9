# SPDX-License-Identifier: Apache-2.0
"""Adam with a moving average: the same training, and the average that the definition gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import megatron_gpt
import pytest
import torch
import torchrun
from mindspeed import megatron_adaptor
from mindspeed.adaptor import ConfigurationError

JOB = Path(__file__).parents[2] / "support" / "averages_job.py"
SIZE = megatron_gpt.Size()
DECAY = 0.75


@pytest.fixture
def selected(switch: Any) -> Any:
    switch(optimization_level=2, optimizer_selection="fused_ema_adamw", ema_decay=DECAY)
    yield switch
    switch(optimizer_selection="fused_adamw", ema_decay=0.9999)


def test_training_is_the_same_and_averages_follow(selected: Any) -> None:
    model, optimizer = megatron_gpt.trainer(megatron_gpt.build(SIZE), SIZE)
    adam = getattr(optimizer, "chained_optimizers", [optimizer])[0].optimizer
    followed = adam.param_groups[0]["params"][0]
    expected, losses = followed.detach().clone(), []
    for text in megatron_gpt.batches(SIZE, 3):
        losses.append(megatron_gpt.train_step(model, optimizer, text).item())
        expected = DECAY * expected + (1 - DECAY) * followed.detach()
    torch.testing.assert_close(adam.state[followed]["ema_params"], expected, rtol=1e-6, atol=1e-7)
    assert "ema_params" in next(iter(adam.state_dict()["state"].values()))
    selected(optimization_level=2, optimizer_selection="fused_torch_adamw", ema_decay=0.9999)
    assert megatron_gpt.losses(SIZE, 3) == losses


@pytest.mark.parametrize("optimizer", ["distributed", "overlap"])
def test_ranks_that_share_the_averages_keep_them(optimizer: str, tmp_path: Path) -> None:
    (row,) = torchrun.rows(2, JOB, [str(tmp_path / "checkpoint"), optimizer], timeout=300)
    assert len(row) == 9 and [what for what, held in row.items() if not held] == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"ema_decay": 1.5}, "--ema-decay is 1.5"),
        ({"ema_decay": DECAY, "optimizer_cpu_offload": True}, "--optimizer-cpu-offload"),
        ({"ema_decay": DECAY, "use_custom_fsdp": True}, "--use-custom-fsdp"),
        ({"optimizer_selection": "sgd"}, "wanted one of fused_adamw, fused_torch_adamw, fused_ema_adamw"),
    ],
)
def test_what_does_not_go_together_is_refused(selected: Any, flags: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        megatron_adaptor.repatch(flags)
