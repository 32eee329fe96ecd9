# SPDX-License-Identifier: Apache-2.0
"""AttentionUpdate: attention over parts of the keys against attention over all of them, in float64."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import assert_close, layouts, make

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("parts", [1, 2, 5, 16])
def test_parts_are_the_whole(dtype: torch.dtype, parts: int) -> None:
    for rows, size in ((1, 8), (70, 130), (3, 512), (0, 8)):
        lse = [make((rows,), torch.float32, i, -9, 9) for i in range(parts)]
        for layout in range(3):
            outs = [list(layouts(make((rows, size), dtype, 20 + i)))[layout][1] for i in range(parts)]
            out, total = torch.empty(rows, size, dtype=dtype), torch.empty(rows)
            call("aclnnAttentionUpdate", lse, outs, 1, out, total)
            weights = torch.stack([t.double() for t in lse])
            want = torch.einsum("pr,prd->rd", weights.softmax(0), torch.stack([t.double() for t in outs]))
            assert_close(total, weights.logsumexp(0), 2, 1e-6)
            assert_close(out, want, 1, 4e-6)


def test_rows_that_saw_nothing() -> None:
    inf, nan = float("inf"), float("nan")
    lse = [torch.tensor([1.0, -inf, nan]), torch.tensor([-inf, -inf, 0.0])]
    outs = [torch.ones(3, 8), torch.full((3, 8), nan)]
    out, total = torch.empty(3, 8), torch.empty(3)
    call("aclnnAttentionUpdate", lse, outs, 1, out, total)
    assert (out[0] == 1).all() and (out[1] == 0).all() and out[2].isnan().all()
    assert total[0] == 1 and total[1] == -inf and total[2].isnan()
    call("aclnnAttentionUpdate", lse, outs, 0, out, None)


def test_refuses() -> None:
    lse, outs = [torch.zeros(3)], [torch.zeros(3, 8)]
    for args, text in (
        ((lse, outs, 2, outs[0].clone(), None), "updateType is 2"),
        ((lse * 2, outs, 0, outs[0].clone(), None), "lse has 2 tensors, localOut 1"),
        ((lse, outs, 1, outs[0].clone(), None), "lseOut is null"),
        (([torch.zeros(4)], outs, 0, outs[0].clone(), None), "lse is float32[4]"),
        ((lse, [outs[0].double()], 0, outs[0].clone(), None), "localOut is float64"),
    ):
        with pytest.raises(OperatorError, match="aclnnAttentionUpdate") as e:
            call("aclnnAttentionUpdate", *args)
        assert text in e.value.text
