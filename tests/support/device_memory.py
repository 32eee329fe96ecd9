# SPDX-License-Identifier: Apache-2.0
"""What tensors hold of the device's memory, once nothing is under way."""

from __future__ import annotations

import gc

import torch


def in_use() -> int:
    """Bytes. What tests before have left in cycles does not count, nor what queued work or copies still hold."""
    gc.collect()
    torch.npu.synchronize()
    return torch.npu.memory_allocated()
