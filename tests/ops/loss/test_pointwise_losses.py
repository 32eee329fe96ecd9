"""Losses that compare element by element, and their gradients, against PyTorch in float64; then multi-label margin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from aclnn import OperatorError, call
from compare import FLOATS, assert_close, layouts, make

REDUCTIONS = ("none", "mean", "sum")
SHAPES: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((), ()), ((7, 33), (7, 33)), ((2, 1, 5), (3, 5)), ((1,), (40,)), ((0, 3), (0, 3)), ((65, 1031), (65, 1031)),
)  # fmt: skip
Loss = Callable[..., torch.Tensor]
# name: (reference, what is passed behind the reduction, ranges of self and target)
PAIRS: dict[str, tuple[Loss, tuple[Any, ...], tuple[float, float], tuple[float, float]]] = {
    "L1Loss": (F.l1_loss, (), (-3, 3), (-3, 3)),
    "MseLoss": (F.mse_loss, (), (-3, 3), (-3, 3)),
    "SmoothL1Loss": (lambda a, b, reduction: F.smooth_l1_loss(a, b, reduction=reduction, beta=0.5), (0.5,), (-2, 2), (-2, 2)),
    "SoftMarginLoss": (F.soft_margin_loss, (), (-4, 4), (-1, 1)),
    "KlDiv": (F.kl_div, (False,), (-4, 0), (0.01, 1)),
    "KlDiv log": (lambda a, b, reduction: F.kl_div(a, b, reduction=reduction, log_target=True), (True,), (-4, 0), (-4, 0)),
    "BinaryCrossEntropy": (F.binary_cross_entropy, (), (0.01, 0.99), (0, 1)),
    "BinaryCrossEntropyWithLogits": (F.binary_cross_entropy_with_logits, (), (-5, 5), (0, 1)),
}  # fmt: skip


def weights_of(name: str, optional: list[torch.Tensor | None]) -> list[torch.Tensor | None]:
    """Arguments between target and reduction."""
    if name == "BinaryCrossEntropy":
        return optional[:1]
    return optional if name == "BinaryCrossEntropyWithLogits" else []


def near(dtype: torch.dtype, n: int) -> dict[str, float]:
    """Values of about 1 to 30, rounded at some steps; sums of n of them are in double."""
    eps = 2e-15 if dtype == torch.float64 else 1e-6
    return {"max_ulp": 6 if dtype in (torch.float32, torch.float64) else 1.01, "atol": 10 * eps}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", PAIRS)
def test_against_pytorch(name: str, reduction: str, dtype: torch.dtype) -> None:
    reference, behind, own, others = PAIRS[name]
    operator, number = name.split()[0], REDUCTIONS.index(reduction)
    for a_shape, b_shape in SHAPES if dtype in (torch.float32, torch.bfloat16) else SHAPES[:-1]:
        if name == "BinaryCrossEntropy" and a_shape != b_shape:
            continue  # PyTorch's takes no others
        shape = torch.broadcast_shapes(a_shape, b_shape)
        a, b = (
            make(a_shape, dtype, low=own[0], high=own[1]),
            make(b_shape, dtype, 1, low=others[0], high=others[1]),
        )
        x, y = (t.double().expand(shape).clone() for t in (a, b))
        inputs = (x, y) if operator == "KlDiv" else (x,)
        for t in inputs:
            t.requires_grad_()
        want = reference(x, y, reduction=reduction)
        g = make(tuple(want.shape), dtype, 2)
        gradient, *to_target = torch.autograd.grad(want, inputs, g.double())
        weights = weights_of(operator, [None, None])
        for (_, a_view), (_, b_view) in zip(layouts(a), layouts(b), strict=False):
            out, dx = torch.empty(want.shape, dtype=dtype), torch.full(shape, torch.nan, dtype=dtype)
            call(f"aclnn{operator}", a_view, b_view, *weights, number, *behind, out)
            assert_close(out, want.detach(), **near(dtype, x.numel()))
            call(f"aclnn{operator}Backward", g, a_view, b_view, *weights, number, *behind, dx)
            assert_close(dx, gradient, **near(dtype, 1))
            if operator == "KlDiv":
                dy = torch.full(shape, torch.nan, dtype=dtype)
                call("aclnnKlDivTargetBackward", g, a_view, b_view, number, *behind, dy)
                assert_close(dy, to_target[0], **near(dtype, 1))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("given", ("weight", "positive", "both"))
def test_weights_of_cross_entropy(given: str, reduction: str, dtype: torch.dtype) -> None:
    number = REDUCTIONS.index(reduction)
    logits, target = make((9, 37), dtype, low=-4, high=4), make((9, 37), dtype, 1, low=0, high=1)
    weight = make((9, 1), dtype, 3, low=0.1, high=2) if given != "positive" else None
    positive = make((37,), dtype, 4, low=0.1, high=3) if given != "weight" else None
    wide = [None if t is None else t.double() for t in (weight, positive)]
    x = logits.double().requires_grad_()
    want = F.binary_cross_entropy_with_logits(
        x, target.double(), wide[0], pos_weight=wide[1], reduction=reduction
    )
    g = make(tuple(want.shape), dtype, 2)
    (gradient,) = torch.autograd.grad(want, x, g.double())
    out, dx = torch.empty(want.shape, dtype=dtype), torch.empty(9, 37, dtype=dtype)
    call("aclnnBinaryCrossEntropyWithLogits", logits, target, weight, positive, number, out)
    assert_close(out, want.detach(), **near(dtype, 1))
    call("aclnnBinaryCrossEntropyWithLogitsBackward", g, logits, target, weight, positive, number, dx)
    assert_close(dx, gradient, **near(dtype, 1))
    if given != "weight":
        return
    p = torch.sigmoid(logits.double()).to(dtype)
    x = p.double().requires_grad_()
    want = F.binary_cross_entropy(x, target.double(), wide[0].expand(9, 37), reduction=reduction)  # type: ignore[union-attr]
    (gradient,) = torch.autograd.grad(want, x, g.double())
    call("aclnnBinaryCrossEntropy", p, target, weight, number, out)
    assert_close(out, want.detach(), **near(dtype, 1))
    call("aclnnBinaryCrossEntropyBackward", g, p, target, weight, number, dx)
    assert_close(dx, gradient, **near(dtype, 1))


@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
def test_corners(dtype: torch.dtype) -> None:
    """Where formulas have a case of their own, the values are PyTorch's."""
    inf, nan = float("inf"), float("nan")
    a = torch.tensor([0.0, 1.0, 0.0, -0.5, 0.5, nan, inf, -inf, 2.0], dtype=dtype)
    b = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, nan], dtype=dtype)
    one, out = torch.ones((), dtype=dtype), torch.empty_like(a)
    for name, reference, behind in (
        ("L1Loss", F.l1_loss, ()),
        ("SmoothL1Loss", lambda x, y, reduction: torch.ops.aten.smooth_l1_loss(x, y, 0, 0.5), (0.5,)),
        ("SmoothL1Loss", lambda x, y, reduction: torch.ops.aten.smooth_l1_loss(x, y, 0, 0.0), (0.0,)),
        ("BinaryCrossEntropyWithLogits", F.binary_cross_entropy_with_logits, ()),
    ):  # fmt: skip
        x = a.clone().requires_grad_()
        want = reference(x, b, reduction="none")
        call(f"aclnn{name}", a, b, *weights_of(name, [None, None]), 0, *behind, out)
        assert_close(out, want.detach(), 2)
        want.sum().backward()
        call(f"aclnn{name}Backward", one, a, b, *weights_of(name, [None, None]), 0, *behind, out)
        assert_close(out, x.grad, 2)
    # Certainty that is wrong: 100; a target of 0: 0; large margins: neither infinite nor NaN.
    p, t = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=dtype), torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=dtype)
    x, out = p.clone().requires_grad_(), torch.empty(4, dtype=dtype)
    want = F.binary_cross_entropy(x, t, reduction="none")
    call("aclnnBinaryCrossEntropy", p, t, None, 0, out)
    assert_close(out, want.detach(), 1)
    want.sum().backward()
    call("aclnnBinaryCrossEntropyBackward", one, p, t, None, 0, out)
    assert_close(out, x.grad, 2)
    x, t = torch.tensor([-1.0, -2, -3, -4], dtype=dtype), torch.tensor([0.0, 0, 0.5, 1], dtype=dtype)
    call("aclnnKlDiv", x, t, 0, False, out)
    assert_close(out, F.kl_div(x, t, reduction="none"), 2)
    call("aclnnKlDivTargetBackward", one, x, t, 0, False, out)
    assert out[:2].tolist() == [0, 0]
    x, t = torch.tensor([-1000.0, 1000, 800, 0], dtype=dtype), torch.ones(4, dtype=dtype)
    call("aclnnSoftMarginLoss", x, t, 0, out)
    assert out[:3].tolist() == [1000, 0, 0]
    call("aclnnSoftMarginLossBackward", one, x, t, 0, out)
    assert out.tolist() == [-1, 0, 0, -0.5]


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_gradient_is_added_up_where_the_input_was_repeated(dtype: torch.dtype) -> None:
    for shape in ((5,), (1, 5), (3, 1), ()):
        a, b = make(shape, dtype, low=-3, high=0), make((3, 5), dtype, 1, low=0.1, high=1)
        x = a.double().requires_grad_()
        F.kl_div(x, b.double(), reduction="sum").backward()
        dx = torch.empty(shape, dtype=dtype)
        call("aclnnKlDivBackward", torch.ones((), dtype=dtype), a, b, 2, False, dx)
        assert_close(dx, x.grad, **near(dtype, 15))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("integers", (torch.int64, torch.int32))
def test_multilabel_margin(integers: torch.dtype, reduction: str, dtype: torch.dtype) -> None:
    for shape in ((6,), (4, 6), (1, 1), (3, 37), (0, 5)):
        x = make(shape, dtype)
        t = torch.randint(0, shape[-1], shape, generator=torch.Generator().manual_seed(3))
        t[..., shape[-1] // 2 :] = -1
        if shape == (4, 6):
            t[0], t[1], t[2, 0] = torch.arange(6), torch.tensor([2, 2, -1, 1, -1, 5]), -1
        want, marks = torch.ops.aten.multilabel_margin_loss_forward(
            x.double(), t, REDUCTIONS.index(reduction)
        )
        if shape[0] == 0 and reduction != "none":  # PyTorch leaves its output as it was
            want = torch.tensor(0.0 if reduction == "sum" else torch.nan)
        for _, view in layouts(x):
            out, is_target = torch.empty(want.shape, dtype=dtype), torch.full(shape, torch.nan, dtype=dtype)
            call(
                "aclnnMultilabelMarginLoss", view, t.to(integers), REDUCTIONS.index(reduction), out, is_target
            )
            assert_close(out, want, 1.01, 1e-13)
            if x.numel() > 0:
                assert torch.equal(is_target.double(), marks.double().view(shape))


def test_errors() -> None:
    x, out, wide = torch.full((2, 3), 0.5), torch.empty(()), torch.empty(2, 3)
    t = torch.tensor([[0, -1, 3], [0, 1, 2]])
    nan = torch.tensor([0.5, float("nan")])
    for name, args, text in (
        ("L1Loss", (x, x, 3, out), "reduction is 3, want 0"),
        ("L1Loss", (x, None, 1, out), "target is null"),
        ("L1Loss", (x, x, 1, wide), r"out is float32\[2,3\], wanted a scalar"),
        ("L1Loss", (x, x, 0, out), r"out is float32\[\], wanted float32\[2,3\]"),
        ("L1Loss", (x, torch.ones(4), 1, out), r"target float32\[4\] does not broadcast"),
        ("L1Loss", (x, x, 1, torch.empty((), dtype=torch.int64)), "result type float32"),
        ("L1LossBackward", (out, x, x, 1, torch.empty(4)), r"gradInput is float32\[4\], wanted a shape that broadcasts"),
        ("SmoothL1Loss", (x, x, 1, -1.0, out), "beta is -1, wanted 0 or more"),
        ("BinaryCrossEntropy", (x + 1, x, None, 1, out), "self has the element 1.5, wanted 0 to 1"),
        ("BinaryCrossEntropy", (x, x - 1, None, 1, out), "target has the element -0.5, wanted 0 to 1"),
        ("BinaryCrossEntropy", (nan, nan, None, 1, out), "self has the element nan"),
        ("BinaryCrossEntropy", (nan.double(), nan.double(), None, 1, out.double()), "self has the element nan"),
        ("MultilabelMarginLoss", (x, t, 1, out, wide), r"index 3 at position \[0,2\] of target is out of range"),
        ("MultilabelMarginLoss", (x, t[:1], 1, out, wide), r"target is int64\[1,3\], wanted integers in the shape"),
        ("MultilabelMarginLoss", (x, t, 0, out, wide), r"out is float32\[\], wanted a floating point value per row"),
        ("MultilabelMarginLoss", (x.view(1, 2, 3), t, 0, out, wide), r"self is float32\[1,2,3\]"),
    ):  # fmt: skip
        with pytest.raises(OperatorError, match=f"aclnn{name}: {text}"):
            call(f"aclnn{name}", *args)
