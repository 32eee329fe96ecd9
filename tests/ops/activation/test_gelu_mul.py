"""GELU of one half times the other, against float64."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import FLOATS, assert_close, layouts, make

ATOL = {torch.float32: 1e-6, torch.bfloat16: 1e-6, torch.float16: 1e-6, torch.float64: 1e-13}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("mode", ["none", "tanh", None])
def test_gelu_mul(dtype: torch.dtype, mode: str | None) -> None:
    for shape in [(2,), (3, 14), (2, 5, 66), (0, 4), (1, 2062)]:
        for _, x in layouts(make(shape, dtype)):
            out = torch.empty(*shape[:-1], shape[-1] // 2, dtype=dtype)
            call("aclnnGeluMul", x, mode, out)
            a, b = x.double().chunk(2, -1)
            want = torch.nn.functional.gelu(a, approximate=mode or "none") * b
            assert_close(out, want, 4, ATOL[dtype] * max(1.0, b.abs().max().item() if b.numel() else 1))


def test_not_a_number() -> None:
    x, out = torch.tensor([[torch.nan, 1.0, 1.0, torch.nan]]), torch.empty(1, 2)
    call("aclnnGeluMul", x, "none", out)
    assert out.isnan().all()


def test_bad_input() -> None:
    with pytest.raises(
        OperatorError, match="aclnnGeluMul: approximateOptional is 'fast', wanted none or tanh"
    ):
        call("aclnnGeluMul", torch.ones(2, 4), "fast", torch.empty(2, 2))
    with pytest.raises(OperatorError, match="aclnnGeluMul: input is .*odd size"):
        call("aclnnGeluMul", torch.ones(2, 5), "none", torch.empty(2, 2))
