"""Rotary embeddings and their gradients against the formulas in float64 and autograd."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import assert_close

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# x and tables: BNSD, BSND, SBND, with repeated dimensions where models repeat them.
SHAPES = (
    ((2, 3, 5, 8), (1, 1, 5, 8)), ((2, 5, 3, 16), (1, 5, 1, 16)), ((5, 2, 3, 64), (5, 1, 1, 64)),
    ((5, 2, 3, 12), (5, 2, 1, 12)), ((3, 2, 2, 4), (3, 2, 2, 4)), ((0, 2, 2, 4), (1, 2, 1, 4)), ((40, 2, 9, 128), (40, 1, 1, 128)),
)  # fmt: skip


def turn(x: torch.Tensor, mode: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What is multiplied with cos and with sin."""
    if mode == 1:
        return x, torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)
    if mode == 2:
        a, b, c, d = x.chunk(4, -1)
        return x, torch.cat((-b, a, -d, c), -1)
    if mode == 3:
        x = torch.cat((x[..., ::2], x[..., 1::2]), -1)
    a, b = x.chunk(2, -1)
    return x, torch.cat((-b, a), -1)


def reference(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, mode: int) -> torch.Tensor:
    part, turned = turn(x, mode)
    return part * cos + turned * sin


def inputs(x_shape: tuple, table_shape: tuple, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(0)
    return tuple(torch.randn(s, generator=g).to(dtype) for s in (x_shape, table_shape, table_shape))


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_forward_and_gradients(dtype: torch.dtype, mode: int) -> None:
    for shapes in SHAPES:
        x, cos, sin = inputs(*shapes, dtype)
        out = torch.empty_like(x)
        call("aclnnRotaryPositionEmbedding", x, cos, sin, mode, out)
        leaves = [t.double().requires_grad_() for t in (x, cos, sin)]
        expected = reference(*leaves, mode)
        assert_close(out, expected.detach(), 1, atol=1e-6)
        dy = torch.randn_like(out)
        expected.backward(dy.double())
        grads = [torch.empty_like(t) for t in (x, cos, sin)]
        call("aclnnRotaryPositionEmbeddingGrad", dy, cos, sin, x, mode, *grads)
        for got, leaf in zip(grads, leaves, strict=True):
            assert_close(got, leaf.grad, 2, atol=2e-5)


def test_without_x_the_tables_have_no_gradient() -> None:
    dy, cos, sin = inputs(*SHAPES[0], torch.float32)
    dx, dcos, dsin = (torch.full_like(t, 7.0) for t in (dy, cos, sin))
    call("aclnnRotaryPositionEmbeddingGrad", dy, cos, sin, None, 0, dx, dcos, dsin)
    assert not dcos.any()
    assert not dsin.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_strided_inputs(dtype: torch.dtype) -> None:
    x, cos, sin = inputs((2, 3, 5, 16), (1, 1, 5, 16), dtype)
    strided = [torch.empty(*t.shape[:-1], 48).to(dtype)[..., 1:33:2] for t in (x, cos, sin)]
    for to, source in zip(strided, (x, cos, sin), strict=True):
        to.copy_(source)
    out, expected = torch.empty(5, 3, 2, 16, dtype=dtype).permute(2, 1, 0, 3), torch.empty_like(x)
    call("aclnnRotaryPositionEmbedding", x, cos, sin, 0, expected)
    call("aclnnRotaryPositionEmbedding", *strided, 0, out)
    assert torch.equal(out, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rotate_matrix(dtype: torch.dtype) -> None:
    x, cos, sin = inputs((2, 5, 3, 16), (1, 5, 1, 16), dtype)
    rotate = torch.randn(16, 16, generator=torch.Generator().manual_seed(1)).to(dtype)
    out = torch.empty_like(x)
    call("aclnnRotaryPositionEmbeddingV2", x, cos, sin, 0, rotate, out)
    assert_close(out, x.double() * cos.double() + (x.double() @ rotate.double()) * sin.double(), 1, atol=1e-5)
    call("aclnnRotaryPositionEmbeddingV2", x, cos, sin, 1, None, out)
    assert_close(out, reference(x.double(), cos.double(), sin.double(), 1), 1, atol=1e-6)


@pytest.mark.parametrize(("rotary", "mode"), [("half", 0), ("interleave", 1), ("quarter", 2)])
def test_apply_in_place_and_partial(rotary: str, mode: int) -> None:
    q, cos, sin = inputs((2, 5, 4, 32), (2, 5, 1, 16), torch.float32)
    k = torch.randn(2, 5, 2, 32)
    expected = [torch.cat((reference(t[..., :16], cos, sin, mode), t[..., 16:]), -1) for t in (q, k)]
    call("aclnnApplyRotaryPosEmbV2", q, k, cos, sin, 1, rotary)
    torch.testing.assert_close([q, k], expected, rtol=1e-6, atol=1e-6)


def test_apply_packed_and_interleave_rope() -> None:
    q, cos, sin = inputs((7, 4, 32), (7, 1, 32), torch.float32)
    k = torch.randn(7, 1, 32)
    expected = [reference(t, cos, sin, 0) for t in (q, k)]
    call("aclnnApplyRotaryPosEmb", q, k, cos, sin, 4)
    torch.testing.assert_close([q, k], expected, rtol=1e-6, atol=1e-6)
    x, cos, sin = inputs((2, 3, 5, 64), (2, 1, 5, 64), torch.float32)
    out = torch.empty_like(x)
    call("aclnnInterleaveRope", x, cos, sin, out)
    torch.testing.assert_close(out, reference(x, cos, sin, 3), rtol=1e-6, atol=1e-6)


def test_bad_input_is_named() -> None:
    x, cos, sin = inputs(*SHAPES[0], torch.float32)
    with pytest.raises(OperatorError, match="aclnnRotaryPositionEmbedding: mode is 4"):
        call("aclnnRotaryPositionEmbedding", x, cos, sin, 4, x)
    with pytest.raises(OperatorError, match="does not broadcast to x"):
        call("aclnnRotaryPositionEmbedding", x, cos[:, :, :3], sin[:, :, :3], 0, x)
    with pytest.raises(OperatorError, match="needs a multiple of 2"):
        call("aclnnRotaryPositionEmbedding", x[..., :7], cos[..., :7], sin[..., :7], 0, x[..., :7])
    with pytest.raises(OperatorError, match='rotaryMode is "third"'):
        call("aclnnApplyRotaryPosEmbV2", x, x.clone(), cos, sin, 1, "third")
