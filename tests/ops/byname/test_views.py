# SPDX-License-Identifier: Apache-2.0
"""Views by name: Transpose, Slice, StridedSlice, BroadcastTo, AsStrided, ViewCopy move the bits that torch's or
numpy's views give."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from aclnn import DTYPES
from aclop import Operand, call
from hypothesis import given, settings
from hypothesis import strategies as st

ALL = [*DTYPES, torch.complex32, torch.float8_e5m2, torch.float8_e4m3fn]
SHAPES: list[tuple[int, ...]] = [
    (), (1,), (7,), (0,), (3, 4), (1, 5), (5, 1), (0, 3), (3, 0), (33, 65), (2, 3, 4), (1, 1, 1), (4, 1, 9, 2),
    (2, 3, 2, 3, 2), (1, 2, 1, 3, 1, 2, 1, 2),
]  # fmt: skip


def bits(t: torch.Tensor) -> torch.Tensor:
    """Of an own copy: a view of no elements may have strides that cannot be seen as bytes."""
    return t.clone(memory_format=torch.contiguous_format).flatten().view(torch.uint8)


def random(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Every bit pattern, not-a-numbers included; bool only what torch makes of it."""
    if dtype == torch.bool:
        return torch.randint(0, 2, shape).bool()
    size = dtype.itemsize * math.prod(shape)
    return torch.randint(0, 256, (size,), dtype=torch.uint8).view(dtype).reshape(shape)


def run(name: str, x: torch.Tensor, lists: list[list[int] | int], want: torch.Tensor, **attrs: int) -> None:
    """The operator gives `want`, which is a view of x."""
    y = random(tuple(want.shape), want.dtype)
    call(name, [x, *lists], [y], attrs)
    assert torch.equal(bits(y), bits(want))


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_every_type(dtype):
    x = random((5, 1, 6), dtype)
    run("Transpose", x, [[2, 0, 1]], x.permute(2, 0, 1))
    run("Slice", x, [[1, 0, 2], [3, 1, -1]], x[1:4, :, 2:])
    run("StridedSlice", x, [[0, 0, 1], [5, 1, 6], [2, 1, 3]], x[::2, :, 1::3])
    run("BroadcastTo", x, [[2, 5, 4, 6]], x.expand(2, 5, 4, 6))
    run("AsStrided", x, [[3, 4], [7, 2], 1], x.as_strided((3, 4), (7, 2), 1))
    dst, src = random((4, 8), dtype), random((8, 3), dtype)
    want = dst.clone()
    want[1:, ::3].copy_(src.t()[:, :3])
    call("ViewCopy", [dst, [3, 3], [8, 3], 8, src, [3, 3], [1, 3], 0], [dst])
    assert torch.equal(bits(dst), bits(want))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_transpose(shape):
    x = random(shape, torch.int32)
    some = itertools.islice(itertools.permutations(range(len(shape))), 0, None, 1 if len(shape) < 5 else 997)
    for perm in some:
        run("Transpose", x, [list(perm)], x.permute(perm))
    run("Transpose", x, [[d - len(shape) for d in range(len(shape))]], x)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_slice(shape):
    x = random(shape, torch.float16)
    run("Slice", x, [[0] * len(shape), list(shape)], x)
    run("Slice", x, [[0] * len(shape), [-1] * len(shape)], x)
    ends = tuple(slice(n // 3, n // 3 + (n + 1) // 2) for n in shape)
    run("Slice", x, [[s.start for s in ends], [s.stop - s.start for s in ends]], x[ends])
    run("Slice", x, [list(shape), [0] * len(shape)], x[tuple(slice(n, n) for n in shape)])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_broadcast_to(shape):
    x = random(shape, torch.int16)
    wide = [3 if n == 1 else n for n in shape]
    run("BroadcastTo", x, [wide], x.expand(wide))
    run("BroadcastTo", x, [[2, 0, *shape]], x.expand(2, 0, *shape))
    run("BroadcastTo", x, [[4, *([-1] * len(shape))]], x.expand(4, *shape))


def view(data: st.DataObject, base: int) -> tuple[list[int], list[int], int]:
    """Sizes, strides and offset inside `base` elements; strides of 0 and overlaps too."""
    rank = data.draw(st.integers(0, 6))
    sizes = [data.draw(st.sampled_from([0, 1, 1, 2, 3, 5])) for _ in range(rank)]
    strides, left = [], base - 1
    for size in sizes:
        stride = data.draw(st.integers(0, max(left, 0) // max(size - 1, 1)))
        left -= stride * max(size - 1, 0)
        strides.append(stride)
    return sizes, strides, data.draw(st.integers(0, left))


@settings(deadline=None)
@given(st.data())
def test_as_strided(data):
    base = data.draw(st.integers(1, 400))
    x = torch.arange(base, dtype=torch.int32)
    sizes, strides, offset = view(data, base)
    want = x.as_strided(sizes, strides, offset)
    run("AsStrided", x, [sizes, strides, offset], want)
    # A smaller view fills a larger output, as copy_ does.
    run("AsStrided", x, [sizes, strides, offset], want.expand(2, 3, *want.shape))


@settings(deadline=None)
@given(st.data())
def test_view_copy(data):
    """Between random views, of one tensor as well: what is read is what was there before."""
    base = data.draw(st.integers(1, 300))
    src = torch.arange(base, dtype=torch.int64)
    sizes, strides, offset = view(data, base)
    source = src.as_strided(sizes, strides, offset)
    order = data.draw(st.permutations(range(len(sizes))))
    gaps = [data.draw(st.integers(0, 2)) for _ in sizes]
    dst_strides, step = [0] * len(sizes), data.draw(st.integers(1, 3))
    for d in order:
        dst_strides[d] = step
        step *= sizes[d] + gaps[d]
    room = max(step, 1) + 20
    dst_offset = data.draw(st.integers(0, 5))
    if (room + dst_offset) <= base and data.draw(st.booleans()):
        dst = src
    else:
        dst = -torch.arange(room + dst_offset, dtype=torch.int64)
    want = dst.clone()
    want.as_strided(sizes, dst_strides, dst_offset).copy_(source.clone())
    call("ViewCopy", [dst, sizes, dst_strides, dst_offset, src, sizes, strides, offset], [dst])
    assert torch.equal(dst, want)


def test_view_copy_broadcasts():
    dst, src = torch.zeros(3, 4), torch.arange(4.0)
    call("ViewCopy", [dst, [3, 4], [4, 1], 0, src, [1, 4], [4, 1], 0], [dst])
    assert torch.equal(dst, src.expand(3, 4))
    call("ViewCopy", [dst, [3, 4], [4, 1], 0, src, [], [], 2], [dst])
    assert (dst == 2).all()


INDEX = st.integers(-8, 8)
ENTRY = st.one_of(
    st.builds(slice, st.none() | INDEX, st.none() | INDEX, st.none() | INDEX.filter(bool)),
    st.just(None),
    st.just(...),
    INDEX,
)


def strided_slice(index: tuple[Any, ...]) -> tuple[list[list[int]], dict[str, int]]:
    """begin, end, strides and masks of a Python index; entries that a mask sets aside hold nonsense."""
    lists: list[list[int]] = [[], [], []]
    names = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    masks = dict.fromkeys(names, 0)
    for i, entry in enumerate(index):
        values, bit = [77, -77, 1], 1 << i
        if entry is None:
            masks["new_axis_mask"] |= bit
        elif entry is ...:
            masks["ellipsis_mask"] |= bit
        elif isinstance(entry, int):
            masks["shrink_axis_mask"] |= bit
            values = [entry, 77, 1]
        else:
            masks["begin_mask"] |= bit if entry.start is None else 0
            masks["end_mask"] |= bit if entry.stop is None else 0
            given_ = (entry.start, entry.stop, entry.step)
            values = [v if v is not None else w for v, w in zip(given_, values, strict=True)]
        for part, value in zip(lists, values, strict=True):
            part.append(value)
    return lists, masks


@settings(deadline=None, max_examples=40)  # an index is drawn slowly
@given(
    shape=st.lists(st.integers(0, 7), max_size=5),
    index=st.lists(ENTRY, max_size=6).filter(lambda entries: entries.count(...) <= 1),
)
def test_strided_slice_indexes_like_numpy(shape, index):
    x = torch.arange(math.prod(shape), dtype=torch.int32).reshape(shape)
    lists, masks = strided_slice(tuple(index))
    try:
        want = torch.from_numpy(np.array(x.numpy()[tuple(index)]))
    except IndexError:
        with pytest.raises(RuntimeError, match="operator StridedSlice: begin"):
            call("StridedSlice", [x, *lists], [torch.empty(1, dtype=torch.int32)], masks)
        return
    run("StridedSlice", x, lists, want, **masks)


def test_output_may_leave_out_dimensions_of_size_1():
    """torch_npu slices one column as [n, 1] into [n]."""
    x = random((6, 4), torch.float32)
    run("Slice", x, [[0, 2], [6, 1]], x[:, 2])
    run("StridedSlice", x, [[0, 2], [6, 3], [1, 1]], x[:, 2])
    run("AsStrided", x, [[6, 1], [4, 1], 2], x[:, 2])


def test_lists_of_int32_in_the_descriptor_and_on_the_device():
    x = random((3, 4), torch.float32)
    perm = torch.tensor([1, 0])
    run("Transpose", x, [Operand(tensor=perm.int(), placement=1)], x.t())
    run("Transpose", x, [Operand(tensor=perm, placement=0)], x.t())
    run("Transpose", x, [Operand(shape=[2], dtype=9, constant=perm)], x.t())


def test_larger_buffers_and_hints_are_fine():
    x = random((5, 4), torch.float32)
    y = torch.zeros(8, 5)
    call("Transpose", [Operand(tensor=x, shape=[3, 4]), [1, 0]], [Operand(tensor=y, shape=[4, 3])],
         {"_exclude_engines": "AiCore", "_performance_prior": 1})  # fmt: skip
    assert torch.equal(y.flatten()[:12].reshape(4, 3), x[:3].t()) and (y.flatten()[12:] == 0).all()


def test_beyond_two_gigabytes():
    """Offsets and sizes over 2^31; only what is touched takes memory."""
    x = torch.empty(5 << 30, dtype=torch.int8)
    x[3 << 30] = 7
    x[(3 << 30) + 5] = 9
    run("AsStrided", x, [[2], [5], 3 << 30], x.as_strided((2,), (5,), 3 << 30))
    run("Slice", x, [[3 << 30], [6]], x[3 << 30 : (3 << 30) + 6])
    run("StridedSlice", x, [[1 << 30], [5 << 30], [2 << 30]], x[1 << 30 :: 2 << 30])


@pytest.mark.parametrize("function", ["aclopCompileAndExecute", "aclopCompileAndExecuteV2"])
def test_both_functions(function):
    x, y = random((65, 33), torch.float32), torch.empty(33, 65)
    call("Transpose", [x, [1, 0]], [y], function=function)
    assert torch.equal(bits(y), bits(x.t()))
