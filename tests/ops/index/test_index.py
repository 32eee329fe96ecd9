"""aclnnIndex, aclnnIndexPutImpl."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from aclnn import OperatorError, call
from compare import COMPLEX, FLOATS, INTS, assert_close, layouts, make
from test_gather import indices

ALL = (*FLOATS, *INTS, torch.bool, *COMPLEX)
A, B = indices((3, 1), 4, low=-4), indices((5,), 6, low=-6)
CASES = (
    (A,), (None, B), (None, None, B), (A, B), (A, None, B), (None, A, B), (None, A, None, B), (torch.tensor(2), B),
    (torch.tensor(-1),), (A, None, None, torch.tensor([1, -2, 0, 1, 1])),
)  # fmt: skip


def as_list(case: tuple, like: torch.Tensor) -> list[torch.Tensor]:
    """ ":" is passed as an empty tensor of self's dtype, as torch_npu does."""
    return [torch.empty(0, dtype=like.dtype) if i is None else i for i in case]


def key(case: tuple) -> tuple:
    return tuple(slice(None) if i is None else i.long() for i in case)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("case", CASES)
def test_index_and_put(dtype: torch.dtype, case: tuple) -> None:
    for _, x in layouts(make((4, 6, 7, 9), dtype)):
        expected = x[key(case)]
        out = torch.empty(expected.shape, dtype=dtype)
        call("aclnnIndex", x, as_list(case, x), out)
        assert torch.equal(out, expected)
        unique = torch.arange(4)[: case[0].numel()].flip(0) if case[0] is not None else None
        put = (
            (unique, *case[1:])
            if len([i for i in case if i is not None]) == 1 and unique is not None
            else case
        )
        for values in (torch.ones((), dtype=dtype), make(tuple(x[key(put)].shape), dtype, seed=9)):
            if values.numel() > 1 and put is case:
                continue  # which of two writes to one element wins is not defined by PyTorch
            target = x.clone(memory_format=torch.preserve_format)
            call("aclnnIndexPutImpl", target, as_list(put, x), values, False, False)
            assert torch.equal(target, torch.ops.aten.index_put(x, list(put), values))


@pytest.mark.parametrize("dtype", [d for d in ALL if d != torch.bool])
@pytest.mark.parametrize("case", CASES)
def test_accumulate(dtype: torch.dtype, case: tuple) -> None:
    x = make((4, 6, 7, 9), dtype)
    wide = torch.float64 if dtype.is_floating_point else torch.complex128 if dtype.is_complex else torch.int64
    values = make(tuple(x[key(case)].shape), dtype, seed=9)
    expected = torch.ops.aten.index_put(x.to(wide), list(case), values.to(wide), True)
    call("aclnnIndexPutImpl", x, as_list(case, x), values, True, False)
    # Up to 15 terms below 4, summed in float (double for float64).
    assert_close(
        x,
        expected.to(dtype) if wide == torch.int64 else expected,
        max_ulp=1,
        atol=64 * (2**-52 if dtype == torch.float64 else 2**-23),
    )


def test_last_write_wins_and_sums_are_in_order() -> None:
    n = 200_000
    index = indices((n,), 100)
    x = torch.zeros(100, dtype=torch.int64)
    call("aclnnIndexPutImpl", x, [index], torch.arange(n), False, False)
    assert torch.equal(
        x, torch.zeros(100, dtype=torch.int64).scatter_reduce(0, index, torch.arange(n), "amax")
    )
    values = torch.rand(n)
    x = torch.zeros(100)
    call("aclnnIndexPutImpl", x, [index], values, True, False)
    # One float32 addition after the other: a running sum has no other order, while PyTorch's sum has the CPU's.
    expected = [np.add.accumulate(values[index == i].numpy(), dtype=np.float32)[-1] for i in range(100)]
    assert torch.equal(x, torch.tensor(expected))


def test_empty() -> None:
    x = torch.ones(4, 6)
    nothing = torch.empty(0, dtype=torch.int64)
    call("aclnnIndex", x, [nothing], torch.empty(0, 6))
    call("aclnnIndexPutImpl", x, [nothing], torch.zeros(()), False, False)
    assert torch.equal(x, torch.ones(4, 6))


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.int32])
@pytest.mark.parametrize("index_type", [torch.int64, torch.int32])
def test_index_without_elements_beside_others(dtype: torch.dtype, index_type: torch.dtype) -> None:
    """As x[True, False] and x[i, mask] with no True in it are passed on; ":" is an empty tensor of self's dtype."""
    x = make((3, 4, 5), dtype)
    nothing, one = torch.empty(0, dtype=index_type), torch.tensor([1], dtype=index_type)
    for case in ((one, nothing), (nothing, one), (one, nothing, one), (nothing, nothing), (None, nothing)):
        expected = x[key(case)]
        out = torch.empty(expected.shape, dtype=dtype)
        call("aclnnIndex", x, as_list(case, x), out)
    for case in ((one, nothing), (None, nothing), (nothing, nothing), (nothing,)):
        target = x.clone()
        call("aclnnIndexPutImpl", target, as_list(case, x), torch.ones((), dtype=dtype), False, False)
        assert torch.equal(target, x)
    for case in ((one, None, one), (None, one)):
        target = x.clone()
        call("aclnnIndexPutImpl", target, as_list(case, x), torch.ones((), dtype=dtype), False, False)
        expected = torch.ops.aten.index_put(x, list(case), torch.ones((), dtype=dtype))
        assert torch.equal(target, expected)


def test_errors_are_named_and_nothing_is_written() -> None:
    x = torch.zeros(4, 6)
    bad = torch.tensor([1, 6])
    with pytest.raises(
        OperatorError, match=r"aclnnIndex: index 6 at position \[1\] of index tensor 1.*wanted -6 to 5"
    ):
        call("aclnnIndex", x, [torch.tensor([0, 1]), bad], torch.empty(2))
    with pytest.raises(
        OperatorError,
        match=r"aclnnIndexPutImpl: index -5 at position \[0\] of index tensor 0.*wanted -4 to 3",
    ):
        call("aclnnIndexPutImpl", x, [torch.tensor([-5])], torch.ones(1, 6), True, False)
    assert torch.equal(x, torch.zeros(4, 6))
    for name, args, text in (
        ("aclnnIndex", (x, [bad, bad, bad], torch.empty(2)), "3 tensors of indices for self"),
        (
            "aclnnIndex",
            (x, [bad, torch.tensor([1, 2, 3])], torch.empty(2)),
            "index tensor 1 int64.*does not broadcast",
        ),
        ("aclnnIndex", (x, [torch.empty(0)], x), "no index tensor"),
        ("aclnnIndex", (x, [bad], torch.empty(2)), r"out is float32\[2\], wanted float32\[2,6\]"),
        ("aclnnIndex", (x, [bad.bool()], torch.empty(2)), "tensor of indices is bool"),
        ("aclnnIndexPutImpl", (x, [bad], torch.ones(3), False, False), "values float32.*does not broadcast"),
        ("aclnnIndexPutImpl", (x, [bad], torch.ones(6).half(), False, False), "values is float16"),
    ):
        with pytest.raises(OperatorError, match=f"{name}: .*{text}"):
            call(name, *args)
