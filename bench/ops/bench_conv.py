# SPDX-License-Identifier: Apache-2.0
"""Convolutions and their gradients next to PyTorch's (oneDNN): python bench/ops/bench_conv.py [--quick].

The patches of a vision transformer, a layer of a residual network, one of its 1 x 1 layers, and a depthwise layer.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import Case, main  # first: it keeps torch_npu out

import torch  # isort: skip
from aclnn import BoolArray, IntArray  # isort: skip

KEEP_TYPE = 0  # cubeMathType: compute in the type of the inputs
# name: input, output channels, kernel, stride, padding, groups
LAYERS = {
    "patches of 14": ((1, 3, 336, 336), 1024, 14, 14, 0, 1),
    "3 x 3": ((4, 64, 56, 56), 64, 3, 1, 1, 1),
    "3 x 3 stride 2": ((4, 64, 56, 56), 128, 3, 2, 1, 1),
    "1 x 1": ((4, 64, 56, 56), 256, 1, 1, 0, 1),
    "depthwise 3 x 3": ((4, 144, 56, 56), 144, 3, 1, 1, 144),
}  # fmt: skip


def layer(name: str, dtype: torch.dtype) -> Iterator[Case]:
    shape, channels, kernel, stride, padding, groups = LAYERS[name]
    x = torch.randn(shape).to(dtype)
    weight = torch.randn(channels, shape[1] // groups, kernel, kernel).to(dtype)
    bias = torch.randn(channels).to(dtype)
    lists = [IntArray([v, v]) for v in (stride, padding, 1)]
    plain = ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups)
    out = torch.convolution(x, weight, bias, *plain)
    rest = (*lists, False, IntArray([0, 0]), groups)
    what = f"{list(shape)} to {channels} {str(dtype)[6:]}"
    yield Case(
        name,
        "aclnnConvolution",
        (x, weight, bias, *rest, out, KEEP_TYPE),
        lambda: torch.convolution(x, weight, bias, *plain),
        what,
    )
    dy = torch.randn(out.shape).to(dtype)
    gradients = (torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias))
    for part, mask in (("input's", (True, False, False)), ("weight's", (False, True, False))):
        yield Case(
            f"{name}, {part} gradient",
            "aclnnConvolutionBackward",
            (dy, x, weight, IntArray([channels]), *rest, BoolArray(mask), KEEP_TYPE, *gradients),
            lambda mask=mask: torch.ops.aten.convolution_backward(dy, x, weight, [channels], *plain, mask),
            what,
        )


if __name__ == "__main__":
    main(case for dtype in (torch.float32, torch.bfloat16) for name in LAYERS for case in layer(name, dtype))
