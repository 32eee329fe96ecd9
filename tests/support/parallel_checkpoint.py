# SPDX-License-Identifier: Apache-2.0
"""Megatron's distributed checkpoints of a training job: weights and optimizer state, named as in the whole model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mindspeed.adaptor import versions


def _state(chunks: list[torch.nn.Module], optimizer: Any, *, is_loading: bool) -> dict[str, Any]:
    """What goes to disk; when loading, the pattern that is filled in."""
    from megatron.core import parallel_state

    models = {}
    for index, chunk in enumerate(chunks):
        if len(chunks) > 1:  # the numbers of a chunk's layers depend on it
            parallel_state.set_virtual_pipeline_model_parallel_rank(index)
        models[f"model{index}"] = chunk.module.sharded_state_dict()
    state = optimizer.sharded_state_dict(models, is_loading=is_loading, **_format())
    return models | {"optimizer": state}


def _format() -> dict[str, Any]:
    """Releases from 0.16 refuse the format that they still have as the default: the one that can be loaded by other layouts."""
    if versions.within(versions.installed_version("megatron-core"), since="", until="0.16.0"):
        return {}
    return {
        "metadata": {"distrib_optim_sharding_type": "fully_reshardable", "chained_optim_avoid_prefix": True}
    }


def save(folder: str, chunks: list[torch.nn.Module], optimizer: Any) -> None:
    from megatron.core import dist_checkpointing

    if torch.distributed.get_rank() == 0:
        Path(folder).mkdir(parents=True)
    torch.distributed.barrier()
    for chunk in chunks:
        if (
            chunk.ddp_config.overlap_param_gather
        ):  # what other ranks have updated comes with the next step only
            chunk.start_param_sync(force_sync=True)
    dist_checkpointing.save(_state(chunks, optimizer, is_loading=False), folder)


def load(folder: str, chunks: list[torch.nn.Module], optimizer: Any) -> None:
    from megatron.core import dist_checkpointing

    state = dist_checkpointing.load(_state(chunks, optimizer, is_loading=True), folder)
    for index, chunk in enumerate(chunks):
        chunk.load_state_dict(state[f"model{index}"])
    optimizer.load_state_dict(state["optimizer"])
