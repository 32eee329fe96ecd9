"""Softmax, LogSoftmax and their gradients: statistics in float32, so a few units in the last place."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import FLOATS, assert_close, layouts, make
from hypothesis import given, settings
from hypothesis import strategies as st

SHAPES = [(), (1,), (0, 4), (4, 0), (7,), (3, 5), (2, 3, 40), (33, 1027), (130, 9), (2, 3, 4, 5)]
# Units in the last place. x - max is rounded: half a unit of a difference d is up to d units of the result,
# and d <= 18.
MAX_ULP = {torch.float32: 20, torch.bfloat16: 1, torch.float16: 1, torch.float64: 8}


def reference(name: str, x: torch.Tensor, dim: int) -> torch.Tensor:
    return (torch.softmax if name == "Softmax" else torch.log_softmax)(x.double(), dim)


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_forward(name: str, dtype: torch.dtype) -> None:
    for shape in SHAPES:
        for dim in range(-1, max(len(shape) - 1, 0)):
            for _, x in layouts(make(shape, dtype, low=-9, high=9)):
                out = torch.empty(shape, dtype=dtype)
                call("aclnn" + name, x, dim, out)
                atol = 2e-6 if name == "LogSoftmax" and dtype != torch.float64 else 1e-14
                assert_close(out, reference(name, x, dim), MAX_ULP[dtype], atol)


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_backward(name: str, dtype: torch.dtype) -> None:
    for shape in SHAPES:
        for dim in range(-1, max(len(shape) - 1, 0)):
            y = reference(name, make(shape, dtype), dim).to(dtype)
            for _, g in layouts(make(shape, dtype, seed=1)):
                out = torch.empty(shape, dtype=dtype)
                call(f"aclnn{name}Backward", g, y, dim, out)
                wide, grad = y.double(), g.double()
                if name == "Softmax":
                    want = wide * (grad - (grad * wide).sum(dim, keepdim=True))
                else:
                    want = grad - wide.exp() * grad.sum(dim, keepdim=True)
                assert_close(out, want, MAX_ULP[dtype], {torch.float32: 5e-6}.get(dtype, 1e-6))


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_columns_have_the_bits_of_rows(name: str, dtype: torch.dtype) -> None:
    """Whether rows lie along memory or across it, and however many lie side by side."""
    for n, columns in ((1, 17), (3, 16), (33, 40), (64, 65), (130, 9), (1030, 64), (2100, 15), (5, 300)):
        x, g = make((n, columns), dtype, low=-9, high=9), make((n, columns), dtype, seed=1)
        across, along = torch.empty_like(x), torch.empty(columns, n, dtype=dtype)
        call("aclnn" + name, x, 0, across)
        call("aclnn" + name, x.t().contiguous(), 1, along)
        assert torch.equal(across, along.t())
        back_across, back_along = torch.empty_like(x), torch.empty_like(along)
        call(f"aclnn{name}Backward", g, across, 0, back_across)
        call(f"aclnn{name}Backward", g.t().contiguous(), along, 1, back_along)
        assert torch.equal(back_across, back_along.t())


def test_special_columns() -> None:
    """NaN, and infinities alone, spoil their own column."""
    x = torch.randn(40, 20)
    x[3, 4], x[5, 6], x[:, 7] = torch.nan, torch.inf, -torch.inf
    for name in ("Softmax", "LogSoftmax"):
        out = torch.empty_like(x)
        call("aclnn" + name, x, 0, out)
        want = reference(name, x, 0)
        assert torch.equal(out.isnan(), want.isnan())
        assert_close(out.nan_to_num(), want.nan_to_num(), 20, 2e-6)


def test_vocabulary_rows() -> None:
    x = make((3, 151_000), torch.float32, low=-20, high=20)
    for source in (x, x.bfloat16()):
        for name in ("Softmax", "LogSoftmax"):
            out = torch.empty_like(x)
            call("aclnn" + name, source, -1, out)
            assert_close(out, reference(name, source, -1), 40, 4e-6 if name == "LogSoftmax" else 0)


def test_special_rows() -> None:
    inf, nan = float("inf"), float("nan")
    x = torch.tensor(
        [[-inf, -inf, -inf], [inf, 1, 2], [nan, 1, 2], [-inf, 0, 0], [3e38, 3e38, -3e38], [1e-45, 0, 0]]
    )
    for name in ("Softmax", "LogSoftmax"):
        out = torch.empty_like(x)
        call("aclnn" + name, x, -1, out)
        assert_close(out, reference(name, x, -1), 2)


# Around one and two vectors of every instruction set, the sums' blocks of 1024, and HC_ROWS_BF16_MAX = 4096, beyond
# which rows go through buffers of float.
BF16_LENGTHS = [*range(1, 70), 127, 1023, 1024, 1025, 1039, 2049, 4079, 4095, 4096, 4097, 4113]


def test_bfloat16_rows_of_any_length() -> None:
    for n in BF16_LENGTHS:
        x, g = make((3, n), torch.bfloat16, n, low=-9, high=9), make((3, n), torch.bfloat16, n + 1)
        guarded = torch.full((3 * n + 40,), 7.0, dtype=torch.bfloat16)
        out = guarded[: 3 * n].view(3, n)
        call("aclnnSoftmax", x, -1, out)
        assert_close(out, reference("Softmax", x, -1), 1)
        y = out.clone()
        call("aclnnSoftmaxBackward", g, y, -1, out)
        wide, grad = y.double(), g.double()
        assert_close(out, wide * (grad - (grad * wide).sum(-1, keepdim=True)), 1, 1e-6)
        assert bool((guarded[3 * n :] == 7).all()), f"written beyond rows of {n}"


@pytest.mark.parametrize("special", ["nan", "inf", "-inf"])
def test_bfloat16_rows_with_special_values(special: str) -> None:
    for n in (1, 2, 15, 16, 17, 40, 64, 65, 1025, 4096, 4097):
        for at in {0, n // 2, n - 1}:
            x = make((2, n), torch.bfloat16, n)
            x[0, at] = float(special)
            out = torch.empty_like(x)
            call("aclnnSoftmax", x, -1, out)
            assert_close(out, reference("Softmax", x, -1), 1)
            y, g = reference("Softmax", make((2, n), torch.bfloat16), -1).bfloat16(), x
            call("aclnnSoftmaxBackward", g, y, -1, out)
            wide, grad = y.double(), g.double()
            assert_close(out, wide * (grad - (grad * wide).sum(-1, keepdim=True)), 1, 1e-6)


def test_in_place_and_overlapping() -> None:
    x = make((50, 33), torch.float32)
    want = reference("Softmax", x, -1)
    call("aclnnSoftmax", x, -1, x)
    assert_close(x, want, 12)
    x = make((50, 33), torch.bfloat16)
    want = reference("Softmax", x, -1)
    call("aclnnSoftmax", x, -1, x)
    assert_close(x, want, 1)
    storage = make((51 * 33,), torch.float32)
    x, out = storage[: 50 * 33].view(50, 33), storage[33:].view(50, 33)
    want = reference("LogSoftmax", x, 0)
    call("aclnnLogSoftmax", x, 0, out)
    assert_close(out, want, 4, 2e-6)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_layout(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=4)))
    x = make(shape, torch.float32).permute(*data.draw(st.permutations(range(len(shape)))))
    dim = data.draw(st.integers(0, x.dim() - 1))
    out = torch.empty(x.shape).permute(*range(x.dim()))
    call("aclnnSoftmax", x, dim, out)
    assert_close(out, reference("Softmax", x, dim), 12)


def test_bad_arguments() -> None:
    with pytest.raises(OperatorError, match=r"aclnnSoftmax: dim is 2, float32\[3,4\] allows \[-2, 1\]"):
        call("aclnnSoftmax", torch.zeros(3, 4), 2, torch.zeros(3, 4))
    with pytest.raises(OperatorError, match="want floating point types"):
        call("aclnnLogSoftmax", torch.zeros(3, dtype=torch.int32), 0, torch.zeros(3))
    with pytest.raises(OperatorError, match="want the same shape"):
        call("aclnnSoftmaxBackward", torch.zeros(3), torch.zeros(4), 0, torch.zeros(3))
    with pytest.raises(OperatorError) as e:
        call("aclnnSoftmax", None, 0, torch.zeros(3))
    assert e.value.code == 161001
