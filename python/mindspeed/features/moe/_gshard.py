# SPDX-License-Identifier: Apache-2.0
"""A layer of experts as GShard has it (Lepikhin et al. 2020): every rank sends every expert the same number of rows.

Of S tokens with k choices an expert of E takes capacity = ceil(factor k S / E) from each rank, the first that chose it, all first
choices before second ones; those behind are dropped, and go on through the residual connection. Since sizes are known beforehand
no rank tells another how much it sends, and a dispatch can be cut into parts: with --use-pipe-experts the tokens of one part
travel while the products of another are computed. Rows are gathered in the order in which parts leave, so that a part is
contiguous and is not copied again.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mindspeed.features.moe._companion import FIRST
from mindspeed.features.moe._flight import Flight

LEAST = 4  # rows of an expert from one rank, however few tokens there are


def capacity(tokens: int, experts: int, choices: int, factor: float) -> int:
    """Rows that an expert takes from one rank."""
    return max(min(math.ceil(factor * choices * tokens / experts), tokens), LEAST)


@dataclass(frozen=True, slots=True)
class Shape:
    """Of one dispatch: ranks, experts of each, rows that an expert takes from a rank, parts that these are cut into."""

    ranks: int
    experts: int
    rows: int
    parts: int = 1

    @property
    def slots(self) -> int:
        return self.ranks * self.experts * self.rows

    @property
    def pieces(self) -> list[tuple[int, int, int]]:
        """Expert, first and last row of each, as they leave one after the other."""
        parts = min(self.parts, self.rows)
        edges = [self.rows * part // parts for part in range(parts + 1)]
        return [(expert, *edge) for expert in range(self.experts) for edge in itertools.pairwise(edges)]


@functools.lru_cache(maxsize=32)
def leaving(shape: Shape, device: torch.device) -> tuple[Tensor, Tensor]:
    """Slots ([ranks, experts, rows] as a gate numbers them) in the order of pieces, and where each is in it."""
    numbers = torch.arange(shape.slots).view(shape.ranks, shape.experts, shape.rows)
    order = torch.cat([numbers[:, expert, first:last].reshape(-1) for expert, first, last in shape.pieces])
    places = torch.empty_like(order)
    places[order] = torch.arange(shape.slots)
    return order.to(device), places.to(device)


@dataclass(frozen=True, slots=True)
class Routing:
    """Of this rank's tokens. sources: of each slot the token (token 0 where there is none); slots and weights: of each choice, first
    choices of all tokens before second ones; a dropped choice has weight 0 and slot 0."""

    sources: Tensor
    slots: Tensor
    weights: Tensor
    balance: Tensor  # the auxiliary loss, 1 where experts are chosen evenly


def route(logits: Tensor, choices: int, rows: int) -> Routing:
    """GShard's gate, on logits [S, E] in float32."""
    tokens, experts = logits.shape
    shares = torch.softmax(logits, dim=1)
    chosen = torch.topk(shares, choices, dim=1).indices.t().contiguous()  # [k, S]
    mask = torch.nn.functional.one_hot(chosen, experts)
    before = torch.cumsum(mask.view(-1, experts), dim=0)
    place = before.gather(1, chosen.view(-1, 1)).squeeze(1) - 1
    kept = place < rows
    weights = torch.where(kept, shares.t().gather(0, chosen).reshape(-1), 0.0)
    if choices == 2:
        both = weights.view(2, tokens).sum(dim=0).clamp(min=torch.finfo(weights.dtype).eps)
        weights = (weights.view(2, tokens) / both).view(-1)
    slots = torch.where(kept, chosen.view(-1) * rows + place, experts * rows)
    numbers = torch.arange(tokens, device=logits.device).repeat(choices)
    sources = torch.zeros(experts * rows + 1, dtype=torch.int64, device=logits.device)
    sources = sources.scatter_(0, slots, numbers)[:-1]  # the last one is of all that is dropped
    balance = (shares.mean(dim=0) * mask[0].to(shares.dtype).mean(dim=0)).sum() * experts
    return Routing(sources, torch.where(kept, slots, 0), weights, balance)


def _first_in_backward(result: Tensor, number: int) -> Tensor:
    """What communicates is started as soon as it can be, pieces with higher numbers before others."""
    if result.grad_fn is not None:
        result.grad_fn._set_sequence_nr(FIRST - (1 << 16) + number)
    return result


class Pieces:
    """Pieces of a dispatch through this rank's experts."""

    def __init__(self, experts: Any, shape: Shape) -> None:
        from megatron.core import parallel_state

        self._experts, self._shape = experts.local_experts, shape
        self._ranks = parallel_state.get_expert_model_parallel_group()
        self._slices = parallel_state.get_expert_tensor_parallel_group()

    def _functions(self) -> tuple[Callable[..., Tensor], ...]:
        """Looked up here: other features replace them."""
        from megatron.core.tensor_parallel import mappings

        return (
            lambda x: mappings.all_to_all(self._ranks, x),
            lambda x: mappings.gather_from_sequence_parallel_region(x, group=self._slices),
            lambda x: mappings.reduce_scatter_to_sequence_parallel_region(x, group=self._slices),
        )

    def one_after_the_other(self, rows: Tensor) -> Tensor:
        """All rows travel in one message; [ranks, experts, rows] there and back."""
        exchange, gather, scatter = self._functions()
        shape, width = self._shape, rows.shape[-1]
        come = exchange(rows).view(shape.ranks, shape.experts, shape.rows, width)
        done = []
        for number, expert in enumerate(self._experts):
            output, _ = expert(gather(come[:, number].reshape(-1, width)))
            done.append(scatter(output).view(shape.ranks, 1, shape.rows, width))
        return exchange(torch.cat(done, dim=1).view(-1, width))

    def overlapping(self, rows: Tensor, has_two_lanes: bool) -> Tensor:
        """Each piece in messages of its own, on the way while the products of others are computed; in the order of `leaving`."""
        exchange, gather, scatter = self._functions()
        pieces = self._shape.pieces
        # Between the ranks of experts, and between those that hold slices of one.
        far = Flight(1)
        near = Flight(2) if has_two_lanes else far
        come = []
        for number, piece in enumerate(rows.split([self._rows(piece) for piece in pieces])):
            part = _first_in_backward(far.start(exchange, piece), number)
            part = _first_in_backward(near.start(gather, part, after=far.last), number)
            come.append((part, near.last))
        gone = []
        for number, ((expert, _, _), (part, arrived)) in enumerate(zip(pieces, come, strict=True)):
            near.wait(arrived)
            output, _ = self._experts[expert](part)
            output = _first_in_backward(near.start(scatter, output), number)
            gone.append(_first_in_backward(far.start(exchange, output, after=near.last), number))
        far.wait()
        return torch.cat(gone)

    def _rows(self, piece: tuple[int, int, int]) -> int:
        return self._shape.ranks * (piece[2] - piece[1])


def _with_losses(layer: Any, logits: Tensor, routing: Routing, output: Tensor) -> Tensor:
    """Megatron's losses of a router: their gradients are added in the backward pass, their values logged."""
    from megatron.core.transformer.moe import moe_utils

    router, config = layer.router, layer.config
    # Ranks with slices of the sequence add their gradients up; what they have is a mean over their own tokens.
    share = 1 / (config.tensor_model_parallel_size if config.sequence_parallel else 1)
    found = (
        ("load_balancing_loss", config.moe_aux_loss_coeff, routing.balance),
        ("z_loss", config.moe_z_loss_coeff, torch.logsumexp(logits, dim=1).square().mean()),
    )
    for name, coefficient, loss in found:
        if not (coefficient and layer.training):
            continue
        moe_utils.save_to_aux_losses_tracker(name, loss, router.layer_number, config.num_layers)
        loss = loss * (coefficient * share)
        if router.calculate_per_token_loss:
            loss = loss * logits.shape[0]
        output = moe_utils.MoEAuxLossAutoScaler.apply(output, loss)
    return output


def _through_experts(layer: Any, hidden: Tensor) -> Tensor:
    config = layer.config
    tokens = hidden.reshape(-1, hidden.shape[-1])
    logits = torch.nn.functional.linear(tokens.float(), layer.router.weight.float())
    choices = config.moe_router_topk
    rows = capacity(tokens.shape[0], config.num_moe_experts, choices, config.moe_train_capacity_factor)
    parts = config.pipe_experts_multi_data if config.use_pipe_experts else 1
    shape = Shape(layer.expert_parallel_size, layer.num_local_experts, rows, parts)
    routing = route(logits, choices, rows)
    pieces = Pieces(layer.experts, shape)
    if config.use_pipe_experts:
        order, places = leaving(shape, tokens.device)
        sources, slots = routing.sources[order], places[routing.slots]
        computed = pieces.overlapping(tokens.index_select(0, sources), bool(config.pipe_experts_multi_stream))
    else:
        slots = routing.slots
        computed = pieces.one_after_the_other(tokens.index_select(0, routing.sources))
    found = computed.index_select(0, slots) * routing.weights.to(computed.dtype).unsqueeze(1)
    output = found.view(choices, *tokens.shape).sum(dim=0) if choices > 1 else found
    return _with_losses(layer, logits, routing, output.view(hidden.shape))


def forward(self: Any, hidden_states: Tensor) -> tuple[Tensor, None]:
    """In place of MoELayer.forward."""
    from megatron.core import tensor_parallel

    def experts_of(hidden: Tensor) -> Tensor:
        output = _through_experts(self, hidden)
        return output + self.shared_experts(hidden) if self.use_shared_expert else output

    if self.moe_layer_recompute:
        return tensor_parallel.checkpoint(experts_of, False, hidden_states), None
    return experts_of(hidden_states), None
