# SPDX-License-Identifier: Apache-2.0
"""The projection in front of a predicted further token has its own gradient, not that times the tensor-parallel ranks.

Megatron 0.12 gathers what its ranks have projected by a function whose backward pass adds up gradients, which each rank has
whole. Later releases gather as here. The name in the layer's module alone is replaced: elsewhere (tokens of `alltoall_seq` between
ranks that share experts) each rank has a part of the gradient and the sum is right.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch


def without_sum(_summing: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    from megatron.core.tensor_parallel.mappings import gather_from_tensor_model_parallel_region

    def gather(input_: Tensor) -> Tensor:
        whole: Tensor = gather_from_tensor_model_parallel_region(input_)
        return whole

    return gather


FEATURE = Feature(
    name="further-token-gradients",
    level=Level.AFFINITY,
    patches=(
        Patch(
            "megatron.core.transformer.multi_token_prediction:all_gather_last_dim_from_tensor_parallel_region",
            without_sum,
            wraps=True,
            local=True,
            until="0.13.0",
        ),
    ),
)
