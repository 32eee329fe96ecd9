# SPDX-License-Identifier: Apache-2.0
"""Operators and collectives give the same bits in every run.

MindSpeed's own operators and collectives always do; the flag makes PyTorch and torch_npu choose their deterministic ways
too, and fills memory that nobody has written yet, so that code that reads it is the same every time as well.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch

from mindspeed.adaptor import Feature, Flag, Level, Patch

COLLECTIVES = "HCCL_DETERMINISTIC"


def deterministic(set_random_seed: Callable[..., None]) -> Callable[..., None]:
    """Megatron's seeding at the start of every rank."""

    @functools.wraps(set_random_seed)
    def set_deterministic_seed(seed: int, *args: Any, **kwargs: Any) -> None:
        set_random_seed(seed, *args, **kwargs)
        os.environ["PYTHONHASHSEED"] = str(seed)  # of the data loader's processes
        torch.use_deterministic_algorithms(True)

    return set_deterministic_seed


def before_ranks_meet(args: Any) -> None:
    os.environ.setdefault(COLLECTIVES, "true")


def check(args: Any) -> Iterator[str]:
    if os.environ.get(COLLECTIVES, "true").lower() == "false":
        yield f"{COLLECTIVES}=false is set; unset it, or leave out --npu-deterministic"


FEATURE = Feature(
    name="npu-deterministic",
    level=Level.ACCELERATION,
    flags=(Flag("--npu-deterministic", "Give the same bits in every run."),),
    check=check,
    adjust=before_ranks_meet,
    patches=(
        Patch(
            "megatron.training.initialize:_set_random_seed",
            deterministic,
            wraps=True,
            requires="megatron.training",
        ),
    ),
)
