"""Comparisons, logic and the choice between tensors: exact against PyTorch."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, Scalar, call
from compare import COMPLEX, FLOATS, INTS, SHAPES, broadcast_pairs, layouts, make, special_values

ORDER = {"Gt": torch.gt, "Ge": torch.ge, "Lt": torch.lt, "Le": torch.le}
ALL = {"Eq": torch.eq, "Ne": torch.ne, **ORDER}

# Types that are also tried on the shape that needs several threads.
LARGE = (torch.float32, torch.bfloat16)


def coarse(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Few different values, so that equality happens."""
    t = make(shape, dtype, seed=seed, low=-1, high=1)
    return torch.round(t) if dtype.is_floating_point else t


@pytest.mark.parametrize("dtype", (*FLOATS, *INTS, torch.bool))
@pytest.mark.parametrize("name", ALL)
def test_tensors(name: str, dtype: torch.dtype) -> None:
    for shape in SHAPES if dtype in LARGE else SHAPES[:-1]:
        for (_, a), (_, b) in zip(
            layouts(coarse(shape, dtype, 0)), layouts(coarse(shape, dtype, 1)), strict=True
        ):
            out = torch.empty(shape, dtype=torch.bool)
            call(f"aclnn{name}Tensor", a, b, out)
            assert torch.equal(out, ALL[name](a, b))


@pytest.mark.parametrize("dtype", (*FLOATS, *INTS))
@pytest.mark.parametrize("value", (1, 0, -1, 0.1, 2.5, True))
@pytest.mark.parametrize("name", ALL)
def test_scalar(name: str, value: float, dtype: torch.dtype) -> None:
    x = coarse((300,), dtype, 0)
    if dtype.is_floating_point:
        x[::7] = 0.1
    if dtype == torch.uint8 and value == -1:
        pytest.skip("PyTorch wraps or refuses -1 by version")
    out = torch.empty(300, dtype=torch.bool)
    call(f"aclnn{name}Scalar", x, Scalar(value), out)
    assert torch.equal(out, ALL[name](x, value))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ALL)
def test_special_values(name: str, dtype: torch.dtype) -> None:
    a, b = special_values(dtype)[:, None], special_values(dtype)[None]
    out = torch.empty(a.numel(), a.numel(), dtype=torch.bool)
    call(f"aclnn{name}Tensor", a, b, out)
    assert torch.equal(out, ALL[name](a, b))


def test_64_bit_integers_are_exact() -> None:
    a = torch.tensor([2**62, 2**53 + 1, -(2**63)])
    b = torch.tensor([2**62 + 1, 2**53, 2**63 - 1])
    out = torch.empty(3, dtype=torch.bool)
    for name, reference in ALL.items():
        call(f"aclnn{name}Tensor", a, b, out)
        assert torch.equal(out, reference(a, b))
        call(f"aclnn{name}Scalar", a, Scalar(2**53), out)
        assert torch.equal(out, reference(a, 2**53))


@pytest.mark.parametrize(
    "pair", ((torch.int64, torch.float32), (torch.uint8, torch.int8), (torch.bfloat16, torch.float32))
)
def test_mixed_types(pair: tuple[torch.dtype, torch.dtype]) -> None:
    a, b, out = coarse((99,), pair[0], 0), coarse((99,), pair[1], 1), torch.empty(99, dtype=torch.bool)
    for name, reference in ALL.items():
        call(f"aclnn{name}Tensor", a, b, out)
        assert torch.equal(out, reference(a, b))


@pytest.mark.parametrize("shapes", tuple(broadcast_pairs()))
def test_broadcast(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    a, b = coarse(shapes[0], torch.float32, 0), coarse(shapes[1], torch.float32, 1)
    expected = torch.eq(a, b)
    out = torch.empty_like(expected)
    call("aclnnEqTensor", a, b, out)
    assert torch.equal(out, expected)


def test_complex_equality() -> None:
    for dtype in COMPLEX:
        a, b = make((50,), dtype), make((50,), dtype, seed=4)
        b[::2] = a[::2]
        out = torch.empty(50, dtype=torch.bool)
        call("aclnnEqTensor", a, b, out)
        assert torch.equal(out, a == b)
        call("aclnnNeTensor", a, b, out)
        assert torch.equal(out, a != b)


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.int64, torch.bool))
def test_in_place(dtype: torch.dtype) -> None:
    for name in ALL:
        x, b = coarse((70,), dtype, 0), coarse((70,), dtype, 1)
        expected = ALL[name](x, b).to(dtype)
        call(f"aclnnInplace{name}Tensor", x, b)
        assert torch.equal(x, expected)
        x = coarse((70,), dtype, 0)
        expected = ALL[name](x, 1).to(dtype)
        call(f"aclnnInplace{name}Scalar", x, Scalar(1))
        assert torch.equal(x, expected)


@pytest.mark.parametrize("dtype", (*FLOATS, *INTS, torch.bool))
def test_logic(dtype: torch.dtype) -> None:
    a, b = coarse((3, 333), dtype, 0), coarse((333,), dtype, 1)
    if dtype.is_floating_point:
        a[0, 0] = float("nan")
    out = torch.empty(3, 333, dtype=torch.bool)
    for name, reference in (("And", torch.logical_and), ("Or", torch.logical_or), ("Xor", torch.logical_xor)):
        call(f"aclnnLogical{name}", a, b, out)
        assert torch.equal(out, reference(a, b))
    call("aclnnLogicalNot", a, out)
    assert torch.equal(out, torch.logical_not(a))
    x = a.clone()
    call("aclnnInplaceLogicalNot", x)
    assert torch.equal(x, torch.logical_not(a).to(dtype))


def test_not_of_any_byte() -> None:
    """Memory of bools may hold other bytes than 0 and 1: a view of integers."""
    x = torch.arange(256, dtype=torch.uint8).repeat(9)
    for view in (x, x[::2], x.reshape(16, 144).t()):
        out = torch.empty(view.shape, dtype=torch.bool)
        call("aclnnLogicalNot", view.view(torch.bool), out)
        assert torch.equal(out, view == 0)


@pytest.mark.parametrize("dtype", (*FLOATS, torch.int32))
def test_kinds_of_numbers(dtype: torch.dtype) -> None:
    x = special_values(dtype) if dtype.is_floating_point else make((20,), dtype)
    out = torch.empty(x.shape, dtype=torch.bool)
    for name, reference in (("IsFinite", torch.isfinite), ("IsNegInf", torch.isneginf), ("IsPosInf", torch.isposinf),
                            ("Signbit", torch.signbit)):  # fmt: skip
        call(f"aclnn{name}", x, out)
        assert torch.equal(out, reference(x)), name


@pytest.mark.parametrize("dtype", (*FLOATS, *INTS, *COMPLEX, torch.bool))
def test_where(dtype: torch.dtype) -> None:
    for shape in SHAPES if dtype in LARGE else SHAPES[:-1]:
        condition, a, b = make(shape, torch.bool), make(shape, dtype), make(shape, dtype, seed=1)
        out = torch.empty(shape, dtype=dtype)
        call("aclnnSWhere", condition, a, b, out)
        assert torch.equal(out, torch.where(condition, a, b))
    condition, a, b = make((7, 1), torch.bool), make((), dtype), make((5,), dtype)
    out = torch.empty(7, 5, dtype=dtype)
    call("aclnnSWhere", condition, a, b, out)
    assert torch.equal(out, torch.where(condition, a, b))


@pytest.mark.parametrize("dtype", (*INTS, *FLOATS, *COMPLEX))
def test_a_condition_is_of_bool_or_uint8(dtype: torch.dtype) -> None:
    condition, a, b = torch.tensor([0, 2, 1]).to(dtype), torch.ones(3), torch.zeros(3)
    out = torch.empty(3)
    if dtype == torch.uint8:
        call("aclnnSWhere", condition, a, b, out)
        assert out.tolist() == [0, 1, 1]
        return
    with pytest.raises(
        OperatorError, match=r"aclnnSWhere: condition is .*\[3\], wanted a tensor of bool or uint8"
    ):
        call("aclnnSWhere", condition, a, b, out)


@pytest.mark.parametrize("equal_nan", (False, True))
def test_is_close(equal_nan: bool) -> None:
    a, b = special_values(torch.float32)[:, None], special_values(torch.float32)[None] * (1 + 1e-6)
    out = torch.empty(a.numel(), a.numel(), dtype=torch.bool)
    call("aclnnIsClose", a, b, 1e-5, 1e-8, equal_nan, out)
    assert torch.equal(out, torch.isclose(a, b, equal_nan=equal_nan))
