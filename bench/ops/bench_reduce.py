"""Reductions, norms, softmax and sorts next to PyTorch: python bench/ops/bench_reduce.py [--quick]."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")  # torch_npu is not what is measured
sys.path[:0] = [str(Path(__file__).resolve().parents[n] / f) for n, f in ((1, ""), (2, "tests/support"))]
import torch  # noqa: E402
from aclnn import BoolArray, IntArray, Scalar  # noqa: E402
from common import Case, main  # noqa: E402

EPS = 1e-5


def reductions(dtype: torch.dtype) -> Iterator[Case]:
    for shape in ((16,), (4096, 4096)):
        x = torch.randn(shape).to(dtype)
        yield Case(
            "sum", "aclnnReduceSum", (x, IntArray([]), False, dtype, torch.empty((), dtype=dtype)), x.sum
        )
    rows, one = torch.empty(4096, dtype=dtype), torch.empty((), dtype=dtype)
    yield Case("sum rows", "aclnnReduceSum", (x, IntArray([1]), False, dtype, rows), lambda: x.sum(1))
    yield Case("sum columns", "aclnnReduceSum", (x, IntArray([0]), False, dtype, rows), lambda: x.sum(0))
    yield Case("mean rows", "aclnnMean", (x, IntArray([1]), False, dtype, rows), lambda: x.mean(1))
    yield Case("max", "aclnnMax", (x, one), x.max)
    yield Case("amax columns", "aclnnAmax", (x, IntArray([0]), False, rows), lambda: x.amax(0))
    indices = torch.empty(4096, dtype=torch.int64)
    yield Case("max dim", "aclnnMaxDim", (x, 1, False, rows, indices), lambda: x.max(1))
    yield Case("argmax", "aclnnArgMax", (x, 1, False, indices), lambda: x.argmax(1))
    yield Case("var rows", "aclnnVarCorrection", (x, IntArray([1]), 1, False, rows), lambda: x.var(1))


def folds(dtype: torch.dtype) -> Iterator[Case]:
    """Reductions of a larger and a smaller tensor, along both dimensions."""
    for shape in ((2048, 2048), (256, 256)):
        x = torch.rand(shape).to(dtype) + 0.5
        for dim, along in ((1, "rows"), (0, "columns")):
            n = shape[0]
            out, bits = torch.empty(n, dtype=dtype), torch.empty(n, dtype=torch.bool)
            dims = IntArray([dim])
            yield Case(f"amin {along}", "aclnnAmin", (x, dims, False, out), lambda x=x, d=dim: x.amin(d))
            yield Case(
                f"norm {along}",
                "aclnnLinalgVectorNorm",
                (x, Scalar(2.0), dims, False, dtype, out),
                lambda x=x, d=dim: torch.linalg.vector_norm(x, 2, d),
            )
            yield Case(f"std {along}", "aclnnStd", (x, dims, 1, False, out), lambda x=x, d=dim: x.std(d))
            yield Case(
                f"logsumexp {along}",
                "aclnnLogSumExp",
                (x, dims, False, out),
                lambda x=x, d=dim: x.logsumexp(d),
            )
            yield Case(
                f"prod {along}", "aclnnProdDim", (x, dim, False, dtype, out), lambda x=x, d=dim: x.prod(d)
            )
            yield Case(f"any {along}", "aclnnAny", (x, dims, False, bits), lambda x=x, d=dim: x.any(d))
            yield Case(f"all {along}", "aclnnAll", (x, dims, False, bits), lambda x=x, d=dim: x.all(d))
            yield Case(
                f"cumsum {along}",
                "aclnnCumsum",
                (x, dim, dtype, torch.empty_like(x)),
                lambda x=x, d=dim: x.cumsum(d),
            )
    whole = torch.empty((), dtype=dtype)
    yield Case(
        "norm", "aclnnLinalgVectorNorm", (x, Scalar(2.0), IntArray([0, 1]), False, dtype, whole), x.norm
    )


def softmaxes(dtype: torch.dtype) -> Iterator[Case]:
    for shape in ((16, 16), (2048, 2048), (64, 50304)):
        x = torch.randn(shape).to(dtype)
        y, g = torch.softmax(x, -1), torch.randn(shape).to(dtype)
        out = torch.empty_like(x)
        yield Case("softmax", "aclnnSoftmax", (x, -1, out), lambda x=x: torch.softmax(x, -1))
        yield Case("log softmax", "aclnnLogSoftmax", (x, -1, out), lambda x=x: torch.log_softmax(x, -1))
        yield Case(
            "softmax backward",
            "aclnnSoftmaxBackward",
            (g, y, -1, out),
            lambda g=g, y=y: torch._softmax_backward_data(g, y, -1, dtype),
        )
    yield Case("softmax columns", "aclnnSoftmax", (x, 0, out), lambda: torch.softmax(x, 0))


def norms(dtype: torch.dtype) -> Iterator[Case]:
    for shape in ((8, 64), (4096, 1024), (2048, 4096)):
        n = shape[-1:]
        x, g = torch.randn(shape).to(dtype), torch.randn(shape).to(dtype)
        w, b = torch.rand(n).to(dtype), torch.rand(n).to(dtype)
        out, mean, rstd = torch.empty_like(x), torch.empty(shape[0], 1), torch.empty(shape[0], 1)
        dw, db = torch.empty(n), torch.empty(n)
        yield Case(
            "layer norm",
            "aclnnLayerNorm",
            (x, IntArray(n), w, b, EPS, out, mean, rstd),
            lambda x=x, n=n, w=w, b=b: torch.native_layer_norm(x, n, w, b, EPS),
        )
        _, m, r = torch.native_layer_norm(x, n, w, b, EPS)
        yield Case(
            "layer norm backward",
            "aclnnLayerNormBackward",
            (g, x, IntArray(n), m.float(), r.float(), w, b, BoolArray([True] * 3), out, dw, db),
            lambda g=g, x=x, n=n, m=m, r=r, w=w, b=b: torch.ops.aten.native_layer_norm_backward(
                g, x, n, m, r, w, b, [True, True, True]
            ),
        )
        yield Case(
            "rms norm",
            "aclnnRmsNorm",
            (x, w, EPS, out, rstd),
            lambda x=x, n=n, w=w: torch.rms_norm(x, n, w, EPS),
        )
        yield Case(
            "rms norm grad",
            "aclnnRmsNormGrad",
            (g, x, r.float(), w, out, dw),
            lambda g=g, x=x, r=r, w=w: rms_grad(g, x, r, w),
        )


def rms_grad(
    g: torch.Tensor, x: torch.Tensor, rstd: torch.Tensor, w: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What PyTorch's decomposition computes."""
    z, h = x * rstd, g * w
    return rstd * (h - z * (h * z).mean(-1, keepdim=True)), (g * z).sum(0)


def sorts(dtype: torch.dtype) -> Iterator[Case]:
    for shape, k in (((1024, 64), 8), ((64, 4096), 50), ((200_000,), 100)):
        x = torch.randn(shape).to(dtype)
        values, indices = torch.empty_like(x), torch.empty(shape, dtype=torch.int64)
        yield Case(
            "sort", "aclnnSort", (x, True, -1, False, values, indices), lambda x=x: torch.sort(x, stable=True)
        )
        top = (*shape[:-1], k)
        yield Case(
            f"topk {k}",
            "aclnnTopk",
            (x, k, -1, True, True, torch.empty(top, dtype=dtype), torch.empty(top, dtype=torch.int64)),
            lambda x=x, k=k: torch.topk(x, k),
        )
    for shape in ((256, 256), (2048, 32)):
        x = torch.randn(shape).to(dtype)
        values, indices = torch.empty_like(x), torch.empty(shape, dtype=torch.int64)
        yield Case(
            "sort columns",
            "aclnnSort",
            (x, True, 0, False, values, indices),
            lambda x=x: torch.sort(x, dim=0, stable=True),
        )
    many = torch.randint(0, 1000, (200_000,)).to(dtype)
    count = torch.empty(many.shape, dtype=torch.int64)
    yield Case(
        "unique",
        "aclnnUnique2",
        (many, True, True, True, torch.empty_like(many), count, count.clone()),
        lambda: torch._unique2(many, True, True, True),
    )
    y = torch.randn(4096, 1024).to(dtype)
    yield Case("cumsum", "aclnnCumsum", (y, -1, dtype, torch.empty_like(y)), lambda: y.cumsum(-1))


if __name__ == "__main__":
    main(
        case
        for dtype in (torch.float32, torch.bfloat16)
        for group in (reductions, folds, softmaxes, norms, sorts)
        for case in group(dtype)
    )
