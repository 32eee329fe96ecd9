# SPDX-License-Identifier: Apache-2.0
"""Ranges and marks for NVIDIA's profiler (torch.cuda.nvtx) are those for the NPU's (torch_npu.npu.mstx), which end nobody's program."""

from __future__ import annotations

from collections.abc import Iterator

import torch_npu.npu

from mindspeed.adaptor import Feature, Level, Patch

NAMES = ("mark", "range_end", "range_pop", "range_push", "range_start")


def _patches() -> Iterator[Patch]:
    for name in NAMES:
        function = getattr(torch_npu.npu.mstx, name, None)
        if function is not None:  # earlier releases of torch_npu have no stack of ranges
            yield Patch(f"torch.cuda.nvtx:{name}", function)


FEATURE = Feature(name="nvtx-ranges", level=Level.COMPATIBILITY, patches=tuple(_patches()))
