# SPDX-License-Identifier: Apache-2.0
"""Layers that compute nothing, as --noop-layers makes them, under the names that other projects import."""

from __future__ import annotations

from argparse import Namespace

from mindspeed import absent
from mindspeed.core.pipeline_parallel.noop_layers.calc_flop import calc_flop
from mindspeed.features.pipeline.noop_layers import NoopLayer

__all__ = ["NoopTransformerLayer", "mindspeed_calc_flop", "origin_flop_calculator"]

NoopTransformerLayer = NoopLayer


def origin_flop_calculator(args: Namespace, batch_size: int) -> float:
    """Megatron's own number, of all layers."""
    from megatron.training import training

    every = Namespace(**{**vars(args), "noop_layers": set()})
    found: float = training.num_floating_point_operations(every, batch_size)
    return found


def mindspeed_calc_flop(args: Namespace, batch_size: int) -> float:
    """Of the layers that compute."""
    found: float = calc_flop(origin_flop_calculator, args, batch_size)
    return found


_BY_FLAG = "--noop-layers (or repatch) makes Megatron's own do it"
__getattr__ = absent.attributes(
    __name__, {"mindspeed_build_layers": _BY_FLAG, "mindspeed_track_moe_metrics": _BY_FLAG}
)
