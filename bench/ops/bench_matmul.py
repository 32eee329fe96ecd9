# SPDX-License-Identifier: Apache-2.0
"""Matrix products next to PyTorch's (MKL, oneDNN): python bench/ops/bench_matmul.py [--quick].

Square ones, the shapes of a transformer's layer (forward, gradient of the input, gradient of the weight), batches as in
attention, and vectors.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import Case, main  # first: it keeps torch_npu out

import torch  # isort: skip
from aclnn import Scalar  # isort: skip

KEEP_TYPE = 0  # cubeMathType: compute in the type of the inputs


def product(name: str, a: torch.Tensor, b: torch.Tensor) -> Case:
    out = a @ b
    what = f"{list(a.shape)} x {list(b.shape)} {str(a.dtype)[6:]}"
    return Case(name, "aclnnMatmul", (a, b, out, KEEP_TYPE), lambda: torch.matmul(a, b, out=out), what)


def squares(dtype: torch.dtype) -> Iterator[Case]:
    for n in (16, 128, 512, 1024, 2048):
        yield product("mm", torch.randn(n, n).to(dtype), torch.randn(n, n).to(dtype))


def layer(dtype: torch.dtype) -> Iterator[Case]:
    """2048 tokens, hidden 512: to 2048 and back."""
    x, w, g = (torch.randn(s).to(dtype) for s in ((2048, 512), (2048, 512), (2048, 2048)))
    yield product("linear", x, w.t())
    yield product("linear, input's gradient", g, w)
    yield product("linear, weight's gradient", g.t(), x)
    yield product("linear of a micro-batch of one", x[:, None], w.t())
    bias, out = torch.randn(2048).to(dtype), torch.empty(2048, 2048, dtype=dtype)
    yield Case(
        "linear with bias",
        "aclnnAddmm",
        (bias, x, w.t(), Scalar(1.0), Scalar(1.0), out, KEEP_TYPE),
        lambda: torch.addmm(bias, x, w.t(), out=out),
        f"[2048, 512] x [512, 2048] {str(dtype)[6:]}",
    )


def batches(dtype: torch.dtype) -> Iterator[Case]:
    q, k = torch.randn(32, 512, 64).to(dtype), torch.randn(32, 512, 64).to(dtype)
    p = torch.randn(32, 512, 512).to(dtype)
    yield product("attention scores", q, k.transpose(1, 2))
    yield product("attention output", p, k)


def vectors(dtype: torch.dtype) -> Iterator[Case]:
    yield product("one row", torch.randn(1, 2048).to(dtype), torch.randn(2048, 2048).to(dtype))
    yield product("one column", torch.randn(2048, 2048).to(dtype), torch.randn(2048, 1).to(dtype))


if __name__ == "__main__":
    main(
        case
        for dtype in (torch.float32, torch.bfloat16)  # in float16 PyTorch's are a thousand times slower here
        for group in (squares, layer, batches, vectors)
        for case in group(dtype)
    )
