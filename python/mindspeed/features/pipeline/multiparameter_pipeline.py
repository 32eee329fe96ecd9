# SPDX-License-Identifier: Apache-2.0
"""A stage of a pipeline may give the next one a tuple of tensors; each message says what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Patch
from mindspeed.features.pipeline import _lines, _several

_SCHEDULES = "megatron.core.pipeline_parallel.schedules"


def check(args: Any) -> Iterator[str]:
    ranks = getattr(args, "pipeline_model_parallel_size", None)
    if ranks is not None and ranks < 2:
        yield f"there are no stages; give --pipeline-model-parallel-size 2 or more, or leave out {_several.FLAG}"
    if getattr(args, "encoder_pipeline_model_parallel_size", None):
        yield "an encoder with stages of its own sends to several ranks; leave out --encoder-pipeline-model-parallel-size"
    if getattr(args, "use_ring_exchange_p2p", False):
        yield "ring exchanges are of one tensor; leave out --use-ring-exchange-p2p"


FEATURE = Feature(
    name="multiparameter-pipeline",
    level=Level.ACCELERATION,
    until="0.13",  # whose stages communicate in another way
    flags=(
        Flag(_several.FLAG, "Stages of a pipeline may give each other tuples of tensors.", in_config=False),
    ),
    conflicts=(
        *(
            Conflict(feature=name, why="both say how stages talk to each other")
            for name in ("schedules-method", "optimize-send-recv-comm")
        ),
        *(
            Conflict(feature=name, why="it follows messages of one tensor")
            for name in ("recompute-in-bubble", "recompute-in-advance", "tp-2d")
        ),
        Conflict(feature="variable-seq-lengths", why="each message says its shapes already"),
    ),
    check=check,
    patches=(
        Patch("megatron.core.pipeline_parallel.p2p_communication:_communicate", _lines.communicate),
        Patch(f"{_SCHEDULES}:forward_step", _several.forward_step, wraps=True),
        Patch(f"{_SCHEDULES}:backward_step", _several.backward_step, wraps=True),
        Patch(f"{_SCHEDULES}:deallocate_output_tensor", _several.letting_go, wraps=True),
    ),
)
