# SPDX-License-Identifier: Apache-2.0
"""What an operator by name refuses: the text names the operator, the operand, what was found and what is wanted."""

from __future__ import annotations

import re

import pytest
import torch
from aclop import Operand, OperatorError, call

X, Y = torch.zeros(3, 4), torch.zeros(4, 3)
T = [1, 0]
BIG = 1 << 62


def view(**changes):
    """Arguments of a ViewCopy of 3 x 4 elements, some changed."""
    arguments = {
        "dst": X, "dst_size": [3, 4], "dst_stride": [4, 1], "dst_offset": 0,
        "src": Y, "src_size": [3, 4], "src_stride": [1, 3], "src_offset": 0,
    }  # fmt: skip
    return list((arguments | changes).values())


# id: (type, inputs, outputs, attributes, part of the text)
REFUSED = {
    "rank of perm": ("Transpose", [X, [0]], [Y], {}, "perm has 1 values, x is float32[3,4]"),
    "perm twice": ("Transpose", [X, [1, 1]], [Y], {}, "perm[1] is 1 again"),
    "perm outside": ("Transpose", [X, [1, 2]], [Y], {}, "perm[1] is 2, x is float32[3,4]"),
    "shape of y": ("Transpose", [X, T], [X], {}, "y is float32[3,4], must be float32[4,3]"),
    "types differ": ("Transpose", [X, T], [Y.double()], {}, "y is float64[4,3], must have the type of float32[4,3]"),
    "too few inputs": ("Transpose", [X], [Y], {}, "1 inputs, it has 2"),
    "too many outputs": ("Transpose", [X, T], [Y, Y], {}, "2 outputs, it has 1"),
    "attribute": ("Transpose", [X, T], [Y], {"conjugate": 1}, "it has no attribute conjugate"),
    "list of floats": ("Transpose", [X, torch.tensor([1.0, 0.0])], [Y], {}, "perm has element type float32"),
    "matrix as list": ("Transpose", [X, torch.tensor([[1, 0]])], [Y], {}, "perm is int64[1,2], must be a list"),
    "long list": ("Transpose", [X, list(range(17))], [Y], {}, "perm is int64[17], must be a list of at most 16"),
    "no memory": ("Transpose", [Operand(tensor=X, address=0), T], [Y], {}, "x is float32[3,4] but has no memory"),
    "short buffer": ("Transpose", [Operand(tensor=X, bytes=47), T], [Y], {}, "x is float32[3,4], 48 bytes, but"),
    "short output": ("Transpose", [X, T], [Operand(tensor=Y, bytes=8)], {}, "y is float32[4,3], 48 bytes, but"),
    "short list": ("Transpose", [X, Operand(tensor=torch.tensor(T), bytes=8)], [Y], {}, "perm is int64[2], 16 bytes"),
    "unknown shape": ("Transpose", [Operand(tensor=X, shape=[3, -1]), T], [Y], {}, "dimension 1 of x is -1"),
    "overflow": ("Transpose", [Operand(tensor=X, shape=[BIG, 4]), T], [Y], {}, "x has more than 2^63 bytes with"),
    "overflow, empty": ("Transpose", [Operand(tensor=X, shape=[0, BIG, 4]), [0, 1, 2]], [Y], {}, "more than 2^63"),
    "rank": ("Transpose", [Operand(tensor=X, shape=[1] * 17), T], [Y], {}, "x has 17 dimensions, at most 16"),
    "private format": ("Transpose", [Operand(tensor=X, format=29), T], [Y], {}, "x has storage format 29"),
    "type without size": ("Transpose", [Operand(tensor=X, dtype=13), T], [Y], {}, "x has element type"),
    "slice outside": ("Slice", [X, [0, 2], [3, 3]], [Y], {}, "offsets[1] is 2 and size[1] is 3, x is float32[3,4]"),
    "slice before": ("Slice", [X, [-1, 0], [1, 1]], [Y], {}, "offsets[0] is -1 and size[0] is 1"),
    "slice size": ("Slice", [X, [0, 0], [-2, 1]], [Y], {}, "size[0] is -2"),
    "slice overflow": ("Slice", [X, [1, 0], [2**63 - 1, 1]], [Y], {}, "size[0] is 9223372036854775807"),
    "slice lists": ("Slice", [X, [0], [1, 1]], [Y], {}, "offsets has 1 values and size 2"),
    "broadcast": ("BroadcastTo", [X, [4, 3]], [Y], {}, "x is float32[3,4], which does not broadcast to float32[4,3]"),
    "broadcast -1": ("BroadcastTo", [X, [-1, 3, 4]], [Y], {}, "shape[0] is -1, x is float32[3,4]"),
    "broadcast huge": ("BroadcastTo", [X, [BIG, BIG, 3, 4]], [Y], {}, "y is float32[4,3], shape asks for"),
    "strides 0": ("StridedSlice", [X, [0, 0], [1, 1], [1, 0]], [Y], {}, "strides[1] is 0"),
    "lists of StridedSlice": ("StridedSlice", [X, [0], [1, 1], [1]], [Y], {}, "begin has 1 values, end 2 and strides 1"),
    "begin too long": ("StridedSlice", [X, [0] * 3, [1] * 3, [1] * 3], [Y], {}, "begin names 3 dimensions and adds 0"),
    "mask": ("StridedSlice", [X, T, T, T], [Y], {"ellipsis_mask": 3}, "ellipsis_mask is 3: at most one bit"),
    "kind of mask": ("StridedSlice", [X, T, T, T], [Y], {"end_mask": "1"}, "attribute end_mask is of type string"),
    "shrunk outside": (
        "StridedSlice", [X, [3], [4], [1]], [Y], {"shrink_axis_mask": 1}, "begin[0] is 3 and strides[0] is 1 for one",
    ),
    "view beyond": ("AsStrided", [X, [4, 3], [3, 2], 0], [Y], {}, "a view that ends beyond the 12 elements of x's buffer"),
    "offset beyond": ("AsStrided", [X, [4, 3], [3, 1], 1], [Y], {}, "ends beyond the 12 elements of x's buffer"),
    "offset negative": ("AsStrided", [X, [4, 3], [3, 1], -1], [Y], {}, "storage_offset has 1 values, the first is -1"),
    "offset a list": ("AsStrided", [X, [4, 3], [3, 1], [0, 0]], [Y], {}, "storage_offset has 2 values"),
    "stride negative": ("AsStrided", [X, [4, 3], [3, -1], 0], [Y], {}, "size[1] is 3, stride[1] is -1"),
    "view overflows": ("AsStrided", [X, [BIG, 3], [BIG, 1], 0], [Y], {}, "(by more than 2^63)"),
    "sum overflows": ("AsStrided", [X, [2, 2], [BIG, BIG], 1], [Y], {}, "(by more than 2^63)"),
    "count overflows": ("AsStrided", [X, [BIG, BIG], [0, 0], 0], [Y], {}, "(by more than 2^63)"),
    "lengths differ": ("AsStrided", [X, [4, 3], [1], 0], [Y], {}, "size has 2 values, stride has 1"),
    "view and y": ("AsStrided", [X, [3, 3], [3, 1], 0], [Y], {}, "float32[3,3] does not broadcast to y"),
    "dst beyond": ("ViewCopy", view(dst_offset=1), [X], {}, "dst_size, dst_stride and dst_storage_offset describe a view"),
    "src beyond": ("ViewCopy", view(src_stride=[4, 4]), [X], {}, "beyond the 12 elements of src's buffer"),
    "dst repeats": ("ViewCopy", view(dst_stride=[0, 1]), [X], {}, "dst_stride[0] is 0 and dst_size[0] is 3"),
    "other output": ("ViewCopy", view(), [Y], {}, "must be the memory of dst"),
    "src does not fit": ("ViewCopy", view(src_size=[2, 4]), [X], {}, "float32[2,4] does not broadcast to the view of dst"),
    "types of a copy": ("ViewCopy", view(src=Y.int()), [X], {}, "dst is float32[3,4], must have the type of int32[3,4]"),
    "dst_type": ("Cast", [X], [X.double()], {"dst_type": 3}, "dst_type is 3 (int32), y is float64[3,4]"),
    "no conversion": ("Cast", [X], [Operand(tensor=X, dtype=33)], {}, "there is no conversion between these types"),
    "cast shape": ("Cast", [X], [Y], {}, "float32[3,4] does not broadcast to y, which is float32[4,3]"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    name, inputs, outputs, attrs, text = REFUSED[case]
    for function in ("aclopCompileAndExecute", "aclopCompileAndExecuteV2"):
        with pytest.raises(OperatorError, match=re.escape(text)) as error:
            call(name, inputs, outputs, attrs, function=function)
        assert f"{function}: operator {name}: " in str(error.value)
        assert error.value.code == 100000


def test_a_missing_operator_is_named():
    with pytest.raises(OperatorError, match="operator type Renorm is not available") as error:
        call("Renorm", [X], [X], {"p": 2})
    assert error.value.code == 100024
