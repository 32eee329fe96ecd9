"""Rows quantised by the scales of their group: the float64 formula rounded, but where it lies between two."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import make

INT8 = 2  # the interface's number of the type


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("columns", [33, 1])
def test_group_quant(dtype: torch.dtype, columns: int) -> None:
    x, scale = make((16, 33), dtype) * 20, make((4, columns), torch.float32, 1)
    ends = torch.tensor([3, 3, 10, 16], dtype=torch.int32)
    group = torch.bucketize(torch.arange(16), ends.long(), right=True)
    for offset in (None, torch.tensor([2.5])):
        for rows in (x, x.t().contiguous().t()):
            y = torch.empty(16, 33, dtype=torch.int8)
            call("aclnnGroupQuant", rows, scale, ends, offset, INT8, y)
            exact = rows.double() * scale.double()[group] + (0 if offset is None else 2.5)
            exact = exact.clamp(-128, 127)
            assert ((y.double() - exact).abs() <= 0.5 + 1e-4).all()


def test_bad_input() -> None:
    x, scale, y = torch.ones(4, 3), torch.ones(2, 3), torch.empty(4, 3, dtype=torch.int8)
    with pytest.raises(OperatorError, match="aclnnGroupQuant: groupIndex"):
        call("aclnnGroupQuant", x, scale, torch.tensor([3, 5]), None, INT8, y)
    with pytest.raises(OperatorError, match="aclnnGroupQuant: x is .*a row of scales for each group"):
        call("aclnnGroupQuant", x, scale, torch.tensor([4]), None, INT8, y)
    with pytest.raises(OperatorError, match="aclnnGroupQuant: offsetOptional is .*want one element"):
        call("aclnnGroupQuant", x, scale, torch.tensor([2, 4]), torch.ones(2), INT8, y)
