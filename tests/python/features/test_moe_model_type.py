# SPDX-License-Identifier: Apache-2.0
"""--moe-model-type deepspeed_moe: its gate against a gate of loops, its layer against each token's own experts."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import expert_cases
import memory_cases
import pytest
import torch
from conftest import Switch
from mindspeed.adaptor import ConfigurationError, arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.moe import _gshard, model_type
from torch import Tensor

ON = {"moe_model_type": "deepspeed_moe", "moe_grouped_gemm": False}


def reference(
    logits: Tensor, choices: int, rows: int
) -> tuple[list[list[tuple[int, int, float]]], list[list[int]]]:
    """Of each token (expert, row, weight) of what it keeps; of each expert its tokens. Choice by choice, token by token."""
    shares = torch.softmax(logits.double(), dim=1)
    tokens: list[list[tuple[int, int, float]]] = [[] for _ in logits]
    taken: list[list[int]] = [[] for _ in range(logits.shape[1])]
    order = shares.argsort(dim=1, descending=True)
    count = [0] * logits.shape[1]
    for choice in range(choices):
        for token in range(len(logits)):
            expert = int(order[token, choice])
            if count[expert] < rows:
                tokens[token].append((expert, count[expert], float(shares[token, expert])))
                taken[expert].append(token)
            count[expert] += 1
    if choices == 2:
        for kept in tokens:
            total = sum(weight for _, _, weight in kept)
            kept[:] = [(expert, row, weight / total) for expert, row, weight in kept]
    return tokens, taken


@pytest.mark.parametrize(
    ("tokens", "experts", "choices", "factor"),
    [(64, 8, 2, 1.0), (64, 8, 1, 1.1), (7, 3, 2, 0.5), (1, 2, 1, 1.0), (33, 4, 1, 8.0), (40, 5, 2, 1.25)],
)
def test_the_gate(tokens: int, experts: int, choices: int, factor: float) -> None:
    torch.manual_seed(3)
    logits = torch.randn(tokens, experts) * 2
    rows = _gshard.capacity(tokens, experts, choices, factor)
    kept, taken = reference(logits, choices, rows)
    found = _gshard.route(logits, choices, rows)
    slots, weights = found.slots.view(choices, -1), found.weights.view(choices, -1)
    for token in range(tokens):
        mine = [(int(s), float(w)) for s, w in zip(slots[:, token], weights[:, token], strict=True) if w]
        wanted = [(expert * rows + row, weight) for expert, row, weight in kept[token]]
        assert [slot for slot, _ in mine] == [slot for slot, _ in wanted]
        assert [w for _, w in mine] == pytest.approx([w for _, w in wanted], rel=1e-5)
    sources = found.sources.view(experts, rows)
    for expert, wanted in enumerate(taken):
        assert sources[expert, : len(wanted)].tolist() == wanted
    shares = torch.softmax(logits.double(), dim=1)
    first = torch.bincount(logits.argmax(dim=1), minlength=experts).double() / tokens
    assert float(found.balance) == pytest.approx(float((shares.mean(0) * first).sum()) * experts, rel=1e-5)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ((64, 8, 1, 1.0), 8),
        ((64, 8, 2, 1.1), 18),
        ((64, 8, 1, 0.1), 4),
        ((64, 8, 2, 99.0), 64),
        ((2, 8, 1, 1.0), 4),
    ],
)
def test_capacity(given: tuple[int, int, int, float], wanted: int) -> None:
    assert _gshard.capacity(*given) == wanted


@pytest.mark.parametrize("shape", [(2, 3, 5, 1), (2, 3, 5, 2), (1, 1, 4, 9), (4, 2, 7, 3)])
def test_pieces_hold_every_slot_once_in_the_order_of_ranks(shape: tuple[int, int, int, int]) -> None:
    made = _gshard.Shape(*shape)
    order, places = _gshard.leaving(made, torch.device("cpu"))
    assert sorted(order.tolist()) == list(range(made.slots)) and torch.equal(
        order[places], torch.arange(made.slots)
    )
    start = 0
    for expert, first, last in made.pieces:
        for rank in range(made.ranks):
            begin = (rank * made.experts + expert) * made.rows
            count = last - first
            assert order[start : start + count].tolist() == list(range(begin + first, begin + last))
            start += count
    assert start == made.slots


@pytest.fixture
def kind(switch: Switch) -> Iterator[Switch]:
    """switch(), with a model that has experts, and none afterwards."""
    yield switch
    nothing = {"moe_train_capacity_factor": 1.0, "use_pipe_experts": False, "pipe_experts_multi_data": 1}
    switch(optimization_level=2, num_experts=None, moe_model_type=None, **nothing)


@pytest.mark.parametrize("pipe", [{}, {"use_pipe_experts": True, "pipe_experts_multi_data": 3}])
@pytest.mark.parametrize("choices", [1, 2])
def test_the_layer(kind: Switch, choices: int, pipe: dict[str, Any]) -> None:
    """Output and gradients against float64: each token through its experts by itself."""
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from megatron.core.transformer import TransformerConfig
    from megatron.core.transformer.spec_utils import build_module

    kind(num_experts=4, optimization_level=2, moe_train_capacity_factor=0.75, **ON, **pipe)
    config = TransformerConfig(
        num_layers=1, hidden_size=32, num_attention_heads=2, num_moe_experts=4, moe_router_topk=choices,
        moe_router_pre_softmax=True, add_bias_linear=False, moe_aux_loss_coeff=0.0, ffn_hidden_size=48,
    )  # fmt: skip
    spec = get_gpt_layer_local_spec(num_experts=4, moe_grouped_gemm=False)
    layer = build_module(spec.submodules.mlp, config=config).npu()
    x = torch.randn(24, 2, 32, device="npu", requires_grad=True)
    output, bias = layer(x)
    assert bias is None and output.shape == x.shape
    upstream = torch.randn_like(output)
    output.backward(upstream)

    names = dict(layer.named_parameters())
    held = {name: value.detach().cpu().double().requires_grad_() for name, value in names.items()}
    tokens = x.detach().cpu().double().view(-1, 32).requires_grad_()
    rows = _gshard.capacity(48, 4, choices, 0.75)
    logits = tokens @ held["router.weight"].t()
    kept, _ = reference(logits.detach().float(), choices, rows)
    assert any(len(mine) < choices for mine in kept)  # some are dropped
    shares = torch.softmax(logits, dim=1)
    wanted = []
    for token, mine in enumerate(kept):
        total = sum(shares[token, expert] for expert, _, _ in mine) if choices == 2 else 1.0
        out = torch.zeros(32, dtype=torch.float64)
        for expert, _, _ in mine:
            one, two = (held[f"experts.local_experts.{expert}.linear_fc{n}.weight"] for n in (1, 2))
            out = out + shares[token, expert] / total * (two @ torch.nn.functional.gelu(one @ tokens[token]))
        wanted.append(out)
    whole = torch.stack(wanted)
    whole.backward(upstream.cpu().double().view(-1, 32))
    torch.testing.assert_close(
        output.detach().cpu().double().view(-1, 32), whole.detach(), rtol=1e-4, atol=1e-6
    )
    assert x.grad is not None and tokens.grad is not None
    torch.testing.assert_close(x.grad.cpu().double().view(-1, 32), tokens.grad, rtol=1e-4, atol=1e-5)
    for name, value in names.items():
        torch.testing.assert_close(value.grad.cpu().double(), held[name].grad, rtol=1e-4, atol=1e-5)


def test_experts_over_ranks_are_those_of_one() -> None:
    """Capacity is counted on each rank, so where experts are changes nothing."""
    cases = {f"{ep}": expert_cases.case(ON, "allgather", ep=ep, grouped=False, dtype="fp32") for ep in (1, 2)}
    found = {name: expert_cases.training(result) for name, result in memory_cases.run(cases).items()}
    for one, two in zip(found["1"][:2], found["2"][:2], strict=True):
        assert two[:3] == pytest.approx(one[:3], rel=2e-6)
        # Sums of two ranks round otherwise, and a token near a tie may then take another expert.
        assert two == pytest.approx(one, rel=2e-2)


def problems(**given: Any) -> list[str]:
    args = Namespace(**({"num_experts": 8, "moe_router_topk": 2} | ON | given))
    arguments.complete(args, all_features())
    return list(rules.problems((model_type.FEATURE,), args, 2))


def test_rules() -> None:
    assert problems() == [] and problems(moe_model_type="megatron_moe", moe_router_topk=6) == []
    assert "needs --num-experts" in problems(num_experts=None)[0]
    assert "--moe-router-topk is 3;" in problems(moe_router_topk=3)[0]
    assert "--moe-train-capacity-factor is 0.0," in problems(moe_train_capacity_factor=0.0)[0]
    assert "--moe-grouped-gemm is for Megatron's own" in problems(moe_grouped_gemm=True)[0]
    assert "--fp8-format is for Megatron's own" in problems(fp8="hybrid")[0]
    assert (
        "--moe-router-load-balancing-type sinkhorn" in problems(moe_router_load_balancing_type="sinkhorn")[0]
    )
    assert "give --disable-bias-linear" in problems(add_bias_linear=True)[0]
    assert "give --sequence-parallel" in problems(tensor_model_parallel_size=2)[0]
    with pytest.raises(ConfigurationError, match="wanted one of megatron_moe, deepspeed_moe"):
        model_type.FEATURE.flags[0].convert("tutel")


def test_legacy_models_become_those_of_megatron_core() -> None:
    args = Namespace(use_legacy_models=True)
    with pytest.warns(UserWarning, match="built of Megatron Core's layers"):
        model_type.adjust(args)
    assert args.use_legacy_models is False and args.moe_router_pre_softmax
