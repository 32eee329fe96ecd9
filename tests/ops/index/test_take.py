"""aclnnTake, aclnnInplacePut, aclnnOneHot, aclnnInplaceScatterUpdate."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import COMPLEX, FLOATS, INTS, assert_close, layouts, make

ALL = (*FLOATS, *INTS, torch.bool, *COMPLEX)


@pytest.mark.parametrize("dtype", ALL)
def test_take_and_put(dtype: torch.dtype) -> None:
    index = torch.randperm(35, generator=torch.Generator().manual_seed(1))[:12].reshape(3, 4) - 35
    for _, x in layouts(make((5, 7), dtype)):
        out = torch.empty(3, 4, dtype=dtype)
        call("aclnnTake", x, index, out)
        assert torch.equal(out, torch.take(x, index))
        source = make((3, 4), dtype, seed=2)
        target = x.clone(memory_format=torch.preserve_format)
        call("aclnnInplacePut", target, index, source, False)
        assert torch.equal(target, x.clone().put_(index, source))


@pytest.mark.parametrize("dtype", [*FLOATS, torch.int64, torch.int32])
def test_put_accumulates(dtype: torch.dtype) -> None:
    x, index = make((4, 6), dtype), torch.tensor([3, 3, -1, 23, 0, 3])
    source = make((6,), dtype, seed=2)
    expected = x.double().put(index, source.double(), accumulate=True)
    call("aclnnInplacePut", x, index, source, True)
    assert_close(
        x, expected.to(torch.int64) if not dtype.is_floating_point else expected, max_ulp=1, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_one_hot(dtype: torch.dtype) -> None:
    for shape in ((), (5,), (3, 4), (0,)):
        x = make(shape, torch.int64, low=0, high=1).abs().remainder(6)
        expected = torch.nn.functional.one_hot(x, 6)
        for axis in (-1, 0):
            out = torch.empty(expected.movedim(-1, axis).shape, dtype=dtype)
            call(
                "aclnnOneHot",
                x.to(dtype),
                6,
                torch.ones(1, dtype=dtype),
                torch.zeros(1, dtype=dtype),
                axis,
                out,
            )
            assert torch.equal(out, expected.movedim(-1, axis).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
def test_scatter_update(dtype: torch.dtype) -> None:
    cache, updates = make((3, 2, 10, 4), dtype), make((3, 2, 3, 4), dtype, seed=2)
    expected = cache.clone()
    for batch, first in enumerate((7, 0, 2)):
        expected[batch, :, first : first + 3] = updates[batch]
    call("aclnnInplaceScatterUpdate", cache, torch.tensor([7, 0, 2]), updates, -2)
    assert torch.equal(cache, expected)
    expected[2, :, 4:7] = updates[0]
    call("aclnnInplaceScatterUpdate", cache, torch.tensor([[2, 4]]), updates[:1], 2)
    assert torch.equal(cache, expected)


def test_bad_input_is_named() -> None:
    x, index = torch.ones(4, 5), torch.tensor([20])
    for name, args, text in (
        ("aclnnTake", (x, index, torch.empty(1)), "index 20 at position .*wanted -20 to 19"),
        ("aclnnTake", (x, index, torch.empty(2)), r"out is float32\[2\]"),
        ("aclnnInplacePut", (x, index - 41, torch.ones(1), False), "index -21 at position"),
        ("aclnnInplacePut", (x, index, torch.ones(2), False), r"source is float32\[2\]"),
        (
            "aclnnOneHot",
            (index, 20, index, index, -1, torch.empty(1, 20)),
            "index 20 at position .*wanted 0 to 19",
        ),
        ("aclnnOneHot", (index, 20, index, index, -1, torch.empty(1, 21)), "20 classes"),
        (
            "aclnnInplaceScatterUpdate",
            (x, torch.tensor([0, 4, 0, 0]), torch.ones(4, 2), 1),
            "index 4 at position .*wanted 0 to 3",
        ),
    ):
        with pytest.raises(OperatorError, match=f"{name}: .*{text}"):
            call(name, *args)
    assert torch.equal(x, torch.ones(4, 5))
