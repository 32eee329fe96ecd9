# SPDX-License-Identifier: Apache-2.0
"""The router of a mixture of experts: scores, the best experts of each token, and the loss that balances them."""

from __future__ import annotations

import torch

from mindspeed.standins.refusal import missing_attribute

__getattr__ = missing_attribute(__name__)


def _scores(logits: torch.Tensor, function: str) -> torch.Tensor:
    if function == "softmax":
        return torch.softmax(logits, dim=-1)
    if function == "sigmoid":
        return torch.sigmoid(logits)
    raise ValueError(f"score_function={function!r}: wanted softmax or sigmoid")


def _best(scores: torch.Tensor, topk: int, groups: int | None, best_groups: int | None) -> torch.Tensor:
    """Indices [tokens, topk]; with groups only experts of the best ones, by the sum of their best scores."""
    if groups:
        assert best_groups is not None
        tokens, experts = scores.shape
        parts = scores.view(tokens, groups, -1)
        rank = parts.topk(topk // best_groups, dim=-1).values.sum(-1)
        kept = torch.zeros_like(rank).scatter(1, rank.topk(best_groups, dim=-1).indices, 1.0)
        hidden = kept.bool().unsqueeze(-1).expand(tokens, groups, experts // groups).reshape(tokens, experts)
        scores = scores.masked_fill(~hidden, float("-inf"))
    return scores.topk(topk, dim=-1).indices


def fused_topk_with_score_function(
    logits: torch.Tensor,
    topk: int,
    use_pre_softmax: bool,
    num_groups: int | None,
    group_topk: int | None,
    scaling_factor: float | None,
    score_function: str,
    expert_bias: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(probabilities [tokens, experts] with zeros, map [tokens, experts] of bool)"""
    values = logits.float()
    late = score_function == "softmax" and not use_pre_softmax
    scores = values if late else _scores(values, score_function)
    ranked = scores if expert_bias is None else scores + expert_bias
    indices = _best(ranked.detach(), topk, num_groups, group_topk)
    chosen = scores.gather(1, indices)
    if late:
        chosen = torch.softmax(chosen, dim=-1)
    elif score_function == "sigmoid" and topk > 1:
        chosen = chosen / (chosen.sum(-1, keepdim=True) + 1e-20)
    if scaling_factor:
        chosen = chosen * scaling_factor
    probs = torch.zeros_like(values).scatter(1, indices, chosen).to(logits.dtype)
    return probs, torch.zeros_like(values, dtype=torch.bool).scatter(1, indices, True)


def fused_compute_score_for_moe_aux_loss(
    logits: torch.Tensor, topk: int, score_function: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """(map of the best experts, scores whose rows sum to 1)"""
    scores = _scores(logits.float(), score_function)
    if score_function == "sigmoid" and topk > 1:
        scores = scores / (scores.sum(-1, keepdim=True) + 1e-20)
    indices = scores.topk(topk, dim=-1).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, indices, True), scores


def fused_moe_aux_loss(
    probs: torch.Tensor,
    tokens_per_expert: torch.Tensor,
    total_num_tokens: int,
    num_experts: int,
    topk: int,
    coeff: float,
) -> torch.Tensor:
    """coeff * E / (topk T^2) * sum over experts of (sum of its probabilities) * (number of its tokens)"""
    factor = num_experts * coeff / (topk * total_num_tokens * total_num_tokens)
    return (probs.sum(0) * tokens_per_expert).sum() * factor
