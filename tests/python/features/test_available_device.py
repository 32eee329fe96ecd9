# SPDX-License-Identifier: Apache-2.0
"""PyTorch's distributed checkpoints of tensors on the device, under the adaptor."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.distributed import checkpoint


def test_a_checkpoint_of_device_tensors(megatron: None, tmp_path: Path) -> None:
    wanted = {name: torch.arange(4.0, device="cuda") + i for i, name in enumerate("abc")}
    checkpoint.save(dict(wanted), checkpoint_id=str(tmp_path), no_dist=True)
    found = {name: torch.zeros(4, device="cuda") for name in wanted}
    checkpoint.load(found, checkpoint_id=str(tmp_path), no_dist=True)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
