"""Updates at places that rows of indices name, against assignment by index."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import make


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8, torch.int64, torch.bool])
@pytest.mark.parametrize("integer", [torch.int32, torch.int64])
def test_scatter_nd_update(dtype: torch.dtype, integer: torch.dtype) -> None:
    shape = (4, 3, 5)
    for k in (1, 2, 3):
        for places in ((6,), (2, 2), (0,)):
            index = torch.stack([torch.randint(-s, s, places) for s in shape[:k]], -1).to(integer)
            # A place that two updates name has no order in PyTorch: all updates of it are one.
            var = make(shape, torch.float32).to(dtype)
            values = make((4, 3, 5), torch.float32, 1).to(dtype)
            at = tuple(index.long()[..., c] for c in range(k))
            want = var.clone()
            want[at] = values[at]
            for target in (var.clone(), var.clone().permute(2, 1, 0).contiguous().permute(2, 1, 0)):
                call("aclnnScatterNdUpdate", target, index, values[at])
                assert torch.equal(target, want)


def test_the_later_one_stands() -> None:
    var = torch.zeros(3)
    call("aclnnScatterNdUpdate", var, torch.tensor([[1], [1], [2]]), torch.tensor([5.0, 6.0, 7.0]))
    assert var.tolist() == [0, 6, 7]


def test_updates_within_the_target() -> None:
    var = torch.arange(6.0).view(3, 2)
    call("aclnnScatterNdUpdate", var, torch.tensor([[1], [2]]), var[:2])
    assert var.tolist() == [[0, 1], [0, 1], [2, 3]]


def test_bad_input() -> None:
    var = torch.zeros(3, 2)
    with pytest.raises(OperatorError, match="index 3 .*indices"):
        call("aclnnScatterNdUpdate", var, torch.tensor([[0, 0], [3, 0]]), torch.ones(2))
    assert var.tolist() == [[0, 0], [0, 0], [0, 0]]  # nothing is written where one is out of range
    with pytest.raises(OperatorError, match="aclnnScatterNdUpdate: varRef is"):
        call("aclnnScatterNdUpdate", var, torch.tensor([[0, 0, 0]]), torch.ones(1))
    with pytest.raises(OperatorError, match="aclnnScatterNdUpdate: varRef is"):
        call("aclnnScatterNdUpdate", var, torch.tensor([[0]]), torch.ones(1, 3))
