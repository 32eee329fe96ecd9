# SPDX-License-Identifier: Apache-2.0
"""Copies of weights between layouts begin when the current stream is done with their memory."""

from __future__ import annotations

import torch
from mindspeed.features.compatibility.reshard_stream import behind_current_work


class Service:
    """As Megatron's: copies on a stream that waits for nothing, and is waited for."""

    def __init__(self) -> None:
        self._copy_stream = torch.npu.Stream()

    def run(self, target: torch.Tensor, source: torch.Tensor) -> str:
        with torch.npu.stream(self._copy_stream):
            target.copy_(source)
        torch.npu.current_stream().wait_stream(self._copy_stream)
        return "copied"


def test_copies_wait_for_the_current_stream(megatron: None) -> None:
    pinned = torch.zeros(64 << 20).pin_memory()
    target, source = torch.empty(1000, device="npu"), torch.ones(1000, device="npu")
    other = torch.npu.Stream()
    torch.npu.synchronize()
    with torch.npu.stream(other):  # a transfer of some 50 ms, which does not hold the program up
        pinned.to("npu", non_blocking=True)
    torch.npu.current_stream().wait_stream(other)
    target.fill_(2)  # the buffer's earlier user, which waits for the transfer
    assert behind_current_work(Service.run)(Service(), target, source) == "copied"
    assert target.cpu().tolist() == [1] * 1000
