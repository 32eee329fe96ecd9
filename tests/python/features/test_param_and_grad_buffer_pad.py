# SPDX-License-Identifier: Apache-2.0
"""--param-and-grad-buffer-pad: buckets and the shares of ranks begin where it says, and losses are the same but for rounding."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torchrun
from mindspeed.adaptor import arguments, rules
from mindspeed.adaptor.discovery import all_features

JOB = Path(__file__).parents[2] / "support" / "bucket_order_job.py"
BYTES = 3072  # no divisor of what Megatron aligns to


def found(**flags: Any) -> dict[str, Any]:
    (row,) = torchrun.rows(2, JOB, [json.dumps(flags)], timeout=300)
    return row


def test_buckets_are_aligned() -> None:
    usual, aligned = found(), found(param_and_grad_buffer_pad=BYTES, use_distributed_optimizer=True)
    assert any(begin % BYTES for begin in usual["begins"])
    assert not any(begin % BYTES for begin in aligned["begins"])
    assert not any(size % (2 * BYTES) for size in aligned["sizes"])  # two ranks
    # Other shares: another order of sums in the norm of the gradient, which clips it.
    assert aligned["losses"] == pytest.approx(usual["losses"], rel=1e-4)


def problems(size: int, **given: Any) -> list[str]:
    args = Namespace(param_and_grad_buffer_pad=size, **given)
    features = tuple(f for f in all_features() if f.name == "param-and-grad-buffer-pad")
    arguments.complete(args, features)
    return list(rules.problems(features, args, 2))


@pytest.mark.parametrize("size", [-1, 3])
def test_rules(size: int) -> None:
    assert problems(512, use_distributed_optimizer=True) == []
    assert "--use-distributed-optimizer" in problems(512)[0]
    assert "an even number of bytes" in problems(size, use_distributed_optimizer=True)[0]
