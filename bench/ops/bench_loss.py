"""Losses and their gradients next to PyTorch: python bench/ops/bench_loss.py [--quick]."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")  # torch_npu is not what is measured
sys.path[:0] = [str(Path(__file__).resolve().parents[n] / f) for n, f in ((1, ""), (2, "tests/support"))]
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from aclnn import IntArray  # noqa: E402
from common import Case, main  # noqa: E402

aten = torch.ops.aten


def pointwise(n: int, dtype: torch.dtype) -> Iterator[Case]:
    """Forward with the mean, gradient of it."""
    x, y, g = torch.randn(n).to(dtype), torch.randn(n).to(dtype), torch.ones((), dtype=dtype)
    p, t = torch.rand(n).to(dtype), torch.rand(n).to(dtype)
    one, out = torch.empty((), dtype=dtype), torch.empty(n, dtype=dtype)
    what = f"[{n}] {str(dtype)[6:]}"
    yield Case("l1", "aclnnL1Loss", (x, y, 1, one), lambda: F.l1_loss(x, y), what)
    yield Case("mse", "aclnnMseLoss", (x, y, 1, one), lambda: F.mse_loss(x, y), what)
    yield Case("smooth l1", "aclnnSmoothL1Loss", (x, y, 1, 1.0, one), lambda: F.smooth_l1_loss(x, y), what)
    yield Case("kl", "aclnnKlDiv", (x, p, 1, False, one), lambda: aten.kl_div(x, p, 1), what)
    yield Case("soft margin", "aclnnSoftMarginLoss", (x, y, 1, one), lambda: F.soft_margin_loss(x, y), what)
    yield Case(
        "bce", "aclnnBinaryCrossEntropy", (p, t, None, 1, one), lambda: F.binary_cross_entropy(p, t), what
    )
    yield Case(
        "bce of logits",
        "aclnnBinaryCrossEntropyWithLogits",
        (x, t, None, None, 1, one),
        lambda: F.binary_cross_entropy_with_logits(x, t),
        what,
    )
    yield Case(
        "mse backward",
        "aclnnMseLossBackward",
        (g, x, y, 1, out),
        lambda: aten.mse_loss_backward(g, x, y, 1),
        what,
    )
    yield Case(
        "smooth l1 backward",
        "aclnnSmoothL1LossBackward",
        (g, x, y, 1, 1.0, out),
        lambda: aten.smooth_l1_loss_backward(g, x, y, 1, 1.0),
        what,
    )
    yield Case(
        "soft margin backward",
        "aclnnSoftMarginLossBackward",
        (g, x, y, 1, out),
        lambda: aten.soft_margin_loss_backward(g, x, y, 1),
        what,
    )
    yield Case(
        "bce backward",
        "aclnnBinaryCrossEntropyBackward",
        (g, p, t, None, 1, out),
        lambda: aten.binary_cross_entropy_backward(g, p, t, None, 1),
        what,
    )


def of_classes() -> Iterator[Case]:
    x, t = torch.randn(128, 1000), torch.full((128, 1000), -1)
    t[:, :5] = torch.arange(5)
    yield Case(
        "multilabel margin",
        "aclnnMultilabelMarginLoss",
        (x, t, 1, torch.empty(()), torch.empty(128, 1000)),
        lambda: F.multilabel_margin_loss(x, t),
    )
    log_probs, targets = torch.randn(200, 16, 100).log_softmax(2), torch.randint(1, 100, (16, 40))
    steps, lengths = [200] * 16, [40] * 16
    loss, alpha = aten._ctc_loss(log_probs, targets, steps, lengths, 0, False)
    given = (log_probs, targets, IntArray(steps), IntArray(lengths))
    yield Case(
        "ctc",
        "aclnnCtcLoss",
        (*given, 0, False, torch.empty_like(loss), torch.empty_like(alpha)),
        lambda: aten._ctc_loss(log_probs, targets, steps, lengths, 0, False),
    )
    grad = torch.ones(16)
    yield Case(
        "ctc backward",
        "aclnnCtcLossBackward",
        (grad, *given, loss, alpha, 0, False, torch.empty_like(log_probs)),
        lambda: aten._ctc_loss_backward(grad, log_probs, targets, steps, lengths, loss, alpha, 0, False),
        "[200,16,100] float32",
    )


if __name__ == "__main__":
    main(
        [
            case
            for dtype in (torch.float32, torch.bfloat16)
            for n in (16, 1 << 14, 1 << 20)
            for case in pointwise(n, dtype)
        ]
        + list(of_classes())
    )
