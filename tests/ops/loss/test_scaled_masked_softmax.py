# SPDX-License-Identifier: Apache-2.0
"""Softmax of scaled and masked scores, and its gradient: both aclnn operators, and the same by name."""

from __future__ import annotations

import aclop
import pytest
import torch
from aclnn import OperatorError, call
from compare import FLOATS, assert_close, layouts, make

# x, mask: a mask per head or for all, one row, odd, wider than a block, empty.
SHAPES = (
    ((2, 3, 5, 7), (2, 1, 5, 7)), ((2, 3, 33, 40), (1, 1, 33, 40)), ((4, 1031), (1031,)), ((3, 1), (3, 1)), ((2, 0, 4, 4), (1, 1, 4, 4)),
    ((3, 130, 130), (130, 130)),
)  # fmt: skip


def reference(x: torch.Tensor, mask: torch.Tensor, scale: float) -> torch.Tensor:
    return (x * scale).masked_fill(mask, -10000).softmax(-1)


def causal(x: torch.Tensor) -> torch.Tensor:
    return torch.ones(x.shape[-2:]).triu(1).bool()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("fixed", [False, True])
def test_softmax_and_gradient(dtype: torch.dtype, fixed: bool) -> None:
    atol = 1e-14 if dtype == torch.float64 else 1e-6
    for shape, mask_shape in SHAPES:
        given, scale = make(mask_shape, torch.bool), 0.37
        x, g = make(shape, dtype), make(shape, dtype, 2)
        mask = causal(x) if fixed else given
        exact = x.double().requires_grad_()
        want = reference(exact, mask, scale)
        for layout in range(3):
            a, b, m = (list(layouts(t))[min(layout, t.dim())][1] for t in (x, g, given))
            y = torch.full(shape, 7.0, dtype=dtype)
            call("aclnnScaledMaskedSoftmax", a, m, scale, fixed, y)
            assert_close(y, want.detach(), 3, atol)
            y64 = y.double()
            dx = torch.full(shape, 7.0, dtype=dtype)
            call("aclnnScaledMaskedSoftmaxBackward", b, y, m, scale, fixed, dx)
            expected = (y64 * (g.double() - (g.double() * y64).sum(-1, keepdim=True)) * scale).masked_fill(
                mask, 0
            )
            assert_close(dx, expected, 2, 4 * atol)
        want.backward(g.double())
        assert_close(
            dx, exact.grad, 2, 0.05 if dtype == torch.bfloat16 else 1e-2 if dtype == torch.float16 else 1e-5
        )


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("fixed", [False, True])
def test_by_name(dtype: torch.dtype, fixed: bool) -> None:
    """As torch_npu launches it: scale is a float, the choice of the mask a bool."""
    x, mask, g = make((2, 3, 9, 12), dtype), make((2, 1, 9, 12), torch.bool), make((2, 3, 9, 12), dtype, 2)
    y, dx, other, dother = (torch.empty_like(x) for _ in range(4))
    attrs = {"scale": 0.5, "fixed_triu_mask": fixed}
    aclop.call("ScaledMaskedSoftmax", [x, mask], [y], attrs)
    call("aclnnScaledMaskedSoftmax", x, mask, 0.5, fixed, other)
    aclop.call("ScaledMaskedSoftmaxGrad", [g, y, mask], [dx], attrs)
    call("aclnnScaledMaskedSoftmaxBackward", g, y, mask, 0.5, fixed, dother)
    assert torch.equal(y, other) and torch.equal(dx, dother)
    assert_close(y, reference(x.double(), causal(x) if fixed else mask, 0.5), 3, 1e-6)


def test_by_name_without_attributes() -> None:
    x, mask, y = make((4, 5), torch.float32), make((4, 5), torch.bool), torch.empty(4, 5)
    aclop.call("ScaledMaskedSoftmax", [x, mask], [y])
    assert_close(y, reference(x.double(), mask, 1.0), 3, 1e-7)
    for attrs, text in (
        ({"scale": 1}, "attribute scale is of type int, must be float"),
        ({"fixed_triu_mask": 1.0}, "must be bool"),
        ({"dim": 1}, "dim"),
    ):
        with pytest.raises(aclop.OperatorError, match=text):
            aclop.call("ScaledMaskedSoftmax", [x, mask], [y], attrs)


def test_rows_that_are_masked_altogether_are_uniform() -> None:
    x, mask, y, dx = (
        make((2, 4), torch.float32),
        torch.tensor([[True] * 4, [False] * 4]),
        torch.empty(2, 4),
        torch.empty(2, 4),
    )
    call("aclnnScaledMaskedSoftmax", x, mask, 1.0, False, y)
    assert y[0].tolist() == [0.25] * 4
    call("aclnnScaledMaskedSoftmaxBackward", torch.arange(8.0).view(2, 4), y, mask, 1.0, False, dx)
    assert bool((dx[0] == 0).all()) and bool((dx[1] != 0).any())


def test_values_that_are_not_finite() -> None:
    x = torch.zeros(3, 4)
    x[0, 1], x[1, 1], x[2, 1] = float("nan"), float("inf"), -float("inf")
    mask, y = torch.zeros(3, 4, dtype=torch.bool), torch.empty(3, 4)
    call("aclnnScaledMaskedSoftmax", x, mask, 1.0, False, y)
    assert torch.equal(y.isnan(), reference(x, mask, 1.0).isnan()) and y[2, 1] == 0
    mask[:, 1] = True
    call("aclnnScaledMaskedSoftmax", x, mask, 1.0, False, y)
    assert_close(y, reference(x.double(), mask, 1.0), 1)


def test_in_place() -> None:
    x, mask = make((5, 33), torch.float32), make((5, 33), torch.bool)
    want = reference(x.double(), mask, 2.0)
    call("aclnnScaledMaskedSoftmax", x, mask, 2.0, False, x)
    assert_close(x, want, 3, 1e-7)


f = torch.ones
BAD = [
    ("mask is bool[3], which does not broadcast to float32[2,4]", "aclnnScaledMaskedSoftmax", (f(2, 4), f(3).bool(), 1.0, False, f(2, 4))),
    ("mask is float32[2,4], want bool", "aclnnScaledMaskedSoftmax", (f(2, 4), f(2, 4), 1.0, False, f(2, 4))),
    ("y is float32[2,5]", "aclnnScaledMaskedSoftmax", (f(2, 4), f(2, 4).bool(), 1.0, False, f(2, 5))),
    ("want two dimensions or more", "aclnnScaledMaskedSoftmax", (f(4), f(4).bool(), 1.0, True, f(4))),
    ("mask is null", "aclnnScaledMaskedSoftmax", (f(4), None, 1.0, False, f(4))),
    ("x is int32[4]", "aclnnScaledMaskedSoftmax", (f(4).int(), f(4).bool(), 1.0, False, f(4))),
    ("y is null", "aclnnScaledMaskedSoftmaxBackward", (f(4), None, f(4).bool(), 1.0, False, f(4))),
    ("out is float32[5]", "aclnnScaledMaskedSoftmaxBackward", (f(4), f(4), f(4).bool(), 1.0, False, f(5))),
]  # fmt: skip


@pytest.mark.parametrize(("text", "name", "arguments"), BAD, ids=[b[0] for b in BAD])
def test_bad_input(text: str, name: str, arguments: tuple) -> None:
    with pytest.raises(OperatorError) as error:
        call(name, *arguments)
    assert text in error.value.text and name in error.value.text
