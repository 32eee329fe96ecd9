# SPDX-License-Identifier: Apache-2.0
"""The embedding over a split vocabulary hides the words of other ranks by masked fills, not by indexed writes.

An indexed write with a mask first counts the places, which waits for the device; a fill does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.flags import Flag
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch


def masked_lookup(self: Any, words: Tensor) -> Tensor:
    """Rows of this rank's share; zeros for the words of the others."""
    others = (words < self.vocab_start_index) | (words >= self.vocab_end_index)
    index = (words - self.vocab_start_index).masked_fill(others, 0)
    if self.deterministic_mode:
        rows = self.weight[index]
    else:
        rows = torch.nn.functional.embedding(index, self.weight)
    return rows.masked_fill_(others.unsqueeze(-1), 0.0)


def without_indexed_writes(written_out: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    def forward(self: Any, input_: Tensor) -> Tensor:
        own_group = getattr(self, "tp_group", None)  # newer versions of Megatron pass groups on
        ranks = self.tensor_model_parallel_size if own_group is None else own_group.size()
        if ranks == 1:
            return written_out(self, input_)
        from megatron.core.tensor_parallel import mappings

        rows = masked_lookup(self, input_)
        group = {} if own_group is None else {"group": own_group}
        if self.reduce_scatter_embeddings:
            rows = rows.transpose(0, 1).contiguous()
            result: Tensor = mappings.reduce_scatter_to_sequence_parallel_region(rows, **group)
        else:
            result = mappings.reduce_from_tensor_model_parallel_region(rows, **group)
        return result

    return forward


FEATURE = Feature(
    name="vocab-parallel-embedding",
    level=Level.AFFINITY,
    flags=(
        Flag(
            "--use-fused-vocab-embedding",
            "Embedding over a split vocabulary without indexed writes.",
            negative="--no-fused-vocab-embedding",
        ),
    ),
    patches=(
        Patch(
            "megatron.core.tensor_parallel.layers:VocabParallelEmbedding.forward",
            without_indexed_writes,
            wraps=True,
        ),
    ),
)
