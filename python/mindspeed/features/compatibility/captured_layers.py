# SPDX-License-Identifier: Apache-2.0
"""The input of a captured layer stays until its backward pass has read it.

Where Megatron captures layers in graphs (--enable-cuda-graph, --cuda-graph-impl local), 0.16 and 0.17 give the memory of an
input that no captured layer wrote back as soon as the forward pass is captured, and the gradient of the last layer's output
takes it. The norm of the first layer then had the gradient of something else: seen there, not before, and not from 0.18 on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch

_GRAPHS = "megatron.core.transformer.cuda_graphs"


def keep_inputs(create: Callable[..., None]) -> Callable[..., None]:
    """Without a backward pass nothing reads an input again: then memory goes back as before."""

    def create_fwd_graph(self: Any, *args: Any, **kwargs: Any) -> None:
        from megatron.core.transformer.cuda_graphs import _CudagraphGlobalRecord

        if not self.grad_enabled:
            return create(self, *args, **kwargs)
        pool = _CudagraphGlobalRecord.tensor_reuse_pool
        pool.insert = lambda tensor: None  # in front of the method
        try:
            return create(self, *args, **kwargs)
        finally:
            del pool.insert

    return create_fwd_graph


FEATURE = Feature(
    name="captured-layers",
    level=Level.COMPATIBILITY,
    patches=(
        Patch(
            f"{_GRAPHS}:_CudaGraphRunner.create_fwd_graph",
            keep_inputs,
            wraps=True,
            since="0.16.0",
            until="0.18.0",
        ),
    ),
)
