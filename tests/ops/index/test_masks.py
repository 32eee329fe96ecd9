"""aclnnInplaceMaskedFill*, MaskedSelect, InplaceMaskedScatter, Nonzero, NonzeroV2."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, Scalar, call
from compare import COMPLEX, FLOATS, INTS, SHAPES, layouts, make

ALL = (*FLOATS, *INTS, torch.bool, *COMPLEX)


def some(shape: tuple[int, ...], share: float = 0.4) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(3)) < share


@pytest.mark.parametrize("dtype", ALL)
def test_masked_fill(dtype: torch.dtype) -> None:
    for shape in SHAPES:
        for _, x in layouts(make(shape, dtype)):
            for mask in (some(shape), some(shape).to(torch.uint8), torch.tensor(True), some(shape[-1:])):
                expected = x.masked_fill(mask.bool(), 3)
                target = x.clone(memory_format=torch.preserve_format)
                call("aclnnInplaceMaskedFillScalar", target, mask, Scalar(3))
                assert torch.equal(target, expected)
                target = x.clone(memory_format=torch.preserve_format)
                call("aclnnInplaceMaskedFillTensor", target, mask, torch.tensor(3))
                assert torch.equal(target, expected)


def test_masked_fill_of_attention_scores() -> None:
    scores, mask = make((3, 4, 64, 65), torch.bfloat16), some((64, 65)).t().contiguous().t()
    expected = scores.masked_fill(mask, -10000.0)
    call("aclnnInplaceMaskedFillScalar", scores, mask, Scalar(-10000.0))
    assert torch.equal(scores, expected)


@pytest.mark.parametrize("dtype", ALL)
def test_masked_select_and_scatter(dtype: torch.dtype) -> None:
    for shape in (*SHAPES[:-1], (5, 2100)):
        for _, x in layouts(make(shape, dtype)):
            for mask in (some(shape), torch.tensor(False), torch.tensor(True), some(shape[-1:])):
                expected = torch.masked_select(x, mask)
                out = torch.empty(x.numel(), dtype=dtype)
                (found,) = call("aclnnMaskedSelect", x, mask, out, shapes_of=[2])
                assert found == tuple(expected.shape)
                assert torch.equal(out[: found[0]], expected)
                source = make((2, x.numel()), dtype, seed=4)
                expected = x.masked_scatter(mask, source)
                for values in (source, source.t().contiguous().t()):
                    target = x.clone(memory_format=torch.preserve_format)
                    call("aclnnInplaceMaskedScatter", target, mask, values)
                    assert torch.equal(target, expected)


def test_masked_select_broadcasts_self() -> None:
    x, mask = make((1, 7), torch.float32), some((5, 1))
    out = torch.empty(35)
    (found,) = call("aclnnMaskedSelect", x, mask, out, shapes_of=[2])
    assert torch.equal(out[: found[0]], torch.masked_select(x, mask))


@pytest.mark.parametrize("dtype", ALL)
def test_nonzero(dtype: torch.dtype) -> None:
    for shape in (*SHAPES, (2, 3, 2000)):
        for _, x in layouts(make(shape, dtype) * some(shape).to(dtype)):
            expected = x.nonzero()
            out = torch.full((x.numel(), x.dim()), -1)
            (found,) = call("aclnnNonzero", x, out, shapes_of=[1])
            assert found == tuple(expected.shape)
            assert torch.equal(out.flatten()[: expected.numel()].reshape(found), expected)
            out = torch.full((x.dim(), x.numel()), -1)
            (found,) = call("aclnnNonzeroV2", x, out, shapes_of=[1])
            assert found == tuple(expected.t().shape)
            assert torch.equal(out.flatten()[: expected.numel()].reshape(found), expected.t())


def test_nan_is_not_zero_and_negative_zero_is() -> None:
    out = torch.empty(3, 1, dtype=torch.int64)
    assert call("aclnnNonzero", torch.tensor([float("nan"), -0.0, 1e-45]), out, shapes_of=[1]) == [(2, 1)]
    assert out.flatten().tolist()[:2] == [0, 2]


def test_bad_input_is_named() -> None:
    x, mask = torch.ones(4, 5), torch.ones(4, 5, dtype=torch.bool)
    for name, args, text in (
        ("aclnnInplaceMaskedFillScalar", (x, x, Scalar(1)), "mask is float32"),
        ("aclnnInplaceMaskedFillScalar", (x, mask[:2], Scalar(1)), r"mask bool\[2,5\] does not broadcast"),
        ("aclnnInplaceMaskedFillTensor", (x, mask, torch.ones(2)), r"value is float32\[2\]"),
        ("aclnnMaskedSelect", (x, mask, torch.empty(20).half()), "out is float16"),
        ("aclnnMaskedSelect", (x, mask, torch.empty(19)), "20 elements are selected"),
        ("aclnnInplaceMaskedScatter", (x, mask, torch.ones(3)), "20 true elements, source float32.*has 3"),
        ("aclnnNonzero", (x, torch.empty(20, 2)), "wanted contiguous int64"),
        (
            "aclnnNonzero",
            (x, torch.empty(5, 2, dtype=torch.int64)),
            "20 elements of 2 dimensions are not zero",
        ),
    ):
        with pytest.raises(OperatorError, match=f"{name}: .*{text}"):
            call(name, *args)
    assert torch.equal(x, torch.ones(4, 5))
