# SPDX-License-Identifier: Apache-2.0
"""Where the layers of a stage begin, under the name that other projects import."""

from __future__ import annotations

from typing import Any

__all__ = ["_get_layer_offset"]


def _get_layer_offset(args: Any) -> int:
    """Layers in front of this rank's stage, or of its chunk of an interleaved pipeline, where all have as many."""
    from megatron.core import parallel_state

    stages = parallel_state.get_pipeline_model_parallel_world_size()
    stage = parallel_state.get_pipeline_model_parallel_rank()
    chunks = parallel_state.get_virtual_pipeline_model_parallel_world_size() or 1
    chunk = parallel_state.get_virtual_pipeline_model_parallel_rank() or 0
    return int(chunk * (args.num_layers // chunks) + stage * (args.num_layers // chunks // stages))
