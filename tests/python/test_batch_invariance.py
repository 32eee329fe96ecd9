# SPDX-License-Identifier: Apache-2.0
"""With `torch_npu.npu.set_deterministic_level(2)`, or MINDSPEED_BATCH_INVARIANT=1, a row of a product, of attention, of a
norm or of a softmax has the same bits whatever other rows are in the call, in training, prefill and decoding alike."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
import torch_npu
from torch import Tensor
from torch.nn import functional as F

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ROWS = 400
# Of one to four, up to 16, and beyond 16 rows products without the option take three ways.
FEW = (1, 2, 3, 4, 5, 8, 15, 16, 17, 33, 129)
WEIGHTS = ((512, 512), (1000, 333), (4096, 64), (64, 2050), (300, 2), (7, 40))


def set_level(level: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch_npu.npu.set_deterministic_level(level)


@pytest.fixture(autouse=True)
def consistent() -> Iterator[None]:
    set_level(2)
    yield
    set_level(0)


def normal(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to("npu", dtype)


def rows_alike(function: Callable[[Tensor], Tensor], x: Tensor, counts: tuple[int, ...] = FEW) -> None:
    """Along the first dimension."""
    whole = function(x).cpu()
    for count in counts:
        for first in (0, len(x) - count):
            part = function(x[first : first + count]).cpu()
            assert torch.equal(part, whole[first : first + count]), (count, first)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", WEIGHTS)
@pytest.mark.parametrize("transposed", [False, True])
def test_products(dtype: torch.dtype, shape: tuple[int, int], transposed: bool) -> None:
    weight = normal(*shape, dtype=dtype)
    if transposed:
        weight = weight.t().contiguous().t()
    rows_alike(lambda x: x @ weight, normal(ROWS, shape[0], dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_layers(dtype: torch.dtype) -> None:
    """With a bias, over two leading dimensions, and the one position of a decoding step among those of a prompt."""
    layer = torch.nn.Linear(512, 777).to("npu", dtype).requires_grad_(False)
    rows_alike(layer, normal(40, 512, dtype=dtype), (1, 2, 5, 16, 17))
    prompt = normal(6, 50, 512, dtype=dtype)
    rows_alike(layer, prompt, (1, 2, 3))
    whole = layer(prompt).cpu()
    for position in (0, 49):
        # Of rows that are not contiguous PyTorch adds the bias after rounding the product: another operator.
        one = prompt[:, position : position + 1].contiguous()
        assert torch.equal(layer(one).cpu(), whole[:, position : position + 1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_batched_products(dtype: torch.dtype) -> None:
    a, b = normal(8, 100, 64, dtype=dtype), normal(8, 64, 100, dtype=dtype)
    whole = (a @ b).cpu()
    for count in (1, 2, 5, 17):
        assert torch.equal((a[:, :count] @ b).cpu(), whole[:, :count])
    for count in (1, 3):
        assert torch.equal((a[:count] @ b[:count]).cpu(), whole[:count])


@pytest.mark.parametrize("dtype", DTYPES)
def test_grouped_products(dtype: torch.dtype) -> None:
    """A token of an expert, whatever the others get."""
    x, weight = normal(64, 96, dtype=dtype), normal(3, 96, 80, dtype=dtype)
    for counts in ((64, 0, 0), (1, 62, 1), (16, 17, 31), (5, 3, 56)):
        ends = torch.tensor(counts).cumsum(0).npu()
        options = {"group_list": ends, "group_type": 0, "group_list_type": 0, "split_item": 3}
        (out,) = torch_npu.npu_grouped_matmul([x], [weight], **options)
        first = 0
        for expert, count in enumerate(counts):
            whole = (x @ weight[expert]).cpu()
            assert torch.equal(out[first : first + count].cpu(), whole[first : first + count]), (
                counts,
                expert,
            )
            first += count


ROW_WISE: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda x: torch.softmax(x, -1),
    "log_softmax": lambda x: torch.log_softmax(x, -1),
    "softmax along the first dimension": lambda x: torch.softmax(x.t().contiguous(), 0).t(),
    "sum": lambda x: x.sum(-1),
    "mean": lambda x: x.mean(-1),
    "logsumexp": lambda x: torch.logsumexp(x, -1),
    "variance": lambda x: x.float().var(-1),
    "layer norm": lambda x: F.layer_norm(x, (x.shape[-1],)),
    "RMS norm": lambda x: torch_npu.npu_rms_norm(x, torch.ones_like(x[0]))[0],
    "SwiGLU": lambda x: torch_npu.npu_swiglu(x, -1),
    "cross entropy": lambda x: F.cross_entropy(
        x.float(), torch.zeros(len(x), dtype=torch.long, device="npu"), reduction="none"
    ),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ROW_WISE)
def test_row_wise(dtype: torch.dtype, name: str) -> None:
    for columns in (8, 1000, 8192):
        rows_alike(ROW_WISE[name], normal(100, columns, dtype=dtype), (1, 2, 7, 64))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("head", [64, 80])
def test_attention(dtype: torch.dtype, head: int) -> None:
    """Training over the whole sequence, over its beginning, prefill of it, and decoding of its last token."""
    batch, heads, length = 2, 4, 300
    q, k, v = (normal(batch, heads, length, head, dtype=dtype) * scale for scale in (1, 1.1, 0.9))
    mask = torch.ones(2048, 2048).triu(1).bool().npu()
    causal = {"scale": head**-0.5, "sparse_mode": 2, "atten_mask": mask}

    def train(count: int, until: int) -> Tensor:
        parts = (t[:count, :, :until].contiguous() for t in (q, k, v))
        return torch_npu.npu_fusion_attention(*parts, heads, "BNSD", **causal)[0].cpu()

    def infer(count: int, first: int, until: int) -> Tensor:
        options = causal if until - first > 1 else {"scale": head**-0.5}
        parts = (t[:count, :, start:until].contiguous() for t, start in ((q, first), (k, 0), (v, 0)))
        call = torch_npu.npu_fused_infer_attention_score
        return call(*parts, num_heads=heads, input_layout="BNSD", **options)[0].cpu()

    whole = train(batch, length)
    assert torch.equal(train(1, length), whole[:1])
    for until in (1, 5, 64, 65, 130, 257):
        assert torch.equal(train(batch, until), whole[:, :, :until]), until
        assert torch.equal(infer(batch, 0, until), whole[:, :, :until]), until
        for count in (1, batch):
            assert torch.equal(infer(count, until - 1, until), whole[:count, :, until - 1 : until]), until


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["BNSD", "BSND"])
def test_decoding_of_long_keys(dtype: torch.dtype, layout: str) -> None:
    """One pass over keys that are passed over in sections without the option; key heads apart and side by side."""
    q, k, v = (normal(2, 4 if i == 0 else 2, 4500, 64, dtype=dtype) * (1 + i / 10) for i in range(3))
    options = {"num_heads": 4, "num_key_value_heads": 2, "input_layout": layout, "scale": 0.125}

    def infer(first: int) -> Tensor:
        parts = (t if layout == "BNSD" else t.transpose(1, 2) for t in (q[:, :, first:], k, v))
        out = torch_npu.npu_fused_infer_attention_score(*(t.contiguous() for t in parts), **options)[0].cpu()
        return out if layout == "BNSD" else out.transpose(1, 2)

    assert torch.equal(infer(4499), infer(4400)[:, :, -1:])


def test_by_the_environment() -> None:
    code = """
import torch, torch_npu
x, w = torch.randn(400, 512).npu(), torch.randn(512, 512).npu()
print(torch.equal((x[:1] @ w).cpu(), (x @ w)[:1].cpu()))
"""
    environment = os.environ | {"MINDSPEED_BATCH_INVARIANT": "1"}
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "True"
