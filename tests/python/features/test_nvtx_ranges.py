# SPDX-License-Identifier: Apache-2.0
"""Programs that mark ranges for a profiler run: torch.cuda.nvtx raises without CUDA."""

from __future__ import annotations

import torch
from mindspeed.features.compatibility import nvtx_ranges


def test_ranges_and_marks(megatron: None) -> None:
    with torch.cuda.nvtx.range("step"):
        torch.cuda.nvtx.mark("here")
        torch.cuda.nvtx.range_end(torch.cuda.nvtx.range_start("across threads"))


def test_all_names_are_taken() -> None:
    targets = {patch.target for patch in nvtx_ranges.FEATURE.patches}
    assert targets == {f"torch.cuda.nvtx:{name}" for name in nvtx_ranges.NAMES}
