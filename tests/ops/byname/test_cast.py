# SPDX-License-Identifier: Apache-2.0
"""Cast by name: the same conversion as aclnnCast, for every pair of types."""

from __future__ import annotations

import aclnn
import pytest
import torch
from aclop import DTYPES, call

VALUES = [0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -3.75, 100.0, 127.0, 255.0, 3000.5, 65504.0, 1e9]


def source(dtype: torch.dtype) -> torch.Tensor:
    """Values that fit the type, as its own tests show what becomes of others."""
    values = torch.tensor(VALUES, dtype=torch.float64).repeat(83)
    if not dtype.is_floating_point and not dtype.is_complex:
        info = torch.iinfo(dtype) if dtype != torch.bool else None
        values = values.clamp(info.min, min(info.max, 1 << 40)) if info else values
    return values.to(dtype)


@pytest.mark.parametrize("to", aclnn.DTYPES, ids=str)
@pytest.mark.parametrize("dtype", aclnn.DTYPES, ids=str)
def test_every_pair(dtype, to):
    x = source(dtype)
    y, want = torch.empty(len(x), dtype=to), torch.empty(len(x), dtype=to)
    aclnn.call("aclnnCast", x, to, want)
    call("Cast", [x], [y], {"dst_type": DTYPES[to]})
    assert torch.equal(y.view(torch.uint8), want.view(torch.uint8))


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (2, 3, 4)], ids=str)
def test_shapes(shape):
    x = torch.randn(shape)
    y = torch.empty(shape, dtype=torch.float64)
    call("Cast", [x], [y], {"dst_type": DTYPES[torch.float64]})
    assert torch.equal(y, x.double())


def test_a_smaller_input_is_repeated():
    x, y = torch.arange(4.0), torch.empty(3, 4, dtype=torch.int32)
    call("Cast", [x], [y])
    assert torch.equal(y, x.int().expand(3, 4))
