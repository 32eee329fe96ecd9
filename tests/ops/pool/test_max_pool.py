# SPDX-License-Identifier: Apache-2.0
"""aclnnMaxPool2dWithIndices, MaxPool2dWithMask, MaxPool3dWithArgmax, AdaptiveMaxPool2d, 3d and their gradients,
with PyTorch on the CPU as the reference: values and places are the same, bit by bit."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from aclnn import IntArray, OperatorError, call
from matmul_cases import values

T = torch.Tensor
Sizes = tuple[int, ...]
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
POOL = {2: F.max_pool2d, 3: F.max_pool3d}
ADAPTIVE = {2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}
NAMES = {2: "aclnnMaxPool2dWithIndices", 3: "aclnnMaxPool3dWithArgmax"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    x: Sizes
    kernel: Sizes
    stride: Sizes = ()
    pad: Sizes = (0,)
    dilation: Sizes = (1,)
    ceil: bool = False

    @property
    def dims(self) -> int:
        return 3 if len(self.x) == 5 or len(self.kernel) == 3 else 2

    def lists(self) -> tuple[IntArray, ...]:
        return tuple(map(IntArray, (self.kernel, self.stride, self.pad, self.dilation)))

    def run(self, x: T) -> tuple[T, T]:
        stride = self.stride or self.kernel
        return POOL[self.dims](
            x, self.kernel, stride, self.pad, self.dilation, self.ceil, return_indices=True
        )


CASES = (
    Case(x=(2, 3, 8, 10), kernel=(2, 2)),
    Case(x=(3, 7, 9), kernel=(3, 3), stride=(2, 2), pad=(1, 1)),
    Case(x=(2, 4, 11, 13), kernel=(3, 2), stride=(2, 3), pad=(1, 0), dilation=(2, 3)),
    Case(x=(1, 2, 7, 8), kernel=(3, 3), stride=(2, 2), ceil=True),
    Case(x=(1, 2, 2, 3), kernel=(3, 3), stride=(3, 3), pad=(1, 1), ceil=True),
    Case(x=(1, 1, 1, 1), kernel=(1, 1)),
    Case(x=(2, 40, 33, 65), kernel=(5, 4), stride=(1, 1), pad=(2, 2)),
    Case(x=(2, 3, 9, 9), kernel=(4,), stride=(3,), pad=(2,), dilation=(1,)),
    Case(x=(1, 3, 1, 50), kernel=(1, 7), stride=(1, 2), pad=(0, 3)),
)
CASES_3D = (
    Case(x=(2, 3, 4, 6, 8), kernel=(2, 2, 2)),
    Case(x=(3, 5, 7, 9), kernel=(3, 2, 3), stride=(2, 1, 2), pad=(1, 1, 1), ceil=True),
    Case(x=(1, 2, 7, 8, 9), kernel=(2, 3, 2), stride=(1, 2, 3), pad=(0, 1, 1), dilation=(2, 1, 3)),
    Case(x=(1, 2, 4, 5, 6), kernel=(2,), stride=(1,), pad=(1,)),
)


def awkward(shape: Sizes, dtype: torch.dtype) -> T:
    """Few different values, so that many are equal; zeros of both signs, infinities and NaN among floats."""
    x = values(shape, torch.float64).mul(2).round()
    if not dtype.is_floating_point:
        return x.to(dtype)
    flat = x.view(-1)
    n = flat.numel()
    for k, special in enumerate((-0.0, float("nan"), float("inf"), -float("inf"))):
        if n > 8:
            flat[torch.randperm(n, generator=torch.Generator().manual_seed(k))[: max(n // 12, 1)]] = special
    return x.to(dtype)


def outputs(y: T, dtype: torch.dtype = torch.int32) -> tuple[T, T]:
    return torch.full_like(y, 7), torch.full(y.shape, -7, dtype=dtype)


def same(a: T, b: T) -> bool:
    return torch.equal(a.nan_to_num(nan=12345.0), b.nan_to_num(nan=12345.0)) and torch.equal(
        a.signbit() & ~a.isnan(), b.signbit() & ~b.isnan()
    )


def mask_for(x: T, y: T, kernel: Sizes) -> T:
    rows = kernel[0] * kernel[-1]
    columns = (-(-y.shape[-1] * y.shape[-2] // 16) + 1) * 32
    return torch.full((*x.shape[:-2], rows, columns), 85, dtype=torch.int8)


def element_of(case: Case, places: T) -> T:
    """Which element of its window each place in the plane is."""
    stride = case.stride or case.kernel
    found = []
    for d, at in enumerate((places // case.x[-1], places % case.x[-1])):
        size = [1] * places.dim()
        size[d - 2] = -1
        window = torch.arange(places.shape[d - 2]).view(size)
        step, pad, dilation = (v[d if len(v) > 1 else 0] for v in (stride, case.pad, case.dilation))
        found.append((at - (window * step - pad)) // dilation)
    return found[0] * case.kernel[-1] + found[1]


@pytest.mark.parametrize("dtype", (*FLOATS, torch.int64, torch.int32, torch.uint8), ids=str)
@pytest.mark.parametrize("case", CASES + CASES_3D, ids=str)
def test_forward(case: Case, dtype: torch.dtype) -> None:
    x = awkward(case.x, dtype)
    want, places = case.run(x if dtype.is_floating_point else x.double())
    for index_type in (torch.int32, torch.int64):
        y, indices = outputs(want.to(dtype), index_type)
        call(NAMES[case.dims], x, *case.lists(), case.ceil, y, indices)
        assert same(y, want.to(dtype))
        assert torch.equal(indices.long(), places)


def gradient(x: T, run: object, dy: T) -> T:
    leaf = x.double().requires_grad_()
    return torch.autograd.grad(run(leaf)[0], leaf, dy.double())[0]  # type: ignore[operator]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("case", CASES + CASES_3D, ids=str)
def test_backward(case: Case, dtype: torch.dtype) -> None:
    """Gradients of small whole numbers add up without rounding."""
    x = awkward(case.x, dtype)
    want, places = case.run(x)
    dy = values(tuple(want.shape), torch.float64, 1).mul(3).round().to(dtype)
    dx = torch.full_like(x, float("nan"))
    for indices in (places, places.int()):
        call(NAMES[case.dims] + "Backward", dy, x, indices, *case.lists(), case.ceil, dx)
        assert torch.equal(dx.double(), gradient(x, case.run, dy))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_mask(case: Case, dtype: torch.dtype) -> None:
    """One bit for each result, in the row of the element that was the maximum; and the gradient by it."""
    x = awkward(case.x, dtype)
    want, places = case.run(x)
    y, _ = outputs(want)
    mask = mask_for(x, want, case.kernel)
    call("aclnnMaxPool2dWithMask", x, *case.lists(), case.ceil, y, mask)
    assert same(y, want)
    bits = ((mask.view(torch.uint8).unsqueeze(-1) >> torch.arange(8, dtype=torch.uint8)) & 1).flatten(-2)
    expected = torch.zeros_like(bits)
    element = element_of(case, places).flatten(-2).unsqueeze(-2)
    expected[..., : element.shape[-1]].scatter_(-2, element, 1)
    assert torch.equal(bits, expected)
    dy = values(tuple(want.shape), torch.float64, 1).mul(3).round().to(dtype)
    dx = torch.full_like(x, float("nan"))
    call("aclnnMaxPool2dWithMaskBackward", dy, x, mask, *case.lists(), case.ceil, dx)
    assert torch.equal(dx.double(), gradient(x, case.run, dy))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(
    ("shape", "size"),
    [((2, 3, 7, 9), (3, 4)), ((3, 8, 8), (8, 8)), ((1, 2, 5, 6), (11, 13)), ((2, 2, 30, 41), (1, 1)),
     ((2, 3, 5, 7, 9), (2, 3, 4)), ((2, 4, 5, 6), (4, 7, 1))],
    ids=str,
)  # fmt: skip
def test_adaptive(shape: Sizes, size: Sizes, dtype: torch.dtype) -> None:
    dims = len(size)
    x = awkward(shape, dtype)

    def run(t: T) -> tuple[T, T]:
        return ADAPTIVE[dims](t, size, return_indices=True)

    want, places = run(x)
    dy = values(tuple(want.shape), torch.float64, 1).mul(3).round().to(dtype)
    for index_type in (torch.int32, torch.int64):
        y, indices = outputs(want, index_type)
        call(f"aclnnAdaptiveMaxPool{dims}d", x, IntArray(size), y, indices)
        assert same(y, want)
        assert torch.equal(indices.long(), places)
        dx = torch.full_like(x, float("nan"))
        call(f"aclnnAdaptiveMaxPool{dims}dBackward", dy, x, indices, dx)
        assert torch.equal(dx.double(), gradient(x, run, dy))


def test_channels_last_overlapping_and_empty() -> None:
    case = CASES[1]
    x = awkward((2, 7, 9, 5), torch.float32).movedim(-1, 1)
    want, places = case.run(x)
    y, indices = (t.contiguous(memory_format=torch.channels_last) for t in outputs(want))
    call(NAMES[2], x, *case.lists(), False, y, indices)
    assert same(y, want)
    assert torch.equal(indices.long(), places)
    one = Case(x=(2, 3, 6, 6), kernel=(3, 3), stride=(1, 1), pad=(1, 1))
    x = values(one.x, torch.float32)
    out = x.clone()
    call(NAMES[2], out, *one.lists(), False, out, torch.empty(out.shape, dtype=torch.int32))
    assert torch.equal(out, one.run(x)[0])
    call(NAMES[2], x[:0], *one.lists(), False, out[:0], torch.empty((0, 3, 6, 6), dtype=torch.int32))


def test_a_mask_that_no_pooling_wrote() -> None:
    """Bits of elements outside of the image change nothing."""
    lists = CASES[1].lists()
    dy, x = torch.ones(1, 2, 2), torch.ones(1, 3, 3)
    mask, dx = torch.full((1, 9, 64), -1, dtype=torch.int8), torch.empty(1, 3, 3)
    call("aclnnMaxPool2dWithMaskBackward", dy, x, mask, *lists, False, dx)
    assert torch.equal(dx[0], torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]))


X = torch.ones(1, 2, 5, 6)
K, S, P, D = (IntArray(v) for v in ((2, 3), (2, 2), (0, 0), (1, 1)))
Y, I32 = torch.empty(1, 2, 2, 2), torch.empty(1, 2, 2, 2, dtype=torch.int32)
BAD = [
    ((None, K, S, P, D, False, Y, I32), "self is null"),
    ((X[0, 0], K, S, P, D, False, Y, I32), "self is float32[5,6], wanted 3 or 4 dimensions"),
    ((X[..., :0], K, S, P, D, False, Y, I32), "wanted 1 or more in dimension 3"),
    ((X.bool(), K, S, P, D, False, Y.bool(), I32), "self is bool[1,2,5,6], wanted a type of real numbers"),
    ((X, None, S, P, D, False, Y, I32), "kernelSize is null"),
    ((X, IntArray((2, 3, 4)), S, P, D, False, Y, I32), "kernelSize has 3 values, wanted 1 or 2"),
    ((X, IntArray((0, 3)), S, P, D, False, Y, I32), "kernelSize[0] is 0, wanted at least 1"),
    ((X, IntArray((2, 2**63 - 1)), S, P, D, False, Y, I32), "kernelSize[1] is 9223372036854775807"),
    ((X, IntArray((2, 2**40)), S, P, IntArray((1, 2**40)), False, Y, I32), "too large"),
    ((X, K, IntArray((2, 0)), P, D, False, Y, I32), "stride[1] is 0, wanted at least 1"),
    ((X, K, S, IntArray((-1, 0)), D, False, Y, I32), "padding[0] is -1, wanted at least 0"),
    ((X, K, S, IntArray((2, 0)), D, False, Y, I32), "padding[0] is 2, wanted at most half of the kernel"),
    ((X, IntArray((6, 3)), S, P, D, False, Y, I32), "no window of 6 elements, padding 0, fits into dimension 2"),
    ((X, K, S, P, IntArray((1, 0)), False, Y, I32), "dilation[1] is 0, wanted at least 1"),
    ((X, K, S, P, D, True, Y, I32), "out is float32[1,2,2,2], wanted float32[1,2,3,3] for self"),
    ((X, K, S, P, D, False, Y.half(), I32), "wanted one type"),
    ((X, K, S, P, D, False, Y, I32[0]), "indices is int32[2,2,2], wanted the shape of out"),
    ((X, K, S, P, D, False, Y, I32.short()), "wanted int32 or int64"),
    ((X[:, :, :2], IntArray((2, 1)), IntArray((1, 1)), IntArray((2, 0)), IntArray((3, 1)), False,
      torch.empty(1, 2, 3, 6), torch.empty(1, 2, 3, 6, dtype=torch.int32)), "window 1 has no element of self"),
]  # fmt: skip


@pytest.mark.parametrize(("args", "text"), BAD, ids=[b[1] for b in BAD])
def test_bad_input(args: tuple, text: str) -> None:
    with pytest.raises(OperatorError) as error:
        call("aclnnMaxPool2dWithIndices", *args)
    assert "aclnnMaxPool2dWithIndices" in error.value.text
    assert text in error.value.text


def test_bad_input_of_other_forms() -> None:
    with pytest.raises(OperatorError, match=r"indices is int8.*, wanted int8\[1,2,6,64\], a mask for self"):
        call("aclnnMaxPool2dWithMask", X, K, S, P, D, False, Y, I32.char())
    with pytest.raises(OperatorError, match="wanted int8: it is a mask"):
        call("aclnnMaxPool2dWithMask", X, K, S, P, D, False, Y, I32)
    with pytest.raises(OperatorError, match="outputSize is null"):
        call("aclnnAdaptiveMaxPool2d", X, None, Y, I32)
    with pytest.raises(OperatorError, match="outputSize has 3 values, wanted 2"):
        call("aclnnAdaptiveMaxPool2d", X, IntArray((2, 2, 2)), Y, I32)
    with pytest.raises(OperatorError, match=r"outputOut is float32\[1,2,2,2\], wanted float32\[1,2,3,2\]"):
        call("aclnnAdaptiveMaxPool2d", X, IntArray((3, 2)), Y, I32)
    with pytest.raises(OperatorError, match="less than none"):
        call("aclnnAdaptiveMaxPool2d", X, IntArray((-1, 2)), Y, I32)
    with pytest.raises(OperatorError, match=r"gradInput is float32\[1,2,5,5\], wanted the shape of self"):
        call("aclnnMaxPool2dWithIndicesBackward", Y, X, I32, K, S, P, D, False, X[..., :5])
    with pytest.raises(OperatorError, match="wanted floating point"):
        call("aclnnAdaptiveMaxPool2dBackward", Y.int(), X.int(), I32, X.int())


@pytest.mark.parametrize("value", (30, -1, 2**31 - 1, -(2**31)))
def test_indices_outside_of_the_plane(value: int) -> None:
    indices = torch.zeros_like(I32)
    indices[0, 1, 1, 0] = value
    with pytest.raises(OperatorError, match=rf"index {value} at position \[0,1,1,0\] of indices"):
        call("aclnnMaxPool2dWithIndicesBackward", Y, X, indices, K, S, P, D, False, torch.empty_like(X))
