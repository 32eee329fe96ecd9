# SPDX-License-Identifier: Apache-2.0
"""By how much scores of a head fall off with the distance of a key, under the name that other projects import."""

from __future__ import annotations

import torch

from mindspeed.features.fusion.alibi import slopes, slopes_of_rank

__all__ = ["AlibiForFusionAttnSingleton", "get_slopes"]

get_slopes = slopes


class AlibiForFusionAttnSingleton:
    """What fused attention takes, of --position-embedding-type alibi."""

    @classmethod
    def get_alibi_slopes_for_fusion_attn(cls, n: int) -> torch.Tensor:
        """Of the heads of this tensor-parallel rank, among n."""
        from megatron.core import parallel_state

        rank = parallel_state.get_tensor_model_parallel_rank()
        ranks = parallel_state.get_tensor_model_parallel_world_size()
        return slopes_of_rank(n, rank, ranks, torch.device("npu", torch.npu.current_device()))
