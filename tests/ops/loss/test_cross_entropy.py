"""CrossEntropyLoss and its gradient against PyTorch in float64; a few roundings of the output's type."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from aclnn import OperatorError, call
from compare import FLOATS, assert_close, make

ATOL = {torch.float32: 2e-6, torch.bfloat16: 2e-2, torch.float16: 3e-3, torch.float64: 1e-13}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_gradient(dtype: torch.dtype, reduction: str, smoothing: float, weighted: bool) -> None:
    n, c = 37, 100
    x, t = make((n, c), dtype), make((n,), torch.int64, 2).abs() % c
    t[4] = t[7] = 9
    w = make((c,), torch.float32, 1, low=0.1, high=1) if weighted else None
    x64 = x.double().requires_grad_()
    want = F.cross_entropy(
        x64,
        t,
        None if w is None else w.double(),
        ignore_index=9,
        reduction=reduction,
        label_smoothing=smoothing,
    )
    loss = torch.empty(n if reduction == "none" else 1, dtype=dtype)
    log_prob, empty = torch.empty_like(x), torch.empty(0)
    call("aclnnCrossEntropyLoss", x, t, w, reduction, 9, smoothing, 0.0, False, loss, log_prob, empty, empty)
    assert_close(loss, want.detach().reshape(loss.shape), 4, ATOL[dtype])
    assert_close(log_prob, torch.log_softmax(x.double(), -1), 4, ATOL[dtype] / 10)
    g = make(tuple(loss.shape), dtype, 3)
    grad = torch.empty_like(x)
    call("aclnnCrossEntropyLossGrad", g, log_prob, t, w, None, None, reduction, 9, smoothing, 0.0, grad)
    (expected,) = torch.autograd.grad(want, x64, g.double().reshape(want.shape))
    assert_close(grad, expected, 8, ATOL[dtype] * 4)


def test_errors() -> None:
    x, e = torch.zeros(2, 3), torch.empty(0)
    args = (torch.zeros(1), torch.empty_like(x), e, e)
    with pytest.raises(OperatorError, match=r"target\[1\] is 3, there are 3 classes"):
        call("aclnnCrossEntropyLoss", x, torch.tensor([0, 3]), None, "mean", -100, 0.0, 0.0, False, *args)
    with pytest.raises(OperatorError, match="there is no z-loss"):
        call("aclnnCrossEntropyLoss", x, torch.tensor([0, 1]), None, "mean", -100, 0.0, 0.5, False, *args)
    with pytest.raises(OperatorError, match='reduction is "average"'):
        call("aclnnCrossEntropyLoss", x, torch.tensor([0, 1]), None, "average", -100, 0.0, 0.0, False, *args)
