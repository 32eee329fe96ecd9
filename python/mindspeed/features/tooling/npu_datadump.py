# SPDX-License-Identifier: Apache-2.0
"""Write statistics of what every module computes, step by step; `mindspeed diff` finds where two runs part.

Least and largest element, mean, 2-norm and the count of elements that are not finite: of the model's inputs, of each
module's outputs and their gradients, and of the parameters after the step.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mindspeed.adaptor import Feature, Flag, Level, Patch
from mindspeed.adaptor.session import current_arguments

FOLDER = "npu_datadump"
STEPS = "1-2"


def chosen(text: str) -> Callable[[int], bool]:
    """Of "1,5-7": whether a step is one of them; ValueError for what cannot be read."""
    ranges = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ValueError(f"{part.strip()!r} is neither a step nor a range of steps, as in 1,5-7")
        ranges.append(range(int(match[1]), int(match[2] or match[1]) + 1))
    return lambda step: any(step in some for some in ranges)


def steps(text: str) -> str:
    chosen(text)
    return text


def dumping(train_step: Callable[..., Any]) -> Callable[..., Any]:
    """Megatron's step: (forward_step_func, data_iterator, model, ...), the model as a list of chunks."""

    @functools.wraps(train_step)
    def train_step_with_dump(
        forward_step_func: Any, data_iterator: Any, model: Any, *args: Any, **kwargs: Any
    ) -> Any:
        given = current_arguments()
        step = _step()
        if not chosen(given.npu_datadump_steps)(step):
            return train_step(forward_step_func, data_iterator, model, *args, **kwargs)
        with _recorder(model, Path(given.npu_datadump_dir), step):
            return train_step(forward_step_func, data_iterator, model, *args, **kwargs)

    return train_step_with_dump


def _step() -> int:
    """As Megatron's log counts: the first is 1."""
    from megatron.training import get_args

    return int(get_args().curr_iteration) + 1


def _recorder(model: Any, folder: Path, step: int) -> Any:
    import torch

    from mindspeed.dumping.recorder import Recorder

    chunks: Sequence[Any] = model if isinstance(model, Sequence) else [model]
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    return Recorder(chunks, folder, step=step, rank=rank, world_size=world_size)


def check(args: Any) -> Iterator[str]:
    folder = Path(getattr(args, "npu_datadump_dir", FOLDER))
    wanted = chosen(getattr(args, "npu_datadump_steps", STEPS))
    there = [path.name for path in sorted(folder.glob("step*")) if wanted(int(path.name[4:] or 0))]
    if there:
        yield f"{folder}/{there[0]} exists, and no dump is overwritten; choose another --npu-datadump-dir, or move it away"
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        yield f"{place} cannot be written; choose another --npu-datadump-dir"
    if getattr(args, "enable_cuda_graph", False) or getattr(args, "external_cuda_graph", False):
        yield "--npu-datadump listens to modules, which graphs do not call; leave out --enable-cuda-graph and --external-cuda-graph"


FEATURE = Feature(
    name="npu-datadump",
    level=Level.COMPATIBILITY,
    flags=(
        Flag(
            "--npu-datadump", "Write statistics of what modules compute, for mindspeed diff.", in_config=False
        ),
        Flag(
            "--npu-datadump-dir",
            "Folder of the statistics.",
            type=str,
            default=FOLDER,
            metavar="DIR",
            in_config=False,
        ),
        Flag(
            "--npu-datadump-steps",
            "Steps to write, as in 1,5-7.",
            type=steps,
            default=STEPS,
            metavar="STEPS",
            in_config=False,
        ),
    ),
    check=check,
    patches=(
        Patch("megatron.training.training:train_step", dumping, wraps=True, requires="megatron.training"),
    ),
)
