# SPDX-License-Identifier: Apache-2.0
"""--moe-permute-fusion against Megatron's own permutation, forward and backward, and in whole models of experts."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import pytest
import torch
from mindspeed.adaptor import Level, rules
from mindspeed.features.fusion import moe_permute
from torch import Tensor

T, E, H = 29, 6, 16
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=("fp32", "bf16"))
TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 2e-2}
ON = {"optimization_level": 2, "moe_permute_fusion": True}


@pytest.fixture(autouse=True)
def off_again(switch: Any) -> Any:
    yield
    switch(moe_permute_fusion=False)


def chosen(kind: str, k: int) -> Tensor:
    """[tokens, experts], k ones in each row; of `one` all go to the same experts, of `hole` none to the third."""
    scores = torch.randn(T, E)
    scores[:, 2] = -9.0 if kind == "hole" else scores[:, 2]
    scores[:, :k] += 99.0 if kind == "one" else 0.0
    return torch.zeros(T, E, dtype=torch.bool).scatter(1, scores.topk(k)[1], True)


def padded(capacity: int) -> Tensor:
    """[tokens, experts], as many ones in each column and any number in a row."""
    return torch.zeros(T, E, dtype=torch.bool).scatter(0, torch.randn(T, E).topk(capacity, dim=0)[1], True)


def there_and_back(
    given: dict[str, Any], routing: Tensor, rows: Any, *, fused: bool, back_probs: bool
) -> list[Tensor]:
    """Rows, weights, tokens again, gradients of tokens and probabilities."""
    from megatron.core.transformer.moe import moe_utils

    tokens, probs = (given[name].detach().clone().requires_grad_() for name in ("tokens", "probs"))
    pad = {"drop_and_pad": given["pad"]}
    permuted, weights, places = moe_utils.permute(
        tokens, routing, probs=probs, num_out_tokens=rows, fused=fused, **pad
    )
    scaled = permuted * given["scale"][: permuted.shape[0]].to(permuted.dtype)
    if back_probs:
        more: dict[str, Any] = {"probs": probs}
    else:
        scaled, more = (scaled * weights.unsqueeze(-1)).to(tokens.dtype), {}
    out = moe_utils.unpermute(scaled, places, tokens.shape, routing_map=routing, fused=fused, **pad, **more)
    out.backward(given["grad"])
    assert tokens.grad is not None and probs.grad is not None
    return [permuted.detach(), weights.detach(), out.detach(), tokens.grad, probs.grad]


def compare(switch: Any, dtype: torch.dtype, routing: Tensor, rows: Any, *, pad: bool, back: bool) -> None:
    given: dict[str, Any] = {
        "tokens": torch.randn(T, H).to(dtype).npu(), "probs": (torch.rand(T, E) * routing).npu(),
        "scale": torch.rand(T * E, 1).npu(), "grad": torch.randn(T, H).to(dtype).npu(), "pad": pad,
    }  # fmt: skip
    switch()
    theirs = there_and_back(given, routing.npu(), rows, fused=False, back_probs=back)
    switch(**ON)
    ours = there_and_back(given, routing.npu(), rows, fused=True, back_probs=back)
    for our, their in zip(ours, theirs, strict=True):
        assert our.dtype == their.dtype and our.shape == their.shape
        difference = (our.float() - their.float()).abs().max().item()
        assert difference <= TOLERANCE[dtype] * max(1.0, their.float().abs().max().item()), difference
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])


@DTYPES
@pytest.mark.parametrize("back", [False, True], ids=["weights in experts", "weights on the way back"])
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("kind", ["any", "hole", "one"])
def test_every_token_has_k_experts(switch: Any, dtype: torch.dtype, kind: str, k: int, back: bool) -> None:
    compare(switch, dtype, chosen(kind, k), T * k, pad=False, back=back)


@DTYPES
@pytest.mark.parametrize("back", [False, True], ids=["weights in experts", "weights on the way back"])
@pytest.mark.parametrize("capacity", [1, 7, T])
def test_every_expert_has_its_capacity(switch: Any, dtype: torch.dtype, capacity: int, back: bool) -> None:
    compare(switch, dtype, padded(capacity), capacity * E, pad=True, back=back)


@DTYPES
def test_dropped_tokens_take_the_other_way(switch: Any, dtype: torch.dtype) -> None:
    """Not as many rows for each token; Megatron then counts them on the device."""
    routing = chosen("any", 2)
    routing[3:9, :4] = False
    compare(switch, dtype, routing, routing.sum(), pad=False, back=False)


def test_an_uneven_map_is_refused_not_mixed_up(switch: Any) -> None:
    from megatron.core.transformer.moe import moe_utils

    switch(**ON)
    routing = chosen("any", 2)
    routing[4], routing[5] = False, False
    routing[5, :4] = True
    with pytest.raises(RuntimeError, match="row 4 of routingMap has not 2 ones"):
        moe_utils.permute(torch.randn(T, H).npu(), routing.npu(), num_out_tokens=2 * T, fused=True)
        torch.npu.synchronize()


@pytest.mark.parametrize("te", [False, True], ids=["local", "te"])
@pytest.mark.parametrize("more", [{}, {"moe_expert_capacity_factor": 1.0}, {"moe_expert_capacity_factor": 1.0, "moe_pad_expert_input_to_capacity": True}], ids=["dropless", "dropping", "padding"])  # fmt: skip
def test_losses(switch: Any, te: bool, more: dict[str, Any]) -> None:
    import megatron_gpt

    size = megatron_gpt.Size(experts=8, te=te)
    switch()
    theirs = megatron_gpt.losses(size, **more)
    switch(**ON)
    ours = megatron_gpt.losses(size, moe_permute_fusion=True, **more)
    assert ours == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize(
    ("given", "on"),
    [
        ({}, False),
        ({"moe_permute_fusion": True}, True),
        ({"use_fused_moe_token_permute_and_unpermute": True}, True),
        ({"moe_permute_fusion": True, "moe_token_dispatcher_type": "allgather"}, False),
        ({"moe_permute_fusion": True, "moe_token_dispatcher_type": "flex"}, False),
    ],
)
def test_what_switches_it_on(given: dict[str, Any], on: bool) -> None:
    assert moe_permute.wanted(Namespace(**given)) is on


def test_rules() -> None:
    args = Namespace(moe_permute_fusion=True, moe_token_dispatcher_type="alltoall_seq")
    (problem,) = rules.problems([moe_permute.FEATURE], args, Level.ACCELERATION)
    assert "give alltoall" in problem
