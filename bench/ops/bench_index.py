"""Copies, casts, indexing and random numbers next to PyTorch: python bench/ops/bench_index.py [--quick]."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")  # torch_npu is not what is measured
sys.path[:0] = [str(Path(__file__).resolve().parents[n] / f) for n, f in ((1, ""), (2, "tests/support"))]
import torch  # noqa: E402
from aclnn import IntArray, Scalar  # noqa: E402
from common import Case, main  # noqa: E402

NO_PADDING = 2**64 - 1


def copies(dtype: torch.dtype) -> Iterator[Case]:
    for shape in ((16,), (1024, 512), (4096, 2048)):
        x = torch.rand(shape).to(dtype)
        out, other = torch.empty_like(x), torch.bfloat16 if dtype == torch.float32 else torch.float32
        wide = torch.empty(shape, dtype=other)
        yield Case("copy", "aclnnInplaceCopy", (out, x), lambda out=out, x=x: out.copy_(x))
        yield Case("cast", "aclnnCast", (x, other, wide), lambda out=wide, x=x: out.copy_(x))
        yield Case("zero", "aclnnInplaceZero", (out,), lambda out=out: out.zero_())
    turned = torch.empty(shape[::-1], dtype=dtype)
    yield Case("transpose", "aclnnInplaceCopy", (turned, x.t()), lambda: turned.copy_(x.t()))
    heads = x.view(4, 1024, 16, 128).transpose(1, 2)
    out = torch.empty(heads.shape, dtype=dtype)
    yield Case("heads to front", "aclnnInplaceCopy", (out, heads), lambda: out.copy_(heads))
    wide = torch.empty(turned.shape, dtype=other)
    yield Case("transpose and cast", "aclnnInplaceCopy", (wide, x.t()), lambda: wide.copy_(x.t()))


def joins(dtype: torch.dtype) -> Iterator[Case]:
    parts = [torch.rand(2048, 512).to(dtype) for _ in range(4)]
    for dim in (0, 1):
        out = torch.cat(parts, dim)
        yield Case(
            f"cat dim {dim}",
            "aclnnCat",
            (parts, dim, out),
            lambda out=out, dim=dim: torch.cat(parts, dim, out=out),
        )
    pieces = [torch.empty_like(p) for p in parts]
    whole = torch.cat(parts, 1)
    yield Case(
        "split",
        "aclnnSplitWithSize",
        (whole, IntArray([512] * 4), 1, pieces),
        lambda: torch.split_with_sizes_copy(whole, [512] * 4, 1),
    )
    x = torch.rand(2048, 2048).to(dtype)
    yield Case("triu", "aclnnTriu", (x, 1, out), lambda: torch.triu(x, 1, out=out))


def lookups(dtype: torch.dtype) -> Iterator[Case]:
    for rows, width, tokens in ((50304, 1024, 2048), (256, 512, 2048)):
        weight, index = torch.rand(rows, width).to(dtype), torch.randint(0, rows, (tokens,))
        out, grad, dw = (
            torch.empty(tokens, width, dtype=dtype),
            torch.rand(tokens, width).to(dtype),
            torch.empty_like(weight),
        )
        yield Case(
            "embedding",
            "aclnnEmbedding",
            (weight, index, out),
            lambda w=weight, i=index: torch.embedding(w, i),
        )
        yield Case(
            "embedding backward", "aclnnEmbeddingDenseBackward", (grad, index, rows, NO_PADDING, False, dw),
            lambda g=grad, i=index, n=rows: torch.ops.aten.embedding_dense_backward(g, i, n, -1, False),
            what=f"[{rows}, {width}], {tokens} tokens {str(dtype)[6:]}",
        )  # fmt: skip
    x = torch.rand(2048, 2048).to(dtype)
    for dim in (0, 1):
        index = torch.randint(0, 2048, (2048, 2048))
        out = torch.empty_like(x)
        yield Case(
            f"gather dim {dim}",
            "aclnnGather",
            (x, dim, index, out),
            lambda d=dim, i=index, o=out: torch.gather(x, d, i, out=o),
        )
        yield Case(
            f"scatter add dim {dim}",
            "aclnnScatterAdd",
            (out, dim, index, x, out),
            lambda d=dim, i=index, o=out: o.scatter_add_(d, i, x),
        )
        line = torch.randint(0, 2048, (2048,))
        yield Case(
            f"index select dim {dim}",
            "aclnnIndexSelect",
            (x, dim, line, out),
            lambda d=dim, i=line, o=out: torch.index_select(x, d, i, out=o),
        )
        yield Case(
            f"index add dim {dim}",
            "aclnnIndexAdd",
            (out, dim, line, x, Scalar(1), out),
            lambda d=dim, i=line, o=out: o.index_add_(d, i, x),
        )
    yield Case(
        "index", "aclnnIndex", (x, [line, line], torch.empty(2048, dtype=dtype)), lambda: x[line, line]
    )
    out = torch.zeros(1000, dtype=dtype)
    many, values = torch.randint(0, 1000, (1_000_000,)), torch.rand(1_000_000).to(dtype)
    yield Case(
        "index put accumulate",
        "aclnnIndexPutImpl",
        (out, [many], values, True, False),
        lambda: out.index_put_((many,), values, accumulate=True),
        what="[1000000] into [1000]",
    )
    mask = torch.rand(2048, 2048) < 0.3
    out = torch.empty(x.numel(), dtype=dtype)
    yield Case(
        "masked fill",
        "aclnnInplaceMaskedFillScalar",
        (x, mask, Scalar(0.5)),
        lambda: x.masked_fill_(mask, 0.5),
    )
    yield Case("masked select", "aclnnMaskedSelect", (x, mask, out), lambda: torch.masked_select(x, mask))


def slices(dtype: torch.dtype) -> Iterator[Case]:
    """Setting slices, shapes that repeat, and what is found or counted."""
    x, out, line = (
        torch.rand(2048, 2048).to(dtype),
        torch.empty(2048, 2048, dtype=dtype),
        torch.randperm(2048),
    )
    for dim in (0, 1):
        yield Case(
            f"index copy dim {dim}",
            "aclnnInplaceIndexCopy",
            (out, dim, line, x),
            lambda d=dim: out.index_copy_(d, line, x),
        )
        yield Case(
            f"index fill dim {dim}",
            "aclnnInplaceIndexFill",
            (out, dim, line[:1024], Scalar(1.0)),
            lambda d=dim: out.index_fill_(d, line[:1024], 1.0),
        )
    rows = torch.randint(0, 2048, (2048,))
    yield Case(
        "index put rows",
        "aclnnIndexPutImpl",
        (out, [rows], x, True, False),
        lambda: out.index_put_((rows,), x, accumulate=True),
    )
    mask, y = torch.rand(2048, 2048) < 0.3, torch.rand(2048, 2048).to(dtype)
    yield Case("where", "aclnnSWhere", (mask, x, y, out), lambda: torch.where(mask, x, y, out=out))
    few = torch.rand(512, 512).to(dtype) * (torch.rand(512, 512) < 0.3)
    found = torch.empty(few.numel(), 2, dtype=torch.int64)
    yield Case("nonzero", "aclnnNonzero", (few, found), lambda: torch.nonzero(few))
    part = torch.rand(1024, 512).to(dtype)
    for dim in (0, 1, 2):
        both = torch.stack([part, part], dim)
        yield Case(
            f"stack dim {dim}",
            "aclnnStack",
            ([part, part], dim, both),
            lambda d=dim, o=both: torch.stack([part, part], d, out=o),
        )
    padded = torch.empty(1030, 516, dtype=dtype)
    yield Case(
        "pad",
        "aclnnConstantPadNd",
        (part, IntArray([2, 2, 3, 3]), Scalar(0.0), padded),
        lambda: torch.constant_pad_nd(part, [2, 2, 3, 3], 0.0),
    )
    for repeats in ([1, 4], [4, 1]):
        wide = part.repeat(repeats)
        yield Case(
            f"repeat {repeats}",
            "aclnnRepeat",
            (part, IntArray(repeats), wide),
            lambda r=repeats: part.repeat(r),
        )
    yield Case("tril", "aclnnTril", (x, 0, out), lambda: torch.tril(x, 0, out=out))
    yield Case("flip", "aclnnFlip", (x, IntArray([1]), out), lambda: torch.flip(x, [1]))
    yield Case("roll", "aclnnRoll", (x, IntArray([5]), IntArray([1]), out), lambda: torch.roll(x, [5], [1]))
    if dtype != torch.float32:
        return
    numbers, hot = torch.randint(0, 1000, (4096,)), torch.empty(4096, 1000, dtype=torch.int64)
    yield Case(
        "one hot",
        "aclnnOneHot",
        (numbers, 1000, torch.ones(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), -1, hot),
        lambda: torch.nn.functional.one_hot(numbers, 1000),
    )
    many = torch.randint(0, 1000, (1_000_000,))
    yield Case(
        "bincount",
        "aclnnBincount",
        (many, None, 0, torch.empty(1000, dtype=torch.int64)),
        lambda: torch.bincount(many),
    )


def random_numbers(dtype: torch.dtype) -> Iterator[Case]:
    x = torch.rand(2048, 2048).to(dtype)
    out, mask = torch.empty_like(x), torch.empty((x.numel() + 127) // 128 * 16, dtype=torch.uint8)
    yield Case("normal", "aclnnInplaceNormal", (x, 0.0, 1.0, 1, 0), lambda: x.normal_())
    yield Case("uniform", "aclnnInplaceUniform", (x, 0.0, 1.0, 1, 0), lambda: x.uniform_())
    yield Case(
        "dropout",
        "aclnnDropoutV3",
        (x, None, 0.1, 1, 0, out, mask),
        lambda: torch.native_dropout(x, 0.1, True),
    )


def cases() -> Iterator[Case]:
    for dtype in (torch.float32, torch.bfloat16):
        for group in (copies, joins, lookups, slices, random_numbers):
            yield from group(dtype)


if __name__ == "__main__":
    main(cases())
