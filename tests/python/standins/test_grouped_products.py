# SPDX-License-Identifier: Apache-2.0
"""GroupedLinear and grouped_gemm against a loop of products: the same bits, forward and both backwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

IN, OUT, GROUPS = 24, 40, 4
SPLITS = pytest.mark.parametrize(
    "splits", [[5, 1, 30, 7], [0, 20, 0, 9], [0, 0, 31, 0], [0, 0, 0, 0]], ids=str
)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)


@pytest.fixture
def te(standins):
    import transformer_engine.pytorch

    torch.manual_seed(3)
    return transformer_engine.pytorch


def normal(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape).to(device="npu", dtype=dtype)


def loop(x: Tensor, weights: list[Tensor], splits: list[int]) -> Tensor:
    """A product for each group of rows; weights [out, in]."""
    return torch.cat([part @ w.t() for part, w in zip(x.split(splits), weights, strict=True)])


def gradients(out: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    """Of a result with an arbitrary gradient, which does not lie by rows."""
    grad = torch.randn(out.shape[::-1], generator=torch.Generator().manual_seed(4)).t()
    return list(torch.autograd.grad(out, inputs, grad.to(out)))


@SPLITS
@DTYPES
def test_grouped_linear(te, splits: list[int], dtype: torch.dtype) -> None:
    layer = te.GroupedLinear(GROUPS, IN, OUT, bias=False, params_dtype=dtype, device="npu")
    weights = [getattr(layer, f"weight{i}") for i in range(GROUPS)]
    x = normal(sum(splits), IN, dtype=dtype).requires_grad_()
    out, want = layer(x, splits), loop(x, weights, splits)
    assert torch.equal(out, want)
    pairs = zip(gradients(out, [x, *weights]), gradients(want, [x, *weights]), strict=True)
    assert all(torch.equal(got, wanted) and got.dtype is wanted.dtype for got, wanted in pairs)


@SPLITS
@DTYPES
@pytest.mark.parametrize("delayed", [False, True], ids=["", "delayed"])
def test_gradients_into_main_grad(te, splits: list[int], dtype: torch.dtype, delayed: bool) -> None:
    """Added to float32 accumulators without a rounding between, twice; experts without tokens are marked as well."""
    layer = te.GroupedLinear(
        GROUPS, IN, OUT, bias=False, params_dtype=dtype, device="npu", fuse_wgrad_accumulation=True,
        delay_wgrad_compute=delayed,
    )  # fmt: skip
    weights = [getattr(layer, f"weight{i}") for i in range(GROUPS)]
    for weight in weights:
        weight.main_grad = torch.ones(OUT, IN, device="npu")
        weight.grad_added_to_main_grad = False
    x = normal(sum(splits), IN, dtype=dtype)
    grad = normal(sum(splits), OUT, dtype=dtype)
    for _ in range(2):
        layer(x, splits).backward(grad)
        if delayed:
            layer.backward_dw()
    for weight, a, b in zip(weights, grad.split(splits), x.split(splits), strict=True):
        want = 1 + 2 * (a.cpu().double().t() @ b.cpu().double())
        torch.testing.assert_close(weight.main_grad.cpu().double(), want, rtol=1e-6, atol=1e-5)
        assert weight.grad_added_to_main_grad


def test_delayed_gradients_without_accumulators(te) -> None:
    layer = te.GroupedLinear(GROUPS, IN, OUT, bias=False, device="npu", delay_wgrad_compute=True)
    splits = [3, 0, 2, 4]
    x = normal(9, IN, dtype=torch.float32)
    layer(x, splits).sum().backward()
    assert layer.weight0.grad is None
    layer.backward_dw()
    want = torch.ones(3, OUT, device="npu").t() @ x[:3]
    assert torch.equal(layer.weight0.grad, want) and not layer.weight1.grad.any()


def test_what_needs_no_gradient_gets_none(te) -> None:
    layer = te.GroupedLinear(GROUPS, IN, OUT, bias=False, device="npu")
    layer.weight1.requires_grad_(False)
    x = normal(9, IN, dtype=torch.float32).requires_grad_()
    layer(x, [3, 2, 0, 4]).sum().backward()
    assert layer.weight1.grad is None and layer.weight0.grad is not None and x.grad is not None


def test_rows_that_do_not_add_up(te) -> None:
    layer = te.GroupedLinear(GROUPS, IN, OUT, bias=False, device="npu")
    with pytest.raises(ValueError, match="m_splits has 8 rows, the input 9"):
        layer(normal(9, IN, dtype=torch.float32), [3, 2, 0, 3])
    from grouped_gemm import ops

    with pytest.raises(ValueError, match="a has 9 rows, batch_sizes 8"):
        ops.gmm(
            normal(9, IN, dtype=torch.float32), normal(2, IN, OUT, dtype=torch.float32), torch.tensor([4, 4])
        )


@SPLITS
@DTYPES
@pytest.mark.parametrize("trans_b", [False, True], ids=["", "transposed"])
@pytest.mark.parametrize("place", ["cpu", "npu"])
def test_gmm(standins, splits: list[int], dtype: torch.dtype, trans_b: bool, place: str) -> None:
    from grouped_gemm import ops

    torch.manual_seed(3)
    a = normal(sum(splits), IN, dtype=dtype).requires_grad_()
    b = normal(GROUPS, *((OUT, IN) if trans_b else (IN, OUT)), dtype=dtype).requires_grad_()
    turned: Callable[[Tensor], Tensor] = (lambda m: m) if trans_b else (lambda m: m.t())
    out = ops.gmm(a, b, torch.tensor(splits, device=place), trans_b=trans_b)
    want = loop(a, [turned(m) for m in b], splits)
    assert torch.equal(out, want)
    pairs = zip(gradients(out, [a, b]), gradients(want, [a, b]), strict=True)
    assert all(torch.equal(got, wanted) for got, wanted in pairs)
