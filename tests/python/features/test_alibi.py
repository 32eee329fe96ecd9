# SPDX-License-Identifier: Apache-2.0
"""ALiBi in the fused operator against the formula in float64, forward and backward."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import pytest
import torch
from mindspeed.adaptor import Level, arguments, rules
from mindspeed.features.fusion import alibi, flash_attention
from torch import Tensor

SEQUENCE, BATCH, HEAD = 12, 2, 8


@pytest.mark.parametrize(
    ("heads", "wanted"),
    [
        (8, [2.0**-h for h in range(1, 9)]),
        (4, [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8]),
        (6, [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8, 2.0**-1, 2.0**-3]),
    ],
)
def test_slopes(heads: int, wanted: list[float]) -> None:
    """As in the paper, and for other numbers what its authors do."""
    assert alibi.slopes(heads) == wanted


def by_formula(q: Tensor, k: Tensor, v: Tensor, opposite: bool) -> Tensor:
    q, k, v = (x.double().permute(1, 2, 0, 3) for x in (q, k, v))
    heads, queries, keys = q.shape[1], q.shape[2], k.shape[2]
    k, v = (x.repeat_interleave(heads // x.shape[1], dim=1) for x in (k, v))
    distance = torch.arange(keys).double() - torch.arange(keys - queries, keys).double().unsqueeze(1)
    steps = distance if opposite else -distance.abs()
    scores = q @ k.transpose(-1, -2) / HEAD**0.5 + torch.tensor(alibi.slopes(heads)).view(-1, 1, 1) * steps
    weights = scores.masked_fill(distance > 0, float("-inf")).softmax(-1)
    return (weights @ v).permute(2, 0, 1, 3).flatten(2)


@pytest.mark.parametrize(("kind", "opposite"), [(2, False), (0, False), (0, True)])
@pytest.mark.parametrize(("heads", "groups", "queries"), [(4, 4, SEQUENCE), (6, 2, SEQUENCE), (4, 2, 5)])
def test_attention(switch: Any, kind: int, opposite: bool, heads: int, groups: int, queries: int) -> None:
    switch(
        optimization_level=2, use_flash_attn=True, position_embedding_type="alibi", alibi_fusion_attn_type=kind,
        alibi_diagonal_opposite=opposite,
    )  # fmt: skip
    from megatron.core.transformer.dot_product_attention import DotProductAttention
    from megatron.core.transformer.enums import AttnMaskType
    from megatron_gpt import Size, config_of

    config = config_of(Size(hidden=heads * HEAD, heads=heads), num_query_groups=groups)
    core = DotProductAttention(config, 1, AttnMaskType.causal, "self").to("npu:0")
    assert (core.config.alibi_fusion_attn_type, core.config.alibi_diagonal_opposite) == (kind, opposite)
    host = [
        torch.randn(queries, BATCH, heads, HEAD),
        *(torch.randn(SEQUENCE, BATCH, groups, HEAD) for _ in "kv"),
    ]
    device = [x.to("npu:0").requires_grad_() for x in host]
    host = [x.requires_grad_() for x in host]
    mask = torch.ones(queries, SEQUENCE).triu(SEQUENCE - queries + 1).bool().view(1, 1, queries, SEQUENCE)
    found, wanted = core(*device, mask.to("npu:0")), by_formula(*host, opposite)
    torch.testing.assert_close(found.cpu().double(), wanted, rtol=1e-5, atol=1e-6)
    found.square().sum().backward()
    wanted.square().sum().backward()
    for ours, theirs in zip(device, host, strict=True):
        torch.testing.assert_close(ours.grad.cpu(), theirs.grad, rtol=1e-4, atol=1e-5)
    switch(position_embedding_type=None, alibi_fusion_attn_type=2, alibi_diagonal_opposite=False)
    plain = DotProductAttention(config, 1, AttnMaskType.causal, "self")
    assert not hasattr(plain, "score_bias")


@pytest.mark.parametrize(
    ("given", "level", "problem"),
    [
        ({}, 2, ""),
        ({"alibi_fusion_attn_type": 0, "alibi_diagonal_opposite": True}, 2, ""),
        ({}, 1, "--position-embedding-type alibi belongs to level 2 (feature alibi)"),
        ({"position_embedding_type": "rope"}, 1, ""),
        ({"use_flash_attn": False}, 2, "needs feature flash-attention (--use-flash-attn), which is off"),
        ({"transformer_impl": "transformer_engine"}, 2, "give --transformer-impl local"),
        ({"context_parallel_size": 2}, 2, "--context-parallel-size 2 wants a way that knows where keys are"),
        ({"context_parallel_size": 2, "context_parallel_algo": "megatron_cp_algo"}, 2, ""),
        (
            {
                "context_parallel_size": 2,
                "context_parallel_algo": "hybrid_cp_algo",
                "alibi_fusion_attn_type": 0,
            },
            2,
            "which a ring has not; give 2",
        ),
        ({"use_legacy_models": True, "use_flash_attn": True}, 2, "--use-legacy-models"),
        ({"alibi_diagonal_opposite": True}, 2, "give --alibi-fusion-attn-type 0"),
    ],
)
def test_rules(given: dict[str, Any], level: int, problem: str) -> None:
    features = [flash_attention.FEATURE, alibi.FEATURE]
    args = Namespace(**{"position_embedding_type": "alibi"} | given)
    arguments.complete(args, features)
    found = rules.problems(features, args, Level(level))
    assert len(found) == bool(problem) and problem in "".join(found), found
