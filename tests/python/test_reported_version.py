# SPDX-License-Identifier: Apache-2.0
"""What torch_npu does for the CANN version that is reported (src/base/hc_version.h) and did not do for 8.5.0."""

from __future__ import annotations

import math

import pytest
import torch
import torch_npu


def test_the_version_is_one_that_needs_no_operators_by_name_for_norms():
    assert torch_npu.npu.utils._is_gte_cann_version("9.1.0")


@pytest.mark.parametrize("order", [0.0, 0.5, 1.0, 1.7, 2.0, 3.0, 4.0, -1.0, -2.0, math.inf, -math.inf])
def test_norms_of_any_order(order):
    x = torch.randn(7, 33, generator=torch.Generator().manual_seed(1)) + 2.0
    for dim in (None, 1):
        ours = torch.linalg.vector_norm(x.npu(), order, dim=dim).cpu()
        torch.testing.assert_close(ours, torch.linalg.vector_norm(x, order, dim=dim))
    torch.testing.assert_close(torch.norm(x.npu(), order).cpu(), torch.norm(x, order))


@pytest.mark.parametrize("source", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("result", [torch.float32, torch.float16, torch.bfloat16])
def test_lists_are_copied_to_another_type(source, result):
    lists = [torch.randn(5, 3).to(source) for _ in range(3)]
    copies = [torch.zeros(5, 3, dtype=result, device="npu:0") for _ in lists]
    torch._foreach_copy_(copies, [x.npu() for x in lists])
    assert all(torch.equal(y.cpu(), x.to(result)) for x, y in zip(lists, copies, strict=True))


def test_properties_tell_the_memory_of_the_device():
    assert torch.npu.get_device_properties(0).total_memory == torch.npu.mem_get_info(0)[1]


def test_tokens_without_probabilities_are_not_kept_for_the_gradient():
    tokens, order = torch.randn(6, 4), torch.tensor([3, 1, 5, 0, 2, 4], dtype=torch.int32)
    x = tokens.npu().requires_grad_()
    y = torch_npu.npu_moe_token_unpermute(x, order.npu())
    assert torch.equal(y.cpu(), tokens[order.long()])
    weight = torch.arange(24.0).reshape(6, 4)
    (y * weight.npu()).sum().backward()
    wanted = torch.zeros(6, 4)
    wanted[order.long()] = weight
    assert torch.equal(x.grad.cpu(), wanted)
