# SPDX-License-Identifier: Apache-2.0
"""Hyper-connections on a manifold: the three stages and their gradients, against autograd in float64."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import assert_close, layouts, make

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SHAPES = ((3, 4, 16), (2, 5, 4, 33), (1, 1, 1), (70, 6, 40), (0, 4, 8))
NORM_EPS, HC_EPS = 1e-6, 1e-3


def leaf(t: torch.Tensor) -> torch.Tensor:
    return t.double().requires_grad_()


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_post(dtype: torch.dtype, shape: tuple[int, ...], mixed: bool) -> None:
    *lead, n, d = shape
    res, post = make((*lead, n, n), torch.float32, 1), make((*lead, n), torch.float32, 2)
    h, g = make((*lead, d), dtype, 3), make(shape, dtype, 4)
    for _, x in layouts(make(shape, dtype, 5)):
        ins = [leaf(t) for t in (x, res, h, post)]
        y = ins[3][..., None] * ins[2][..., None, :]
        y = y + (torch.einsum("...km,...kd->...md", ins[1], ins[0]) if mixed else ins[0])
        out = torch.full(shape, 7, dtype=dtype)
        call("aclnnMhcPost", x, res if mixed else None, h, post, out)
        assert_close(out, y.detach(), 1, 3e-5)
        grads = [torch.full_like(t, 7) for t in (x, res, h, post)]
        call("aclnnMhcPostBackward", g, x, res if mixed else None, h, post, *grads)
        want = torch.autograd.grad(y, ins, g.double(), allow_unused=True)
        for got, expected in zip(grads, want, strict=True):
            if expected is not None:
                assert_close(got, expected, 1, 1e-4)


@pytest.mark.parametrize("with_gamma", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_pre(dtype: torch.dtype, shape: tuple[int, ...], residual: bool, with_gamma: bool) -> None:
    *lead, n, d = shape
    k = n * (n + 2) if residual else 2 * n
    phi, bias = make((k, n * d), torch.float32, 1, -0.3, 0.3), make((k,), torch.float32, 2, -1, 1)
    alpha, gamma = make((3 if residual else 2,), torch.float32, 3, 0.2, 1), make((n, d), torch.float32, 4)
    behind = make(shape, dtype, 9)
    for _, x in layouts(make(shape, dtype, 5)):
        ins = [leaf(t) for t in (x, phi, alpha, bias, gamma)]
        x64 = ins[0].reshape(*lead, n * d)
        mix = (x64 * ins[4].reshape(-1) if with_gamma else x64) @ ins[1].t()
        rms = (x64.square().mean(-1) + NORM_EPS).rsqrt()
        part = torch.tensor([0] * n + [1] * n + [2] * (k - 2 * n))
        m = ins[2][part] * mix * rms[..., None] + ins[3]
        pre, post, res = m[..., :n].sigmoid() + HC_EPS, 2 * m[..., n : 2 * n].sigmoid(), m[..., 2 * n :]
        h_in = (pre[..., None] * ins[0]).sum(-2)
        f = torch.float32
        out = [torch.full((*lead, d), 7, dtype=dtype), torch.full((*lead, n), 7, dtype=f),
               torch.full((*lead, n, n), 7, dtype=f) if residual else None, torch.full(lead, 7, dtype=f),
               torch.full((*lead, k), 7, dtype=f), torch.full((*lead, n), 7, dtype=f)]  # fmt: skip
        args = [x, phi, alpha, bias, gamma if with_gamma else None, NORM_EPS, HC_EPS]
        call("aclnnMhcPre", *args, *out)
        wanted = (h_in, post, res.reshape(*lead, n, n) if residual else None, rms, mix, pre)
        for got, want in zip(out, wanted, strict=True):
            if got is not None and want is not None:
                assert_close(got, want.detach(), 2, 4e-5)
        again = [torch.full_like(t, 7) if t is not None else None for t in out[:3]]
        call("aclnnMhcPreV2", *args, 0, *again, None, None, None)
        assert torch.equal(again[0], out[0]) and torch.equal(again[1], out[1])  # type: ignore[arg-type]
        grads_in = [
            make((*lead, d), dtype, 6),
            make((*lead, n), f, 7),
            make((*lead, n, n), f, 8) if residual else None,
        ]
        outs = [t for t in wanted[:3] if t is not None]
        want = torch.autograd.grad(
            outs, ins, [g.double() for g in grads_in if g is not None], allow_unused=True
        )
        grads = [torch.full_like(t, 7) for t in (x, phi, alpha, bias, gamma)]
        call("aclnnMhcPreBackward", x, phi, alpha, *grads_in, out[3], out[4], out[5], out[1],
             gamma if with_gamma else None, behind, HC_EPS, *grads)  # fmt: skip
        others = [torch.full_like(t, 7) for t in grads]
        call("aclnnMhcPreBackwardV2", x, phi, alpha, *grads_in, out[3], out[4], out[5], out[1],
             gamma if with_gamma else None, behind, HC_EPS, 1, *others)  # fmt: skip
        assert all(torch.equal(a, b) for a, b in zip(grads, others, strict=True))
        tokens = max(1, x.numel() // (n * d))
        assert_close(grads[0], want[0] + behind.double(), 2, 5e-4)
        for got, expected in zip(grads[1:], want[1:], strict=True):
            assert_close(
                got, torch.zeros_like(got).double() if expected is None else expected, 4, 1e-4 * tokens
            )


def to_hf32(t: torch.Tensor) -> torch.Tensor:
    """10 bits of mantissa, half a unit away from zero."""
    return ((t.view(torch.int32) + (1 << 12)) >> 13 << 13).view(torch.float32)


@pytest.mark.parametrize("with_gamma", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_pre_of_hf32(dtype: torch.dtype, with_gamma: bool) -> None:
    n, d, tokens = 4, 40, 5
    k = n * (n + 2)
    x, phi, bias = (
        make((tokens, n, d), dtype, 5),
        make((k, n * d), torch.float32, 1),
        make((k,), torch.float32, 2),
    )
    alpha, gamma = make((3,), torch.float32, 3, 0.2, 1), make((n, d), torch.float32, 4)
    left = to_hf32(x.float() * gamma if with_gamma else x.float()).reshape(tokens, n * d).double()
    mix = left @ to_hf32(phi).double().t()
    out = [
        torch.full((tokens, d), 7, dtype=dtype),
        torch.full((tokens, n), 7.0),
        torch.full((tokens, n, n), 7.0),
    ]
    kept = [torch.full((tokens,), 7.0), torch.full((tokens, k), 7.0), torch.full((tokens, n), 7.0)]
    call(
        "aclnnMhcPreV2", x, phi, alpha, bias, gamma if with_gamma else None, NORM_EPS, HC_EPS, 1, *out, *kept
    )
    assert_close(kept[1], mix, 2, 3e-4)  # sums of 160 numbers up to some 20
    rms = (x.double().square().mean((1, 2)) + NORM_EPS).rsqrt()[:, None]
    assert_close(out[1], 2 * (alpha[1] * mix[:, n : 2 * n] * rms + bias[n : 2 * n]).sigmoid(), 2, 4e-5)
    exact = (x.double() * gamma if with_gamma else x.double()).reshape(tokens, n * d) @ phi.double().t()
    assert (kept[1].double() - exact).abs().max() > 2e-3  # it is not float32


def test_hf32_leaves_what_is_not_finite() -> None:
    x, phi = torch.zeros(3, 1, 2), torch.ones(2, 2)
    x[:, 0, 0] = torch.tensor([float("inf"), float("nan"), 3.4028235e38])
    x.view(torch.int32)[1, 0, 0] = 0x7FFFFFFF
    mix = torch.zeros(3, 2)
    out = [torch.zeros(3, 2), torch.zeros(3, 1), None, None, mix, None]
    call("aclnnMhcPreV2", x, phi, torch.ones(2), torch.zeros(2), None, 0.0, 0.0, 1, *out)
    assert mix[0].isposinf().all() and mix[1].isnan().all() and mix[2].isposinf().all()


def tiles_of(tokens: int, n: int) -> list[slice]:
    """Tokens of 64 cores, which keep 126688 bytes of a tile: two copies each of matrices, of steps and of sums."""
    of_core, matrix = -(-tokens // 64), -(-n * n // 8) * 8
    of_tile = of_core
    if 4 * (2 * -(-of_core * n * n // 8) * 8 + 16 * (n + 1) * of_core) > 126688:
        of_tile = 126688 // (4 * (2 * matrix + 16 * (n + 1))) // 8 * 8
    return [
        slice(at, min(at + of_tile, core + of_core, tokens))
        for core in range(0, tokens, of_core)
        for at in range(core, min(core + of_core, tokens), of_tile)
    ]


def flat(steps: torch.Tensor, sums: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Steps [2 numIters, T, n, n] and sums [2 numIters, T, n] tile by tile, rows of 8."""
    count, tokens, n, _ = steps.shape
    norm, total = [torch.empty(0)], [torch.empty(0)]
    for part in tiles_of(tokens, n):
        norm.append(torch.nn.functional.pad(steps[:, part].transpose(1, 2), (0, 8 - n)).flatten())
        rows = torch.nn.functional.pad(sums[0::2, part].transpose(1, 2), (0, 0, 0, 8 - n), value=1)
        columns = torch.nn.functional.pad(sums[1::2, part], (0, 8 - n))
        total.append(torch.cat((rows.reshape(count // 2, -1), columns.reshape(count // 2, -1)), 1).flatten())
    return torch.cat(norm), torch.cat(total)


@pytest.mark.parametrize(("tokens", "n"), [(1, 4), (63, 3), (200, 6), (64 * 130 + 5, 8), (0, 4)])
def test_sinkhorn_of_flat_steps(tokens: int, n: int) -> None:
    eps, iterations = 1e-6, 3
    x = make((tokens, n, n), torch.float32, 1)
    x64 = leaf(x)
    y = x64.softmax(-1) + eps
    steps, sums = [y.detach()], [torch.ones(tokens, n).double()]
    for i in range(1, 2 * iterations):
        total = y.sum(-2 if i % 2 else -1, keepdim=True) + eps
        y = y / total
        steps.append(y.detach()), sums.append(total.detach().reshape(tokens, n))
    norm, total = (
        torch.full((2 * iterations * tokens * n * 8,), 7.0),
        torch.full((2 * iterations * tokens * 8,), 7.0),
    )
    out = torch.full((tokens, n, n), 7.0)
    call("aclnnMhcSinkhorn", x, eps, iterations, out, norm, total)
    want = flat(torch.stack(steps), torch.stack(sums)) if tokens > 0 else (norm, total)
    assert_close(norm, want[0].double(), 8, 1e-6)
    assert_close(total, want[1].double(), 8, 1e-6)
    grad, got = make((tokens, n, n), torch.float32, 2), torch.full((tokens, n, n), 7.0)
    call("aclnnMhcSinkhornBackward", grad, want[0].float(), want[1].float(), got)
    (expected,) = torch.autograd.grad(y, x64, grad.double())
    assert_close(got, expected, 8, 2e-5)


@pytest.mark.parametrize("iterations", [1, 3, 20])
@pytest.mark.parametrize("shape", [(3, 4), (2, 5, 6), (1, 8), (77, 3), (0, 4)], ids=str)
def test_sinkhorn(shape: tuple[int, ...], iterations: int) -> None:
    *lead, n = shape
    eps, tokens = 1e-6, int(torch.tensor(lead).prod())
    for _, x in layouts(make((*lead, n, n), torch.float32, 1)):
        x64 = leaf(x)
        y, steps = x64.softmax(-1) + eps, []
        for i in range(2 * iterations):
            if i > 0:
                y = y / (y.sum(-2 if i % 2 else -1, keepdim=True) + eps)
            steps.append(y.detach().reshape(tokens, n, n))
        out = torch.full((*lead, n, n), 7.0)
        call("aclnnMhcSinkhorn", x, eps, iterations, out, None, None)
        assert_close(out, y.detach(), 8, 1e-6)
        grad = make((*lead, n, n), torch.float32, 2)
        (want,) = torch.autograd.grad(y, x64, grad.double())
        for flat in (False, True):
            norm = torch.full(
                (2 * iterations * tokens * n * 8,) if flat else (2 * iterations, n, n, tokens), 7.0
            )
            total = torch.full((2 * iterations * tokens * 8,) if flat else (2 * iterations, n, tokens), 7.0)
            call("aclnnMhcSinkhorn", x, eps, iterations, out, norm, total)
            if not flat:
                assert_close(norm, torch.stack(steps).permute(0, 2, 3, 1), 8, 1e-6)
            got = torch.full((*lead, n, n), 7.0)
            call("aclnnMhcSinkhornBackward", grad, norm, total, got)
            assert_close(got, want, 8, 2e-5)


def test_refuses() -> None:
    x, post, h = torch.ones(3, 4, 8), torch.ones(3, 4), torch.ones(3, 8)
    for name, args, text in (
        ("MhcPost", (x, torch.ones(3, 4, 5), h, post, x.clone()), "hRes is"),
        ("MhcPost", (x.double(), None, h, post, x.clone()), "x is float64"),
        ("MhcPost", (torch.ones(3, 17, 8), None, h, post, x.clone()), "n of 1 to 16"),
        ("MhcPre", (x, torch.ones(9, 32), torch.ones(3), torch.ones(9), None, 0.0, 0.0, h, post, None, None, None, None), "phi is"),
        ("MhcPre", (x, torch.ones(24, 32), torch.ones(2), torch.ones(24), None, 0.0, 0.0, h, post, None, None, None, None), "alpha is"),
        ("MhcSinkhorn", (torch.ones(3, 9, 9), 0.0, 1, torch.ones(3, 9, 9), None, None), "n of 1 to 8"),
        ("MhcSinkhorn", (torch.ones(3, 4, 4), 0.0, 0, torch.ones(3, 4, 4), None, None), "numIters is 0"),
        ("MhcSinkhornBackward", (torch.ones(3, 4, 4), torch.ones(3, 4, 4, 3), torch.ones(2, 4, 3), torch.ones(3, 4, 4)), "normOut is"),
    ):  # fmt: skip
        with pytest.raises(OperatorError, match=f"aclnn{name}: ") as e:
            call(f"aclnn{name}", *args)
        assert text in e.value.text
