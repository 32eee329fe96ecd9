# SPDX-License-Identifier: Apache-2.0
"""The first product of dense MLPs is compressed without loss until the backward pass needs it.

level0  half a byte for the byte that is coded, and the other bytes stay on the device.
level1  the other bytes go to the memory of the host.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch.autograd.graph import saved_tensors_hooks

from mindspeed.adaptor import Feature, Flag, Level, Patch
from mindspeed.features.memory._own_weight import own_weight
from mindspeed.features.memory.compress_activation import CONFLICTS, _following, _Now, recomputed
from mindspeed.features.memory.swap_attention import _unpack

OFF, DEVICE, HOST = "disable", "level0", "level1"
Forward = Callable[..., Any]


def following(forward: Forward) -> Forward:
    def run(saved: Any, forward: Forward, *args: Any, **kwargs: Any) -> Any:
        saved.only = set()
        return forward(*args, **kwargs)

    return _following(
        forward, lambda layer: True, lambda layer: bool(layer.config.compress_dense == HOST), run
    )


def compressing(forward: Forward) -> Forward:
    """MLP.forward, of a layer's own MLP and not of an expert."""

    @functools.wraps(forward)
    def compressed(self: Any, *args: Any, **kwargs: Any) -> Any:
        saved = _Now.current
        if saved is None or saved.only is None or saved.mlp is not self:
            return forward(self, *args, **kwargs)
        product = self.linear_fc1.forward
        mine = vars(self.linear_fc1).get("forward")

        def noting(*inputs: Any, **options: Any) -> Any:
            found = product(*inputs, **options)
            saved.only.add((found[0] if isinstance(found, tuple) else found).untyped_storage().data_ptr())
            return found

        self.linear_fc1.forward = noting
        try:
            with saved_tensors_hooks(saved.pack, _unpack):
                return forward(self, *args, **kwargs)
        finally:
            if mine is None:
                del self.linear_fc1.forward
            else:
                self.linear_fc1.forward = mine

    return compressed


FEATURE = Feature(
    name="compress-dense",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--compress-dense",
            "Compress the first product of dense MLPs without loss: level0 on the device, level1 partly in the host's memory.",
            type=str,
            default=OFF,
            choices=(OFF, DEVICE, HOST),
        ),
    ),
    switch=lambda args: getattr(args, "compress_dense", OFF) not in (None, OFF),
    conflicts=CONFLICTS,
    check=recomputed,
    patches=(
        Patch("megatron.core.transformer.transformer_layer:TransformerLayer.forward", following, wraps=True),
        Patch("megatron.core.transformer.mlp:MLP.forward", compressing, wraps=True),
        *own_weight(),
    ),
)
