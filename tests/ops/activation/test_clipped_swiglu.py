"""SwiGLU of clipped halves, against float64."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import assert_close, layouts, make

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def reference(
    x: torch.Tensor, groups: torch.Tensor | None, dim: int, by: tuple, interleaved: bool
) -> torch.Tensor:
    alpha, limit, bias = by
    before = torch.Size(x.shape[:dim]).numel()
    rows = x.double().reshape(before, -1 if x.numel() else torch.Size(x.shape[dim:]).numel())
    a, b = (rows[:, ::2], rows[:, 1::2]) if interleaved else rows.chunk(2, 1)
    a, b = a.clamp(max=limit), b.clamp(-limit, limit)
    y = a * torch.sigmoid(alpha * a) * (b + bias)
    if groups is not None:
        y[int(groups.sum()) :] = 0
    return y.reshape([s // 2 if d == dim else s for d, s in enumerate(x.shape)])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("interleaved", [True, False])
def test_clipped_swiglu(dtype: torch.dtype, interleaved: bool) -> None:
    by = (1.702, 2.0, 1.0)
    for shape, dim in [((6, 14), 1), ((6, 4, 5), 1), ((4, 33), 0), ((3, 2, 130), 2), ((0, 4), 1)]:
        for groups in (None, torch.tensor([1, 0, 2]), torch.tensor([2**40, 2**40])):
            for _, x in layouts(make(shape, dtype)):
                out = torch.full([s // 2 if d == dim else s for d, s in enumerate(shape)], 7, dtype=dtype)
                call("aclnnClippedSwiglu", x, groups, dim - len(shape), *by, interleaved, out)
                assert_close(out, reference(x, groups, dim, by, interleaved), 3, 1e-6)


def test_not_a_number() -> None:
    x, out = torch.tensor([[torch.nan, 1.0, 1.0, torch.nan]]), torch.empty(1, 2)
    call("aclnnClippedSwiglu", x, None, -1, 1.0, 7.0, 1.0, True, out)
    assert out.isnan().all()


def test_bad_input() -> None:
    x = torch.ones(2, 4)
    with pytest.raises(OperatorError, match="aclnnClippedSwiglu: out is .*dimension 1 halved"):
        call("aclnnClippedSwiglu", x, None, -1, 1.0, 7.0, 1.0, True, torch.empty(2, 3))
    with pytest.raises(OperatorError, match="aclnnClippedSwiglu: dim"):
        call("aclnnClippedSwiglu", x, None, 2, 1.0, 7.0, 1.0, True, torch.empty(2, 2))
    with pytest.raises(OperatorError, match="groupIndexOptional"):
        call("aclnnClippedSwiglu", x, torch.tensor([-1]), -1, 1.0, 7.0, 1.0, True, torch.empty(2, 2))
