"""aclnnGridSampler2D and its gradients, with PyTorch in float64 as the reference."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from aclnn import BoolArray, OperatorError, call
from conv_cases import DTYPES
from matmul_cases import values

T = torch.Tensor
MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")
# Images, and rows and columns of the grid: more places than a block of 128, one row, one element.
SHAPES = (((2, 3, 7, 9), (5, 11)), ((1, 20, 6, 5), (13, 29)), ((1, 2, 1, 8), (4, 4)), ((1, 2, 1, 1), (2, 3)))


def places(shape: tuple[int, ...], size: tuple[int, int], dtype: torch.dtype) -> T:
    """Within the image and beyond each edge, by more than its size."""
    g = torch.Generator().manual_seed(3)
    return (torch.rand(shape[0], *size, 2, generator=g, dtype=torch.float64) * 6.4 - 3.2).to(dtype)


def assert_near(actual: T, want: T, scale: float) -> None:
    torch.testing.assert_close(
        actual.double(), want, rtol=2 * torch.finfo(actual.dtype).eps, atol=scale * 2.0**-21
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("mode", MODES)
def test_forward_and_backward(mode: str, padding: str, corners: bool, dtype: torch.dtype) -> None:
    numbers = MODES.index(mode), PADDINGS.index(padding), corners
    for shape, size in SHAPES:
        x, grid = values(shape, dtype), places(shape, size, dtype)
        leaves = [t.double().requires_grad_() for t in (x, grid)]
        want = F.grid_sample(*leaves, mode=mode, padding_mode=padding, align_corners=corners)
        out = torch.full(want.shape, float("nan"), dtype=dtype)
        call("aclnnGridSampler2D", x, grid, *numbers, out)
        assert_near(out, want.detach(), 4)
        dy = values(tuple(want.shape), dtype, 1)
        dx, dgrid = torch.full_like(x, float("nan")), torch.full_like(grid, float("nan"))
        call("aclnnGridSampler2DBackward", dy, x, grid, *numbers, BoolArray((True, True)), dx, dgrid)
        gradients = torch.autograd.grad(want, leaves, dy.double())
        assert_near(dx, gradients[0], 64)
        assert_near(dgrid, gradients[1], 16 * shape[1] * max(shape[2:]))


def test_strided_mixed_and_masked() -> None:
    x = values((2, 6, 7, 3), torch.bfloat16).movedim(-1, 1)
    grid = places((2,), (4, 5), torch.float32).transpose(1, 2)
    want = F.grid_sample(x.double(), grid.double(), align_corners=False)
    out = torch.empty(2, 5, 4, 3).movedim(-1, 1)
    call("aclnnGridSampler2D", x, grid, 0, 0, False, out)
    assert_near(out, want, 4)
    dx, dgrid = torch.full(x.shape, 7.0), torch.full(grid.shape, 7.0)
    call("aclnnGridSampler2DBackward", out, x, grid, 0, 0, False, BoolArray((True, False)), dx, None)
    call("aclnnGridSampler2DBackward", out, x, grid, 0, 0, False, BoolArray((False, True)), None, dgrid)
    assert not (dx == 7).any()
    assert not (dgrid == 7).any()


def test_infinite_and_no_places() -> None:
    """A place that is no number is one outside; so is an infinite one, which PyTorch clips to the edge."""
    x = torch.ones(1, 1, 3, 3)
    grid = (
        torch.tensor([float("nan"), float("inf"), -float("inf"), 1e30]).repeat_interleave(2).view(1, 1, 4, 2)
    )
    for mode in range(3):
        out = torch.full((1, 1, 1, 4), 7.0)
        call("aclnnGridSampler2D", x, grid, mode, 0, False, out)
        assert not out.any()
        for padding in (1, 2):
            call("aclnnGridSampler2D", x, grid, mode, padding, False, out)
    call("aclnnGridSampler2D", x[:0], grid[:0], 0, 0, False, torch.empty(0, 1, 1, 4))
    dx = torch.full_like(x, 7.0)
    call(
        "aclnnGridSampler2DBackward", torch.empty(1, 1, 0, 4), x, grid[:, :0], 0, 0, False, BoolArray((True, True)),
        dx, torch.empty(1, 0, 4, 2),
    )  # fmt: skip
    assert not dx.any()


X, G = torch.ones(1, 2, 3, 4), torch.zeros(1, 5, 6, 2)
BAD = [
    ((None, G, 0, 0, False, torch.ones(1, 2, 5, 6)), "input is null"),
    ((X, G[..., :1], 0, 0, False, torch.ones(1, 2, 5, 6)), "wanted [N,C,H,W] and [N,rows,columns,2]"),
    ((X, G.repeat(2, 1, 1, 1), 0, 0, False, torch.ones(1, 2, 5, 6)), "with the same N"),
    ((X, G, 3, 0, False, torch.ones(1, 2, 5, 6)), "interpolationMode is 3"),
    ((X, G, 0, -1, False, torch.ones(1, 2, 5, 6)), "paddingMode is -1"),
    ((X.int(), G, 0, 0, False, torch.ones(1, 2, 5, 6)), "wanted float32, bfloat16 or float16"),
    ((X[..., :0], G, 0, 0, False, torch.ones(1, 2, 5, 6)), "wanted images that are not empty"),
    ((X, G, 0, 0, False, torch.ones(1, 2, 5, 7)), "out is float32[1,2,5,7], wanted float32[1,2,5,6]"),
]  # fmt: skip


@pytest.mark.parametrize(("args", "text"), BAD, ids=[b[1] for b in BAD])
def test_bad_input(args: tuple, text: str) -> None:
    with pytest.raises(OperatorError) as error:
        call("aclnnGridSampler2D", *args)
    assert "aclnnGridSampler2D" in error.value.text
    assert text in error.value.text


def test_bad_mask() -> None:
    args = (torch.ones(1, 2, 5, 6), X, G, 0, 0, False)
    with pytest.raises(OperatorError, match="outputMask has 1 values, wanted 2"):
        call("aclnnGridSampler2DBackward", *args, BoolArray((True,)), X, G)
    with pytest.raises(OperatorError, match="inputGrad is null"):
        call("aclnnGridSampler2DBackward", *args, BoolArray((True, True)), None, G)
