"""aclnnConvolutionBackward and aclnnConvTbcBackward, with PyTorch's gradients in float64 as the reference."""

from __future__ import annotations

import pytest
import torch
from aclnn import BoolArray, IntArray, OperatorError, call
from conv_cases import CASES, DTYPES, TRANSPOSED_CASES, Case, assert_linear
from matmul_cases import values

T = torch.Tensor
ALL = (True, True, True)


def differentiate(case: Case, dy: T, x: T, weight: T, mask: tuple[bool, ...], *out: T | None) -> None:
    stride, padding, dilation, extra = (
        IntArray(case.list_of(v)) for v in (case.stride, case.padding, case.dilation, case.extra)
    )
    call(
        "aclnnConvolutionBackward", dy, x, weight, IntArray([case.out]), stride, padding, dilation, case.transposed,
        extra, case.groups, BoolArray(mask), 0, *out
    )  # fmt: skip


def gradient(case: Case, which: int, dy: T, x: T, weight: T) -> T:
    """Of input, weight or bias: linear in two of the three."""
    bias = torch.zeros(case.out, dtype=dy.dtype)
    operands = [t.detach().clone().requires_grad_() for t in (x, weight, bias)]
    (result,) = torch.autograd.grad(case.run(*operands), operands[which], dy)
    return result


def operands(case: Case, dtype: torch.dtype) -> tuple[T, T, T]:
    x, weight = values(case.x, dtype), values(case.weight_shape(), dtype, 1)
    shape = case.run(x.to("meta"), weight.to("meta")).shape
    return values(tuple(shape), dtype, 2), x, weight


def check(case: Case, dy: T, x: T, weight: T, out: list[T]) -> None:
    for which in range(3):
        assert_linear(out[which], lambda *t, which=which: gradient(case, which, *t), dy, x, weight)


@pytest.mark.parametrize("dtype", (*DTYPES, torch.float64), ids=str)
@pytest.mark.parametrize("case", CASES + TRANSPOSED_CASES, ids=str)
def test_backward(case: Case, dtype: torch.dtype) -> None:
    dy, x, weight = operands(case, dtype)
    out = [torch.full_like(t, float("nan")) for t in (x, weight, torch.empty(case.out, dtype=dtype))]
    differentiate(case, dy, x, weight, ALL, *out)
    check(case, dy, x, weight, out)


@pytest.mark.parametrize("case", CASES + TRANSPOSED_CASES, ids=str)
def test_strided_operands(case: Case) -> None:
    def last(t: T) -> T:
        return t.movedim(1, -1).contiguous().movedim(-1, 1)

    dy, x, weight = map(last, operands(case, torch.float32))
    out = [last(torch.empty(t.shape)) for t in (x, weight)] + [torch.empty(case.out, 2)[:, 1]]
    differentiate(case, dy, x, weight, ALL, *out)
    check(case, dy, x, weight, out)


@pytest.mark.parametrize("mask", [(True, False, False), (False, True, False), (False, False, True)])
def test_mask(mask: tuple[bool, ...]) -> None:
    """What is not asked for may be absent, and is left alone where it is there."""
    case = CASES[8]
    dy, x, weight = operands(case, torch.float32)
    for absent in (False, True):
        out = [torch.full(t.shape, 7.0) for t in (x, weight, torch.empty(case.out))]
        differentiate(
            case,
            dy,
            x,
            weight,
            mask,
            *(None if absent and not m else o for m, o in zip(mask, out, strict=True)),
        )
        for which, wanted in enumerate(mask):
            if wanted:
                assert_linear(out[which], lambda *t, which=which: gradient(case, which, *t), dy, x, weight)
            else:
                assert bool((out[which] == 7).all())


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("transposed", [False, True])
def test_empty_batch(groups: int, transposed: bool) -> None:
    case = Case(x=(0, 4, 6, 6), out=4, kernel=(3, 3), groups=groups, transposed=transposed)
    dy, x, weight = operands(case, torch.float32)
    out = [torch.empty_like(x), torch.full_like(weight, 7.0), torch.full((4,), 7.0)]
    differentiate(case, dy, x, weight, ALL, *out)
    assert not out[1].any()
    assert not out[2].any()


def test_gradient_over_its_operand() -> None:
    case = Case(x=(2, 4, 6, 6), out=4, kernel=(3, 3), padding=1)
    dy, x, weight = operands(case, torch.float32)
    out = [dy.clone(), torch.empty_like(weight), torch.empty(4)]
    differentiate(case, out[0], x, weight, ALL, *out)
    check(case, dy, x, weight, out)


def test_weight_gradient_of_bfloat16_is_rounded_once() -> None:
    """Of 64 samples; added up in bfloat16 it would be off by tens of units."""
    case = Case(x=(64, 2, 8, 8), out=3, kernel=(3, 3))
    dy, x, weight = operands(case, torch.bfloat16)
    out = [torch.empty_like(x), torch.empty_like(weight), torch.empty(3, dtype=torch.bfloat16)]
    differentiate(case, dy, x, weight, ALL, *out)
    check(case, dy, x, weight, out)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tbc(dtype: torch.dtype) -> None:
    x, weight, bias = values((9, 2, 4), dtype), values((3, 4, 5), dtype, 1), values((5,), dtype, 2)
    dy = values((11, 2, 5), dtype, 3)
    out = [torch.empty_like(t) for t in (x, weight, bias)]
    call("aclnnConvTbcBackward", dy, x, weight, bias, 2, 0, *out)

    def reference(which: int, *t: T) -> T:
        leaves = [v.detach().clone().requires_grad_() for v in (*t[1:], torch.zeros(5, dtype=torch.float64))]
        (result,) = torch.autograd.grad(torch.conv_tbc(*leaves, 2), leaves[which], t[0])
        return result

    for which in range(3):
        assert_linear(out[which], lambda *t, which=which: reference(which, *t), dy, x, weight)


BAD = [
    ({"mask": (True, True)}, "outputMask has 2 values, wanted 3"),
    ({"dx": None}, "gradInput is null, and outputMask asks for it"),
    ({"dx": torch.ones(2, 4, 6, 5)}, "gradInput is float32[2,4,6,5], wanted float32[2,4,6,6]"),
    ({"dw": torch.ones(5, 4, 3, 2)}, "gradWeight is float32[5,4,3,2], wanted float32[5,4,3,3]"),
    ({"db": torch.ones(4)}, "gradBias is float32[4], wanted float32[5]"),
    ({"dy": torch.ones(2, 5, 4, 5)}, "gradOutput is float32[2,5,4,5], wanted float32[2,5,4,4]"),
    ({"x": torch.ones(2, 3, 6, 6)}, "wanted 4 channels"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "text"), BAD, ids=[b[1] for b in BAD])
def test_bad_input(change: dict, text: str) -> None:
    case = Case(x=(2, 4, 6, 6), out=5, kernel=(3, 3))
    dy, x, w = operands(case, torch.float32)
    args = {
        "dy": dy,
        "x": x,
        "w": w,
        "mask": ALL,
        "dx": x.clone(),
        "dw": w.clone(),
        "db": torch.ones(5),
    } | change
    with pytest.raises(OperatorError) as error:
        differentiate(case, *args.values())
    assert "aclnnConvolutionBackward" in error.value.text
    assert text in error.value.text
