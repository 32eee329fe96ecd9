"""MseLoss, NLLLoss, their gradients, LogSumExp, Equal: sums in double."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from aclnn import IntArray, OperatorError, call
from compare import FLOATS, assert_close, layouts, make

REDUCTIONS = ["none", "mean", "sum"]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("reduction", [0, 1, 2])
def test_mse(dtype: torch.dtype, reduction: int) -> None:
    for a_shape, b_shape in (((), ()), ((7, 33), (7, 33)), ((2, 1, 5), (3, 5)), ((0, 3), (0, 3))):
        a, b = make(a_shape, dtype), make(b_shape, dtype, 1)
        shape = torch.broadcast_shapes(a_shape, b_shape)
        x, y = a.double().expand(shape), b.double().expand(shape)
        want = F.mse_loss(x, y, reduction=REDUCTIONS[reduction])
        out = torch.empty(want.shape, dtype=dtype)
        call("aclnnMseLoss", a, b, reduction, out)
        assert_close(out, want, 4, 1e-6)
        g = make(tuple(want.shape), dtype, 2)
        dx = torch.empty(shape, dtype=dtype)
        call("aclnnMseLossBackward", g, a, b, reduction, dx)
        n = max(x.numel(), 1) if reduction == 1 else 1
        assert_close(dx, 2 * (x - y) * g.double() / n, 4, 1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("target_dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("reduction", [0, 1, 2])
def test_nll(dtype: torch.dtype, target_dtype: torch.dtype, reduction: int) -> None:
    x, w = make((37, 9), dtype), make((9,), dtype, 1, low=0.1, high=2)
    t = make((37,), torch.int64, 2).abs() % 9
    t[3] = t[11] = 5
    for weight in (w, None):
        want, total = torch.ops.aten.nll_loss_forward(
            x.double(), t, None if weight is None else w.double(), reduction, 5
        )
        out, total_out = torch.empty(want.shape, dtype=dtype), torch.empty((), dtype=dtype)
        call("aclnnNLLLoss", x, t.to(target_dtype), weight, reduction, 5, out, total_out)
        assert_close(out, want, 2)
        assert_close(total_out, total, 2)
        g = make(tuple(want.shape), dtype, 3)
        dx = torch.empty_like(x)
        call("aclnnNLLLossBackward", g, x, t.to(target_dtype), weight, reduction, 5, total_out, dx)
        grad = torch.ops.aten.nll_loss_backward(
            g.double(),
            x.double(),
            t,
            None if weight is None else w.double(),
            reduction,
            5,
            total_out.double(),
        )
        assert_close(dx, grad, 2)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("target_dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("reduction", [0, 1, 2])
def test_nll_of_images(dtype: torch.dtype, target_dtype: torch.dtype, reduction: int) -> None:
    for shape in ((2, 7, 3, 5), (1, 1, 1, 1), (3, 4, 1, 6), (2, 3, 0, 4)):
        n, classes, h, w = shape
        t = torch.randint(0, classes, (n, h, w), generator=torch.Generator().manual_seed(1))
        t[t == 5] = -100
        for weight in (None, make((classes,), dtype, 3).abs() + 0.5):
            for _, x in layouts(make(shape, dtype)):
                wide = x.double().contiguous()
                want, total = torch.ops.aten.nll_loss2d_forward(
                    wide, t, None if weight is None else weight.double(), reduction, -100
                )
                out, total_out = torch.empty(want.shape, dtype=dtype), torch.empty((), dtype=dtype)
                target = t.to(target_dtype)
                call("aclnnNLLLoss2d", x, target, weight, reduction, -100, out, total_out)
                # Sums of up to 30 terms below 8, in double, in another order than the reference's.
                assert_close(out, want, 1, 30 * 8 * 2**-52)
                assert_close(total_out, total, 1, 30 * 8 * 2**-52)
                g, dx = make(tuple(want.shape), dtype, 2), torch.full(shape, torch.nan, dtype=dtype)
                call("aclnnNLLLoss2dBackward", g, x, target, weight, reduction, -100, total_out, dx)
                if t.numel() == 0:
                    continue
                grad = torch.ops.aten.nll_loss2d_backward(
                    g.double(), wide, t, None if weight is None else weight.double(), reduction, -100,
                    total_out.double(),
                )  # fmt: skip
                assert_close(dx, grad, 1)


def test_nll_of_images_errors() -> None:
    x, out, total = torch.zeros(2, 3, 4, 5), torch.empty(()), torch.empty(())
    t = torch.zeros(2, 4, 5, dtype=torch.int64)
    for args, text in (
        ((x[0], t, None, 1, -100, out, total), r"self is float32\[3,4,5\], want .*\[batch, classes"),
        ((x, t[:, :, :4], None, 1, -100, out, total), r"target is int64\[2,4,4\].*want 40 integers"),
        ((x, t, torch.ones(2), 1, -100, out, total), r"weight is float32\[2\]"),
        ((x, t, None, 0, -100, torch.empty(40), total), r"out is float32\[40\]"),
        ((x, t + 3, None, 1, -100, out, total), r"target\[0\] is 3, self has 3 classes"),
    ):
        with pytest.raises(OperatorError, match="aclnnNLLLoss2d: " + text):
            call("aclnnNLLLoss2d", *args)


def test_nll_one_row_and_errors() -> None:
    out, total = torch.empty(()), torch.empty(())
    call("aclnnNLLLoss", torch.tensor([0.5, 2.0]), torch.tensor(1), None, 1, -100, out, total)
    assert out == -2 and total == 1
    with pytest.raises(OperatorError, match=r"aclnnNLLLoss: target\[1\] is 2, self has 2 classes") as e:
        call("aclnnNLLLoss", torch.zeros(2, 2), torch.tensor([0, 2]), None, 1, -100, out, total)
    assert e.value.phase == 2
    with pytest.raises(OperatorError, match="reduction is 3"):
        call("aclnnNLLLoss", torch.zeros(2, 2), torch.tensor([0, 1]), None, 3, -100, out, total)


@pytest.mark.parametrize("dtype", FLOATS)
def test_logsumexp(dtype: torch.dtype) -> None:
    for shape, dims in (
        ((), []),
        ((7,), [0]),
        ((3, 0), [1]),
        ((3, 50), [1]),
        ((50, 3), [0]),
        ((2, 3, 40), [0, 2]),
    ):
        for _, x in layouts(make(shape, dtype)):
            want = torch.logsumexp(x.double(), dims or tuple(range(x.dim())), keepdim=True)
            out = torch.empty(want.shape, dtype=dtype)
            call("aclnnLogSumExp", x, IntArray(dims), True, out)
            assert_close(out, want, 2, 1e-6 if dtype != torch.float64 else 1e-14)
    inf = float("inf")
    out = torch.empty(3)
    call(
        "aclnnLogSumExp", torch.tensor([[inf, 1], [-inf, -inf], [float("nan"), 0]]), IntArray([1]), False, out
    )
    assert out[0] == inf and out[1] == -inf and out[2].isnan()


def test_equal() -> None:
    out = torch.empty(1, dtype=torch.bool)
    x = make((70, 1031), torch.float32)
    y = x.clone()
    for a, b in ((x, y), (x.t(), y.t().contiguous()), (x, y[:, :-1]), (x, y.view(-1)), (x[:0], y[:0])):
        call("aclnnEqual", a, b, out)
        assert out.item() == torch.equal(a, b)
    y[69, 1030] += 1
    call("aclnnEqual", x, y, out)
    assert not out.item()
    call("aclnnEqual", torch.tensor(float("nan")), torch.tensor(float("nan")), out)
    assert not out.item()
