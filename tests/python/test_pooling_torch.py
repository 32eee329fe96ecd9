# SPDX-License-Identifier: Apache-2.0
"""Pooling through torch_npu: each function and its gradient, in both ways that torch_npu takes to the maximum."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import forked
import pytest

if not os.environ.get("MINDSPEED_LIB_DIR") and importlib.util.find_spec("mindspeed") is None:
    pytest.skip("no wheel installed and MINDSPEED_LIB_DIR is not set", allow_module_level=True)

JOB = f"""
import sys; sys.path.append({str(Path(__file__).parents[1] / "support")!r})
import named_libraries, torch
import torch.nn.functional as F

def compare(function, *shape):
    x = torch.randn(shape, requires_grad=True)
    on_device = x.detach().npu().requires_grad_()
    want, found = function(x), function(on_device)
    torch.testing.assert_close(found.cpu(), want)
    dy = torch.randn_like(want)
    (want,), (found,) = torch.autograd.grad(want, x, dy), torch.autograd.grad(found, on_device, dy.npu())
    torch.testing.assert_close(found.cpu(), want)

for shape in ((2, 3, 17), (2, 3, 17, 19), (2, 3, 5, 7, 9)):
    dims = len(shape) - 2
    for name in ("max", "avg"):
        compare(lambda x: getattr(F, f"{{name}}_pool{{dims}}d")(x, 3, 2, 1, ceil_mode=True), *shape)
        for size in (1, 4):
            compare(lambda x: getattr(F, f"adaptive_{{name}}_pool{{dims}}d")(x, size), *shape)
compare(lambda x: F.max_pool2d(x, (2, 3), 2, dilation=(3, 2)), 3, 17, 19)
compare(lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), 3, 17, 19)
compare(lambda x: F.avg_pool2d(x, 3, 2, 1, divisor_override=7), 3, 17, 19)
compare(lambda x: F.lp_pool2d(x, 2, 3), 3, 17, 19)
"""


@pytest.mark.parametrize("compatible", ["0", "1"])
def test_pooling_is_that_of_the_cpu(tmp_path: Path, compatible: str) -> None:
    (tmp_path / "job.py").write_text(JOB)
    process = forked.start([str(tmp_path / "job.py")], TORCH_NPU_USE_COMPATIBLE_IMPL=compatible)
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, f"{out}\n{error[-4000:]}"
