# SPDX-License-Identifier: Apache-2.0
"""Means over the layers that compute, under the names that other projects import."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mindspeed.args_utils import get_full_args

__all__ = ["get_mean", "track_moe_metrics_impl"]


def get_mean(values: torch.Tensor, num_layers: int, noop_layers: Any = None) -> torch.Tensor:
    """Of a value for each layer; those that compute nothing, if they are given as a set, do not count."""
    left_out = len(noop_layers) if isinstance(noop_layers, set) else 0
    return values.sum() / (num_layers - left_out)


def track_moe_metrics_impl(
    *,
    reduce_aux_losses_tracker_across_ranks: Callable[[], None],
    get_moe_layer_wise_logging_tracker: Callable[[], dict[str, dict[str, torch.Tensor]]],
    clear_aux_losses_tracker: Callable[[], None],
    loss_scale: torch.Tensor,
    iteration: int,
    writer: Any,
    wandb_writer: Any = None,
    total_loss_dict: dict[str, torch.Tensor] | None = None,
    per_layer_logging: bool = False,
) -> None:
    """Megatron's track_moe_metrics with its parts given: losses of experts go to the writers, and into total_loss_dict."""
    reduce_aux_losses_tracker_across_ranks()
    if writer is not None:
        for name, kept in get_moe_layer_wise_logging_tracker().items():
            losses = kept["values"].float() * loss_scale
            _tell(name, losses, iteration, writer, wandb_writer, total_loss_dict, per_layer_logging)
    clear_aux_losses_tracker()


def _tell(
    name: str,
    losses: torch.Tensor,
    iteration: int,
    writer: Any,
    wandb_writer: Any,
    total_loss_dict: dict[str, torch.Tensor] | None,
    per_layer: bool,
) -> None:
    args = get_full_args()
    mean = get_mean(
        losses, getattr(args, "num_layers", None) or len(losses), getattr(args, "noop_layers", None)
    )
    if total_loss_dict is not None:
        total_loss_dict[name] = total_loss_dict[name] + mean if name in total_loss_dict else mean
    lines = {name: mean}
    if per_layer:
        lines |= {f"moe/{name}_layer_{layer}": loss for layer, loss in enumerate(losses.tolist())}
    for line, value in lines.items():
        writer.add_scalar(line, value, iteration)
    if wandb_writer is not None:
        wandb_writer.log(lines, iteration)
