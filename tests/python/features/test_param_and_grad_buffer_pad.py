# SPDX-License-Identifier: Apache-2.0
"""--param-and-grad-buffer-pad: buckets and the shares of ranks begin where it says, and losses are the same but for rounding."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import memory_cases
import pytest
import torch
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
    assert aligned["losses"] == pytest.approx(usual["losses"], rel=1e-6)


def buffer_of(sizes: list[int], shared: int) -> tuple[Any, list[torch.nn.Parameter]]:
    """Megatron's, of parameters of so many values, one of which stages share."""
    from megatron.core import parallel_state
    from megatron.core.distributed import DistributedDataParallelConfig
    from megatron.core.distributed.param_and_grad_buffer import _ParamAndGradBuffer

    parameters = [torch.nn.Parameter(torch.randn(size).npu()) for size in sizes]
    parameters[shared].shared_embedding = True
    buffer = _ParamAndGradBuffer(
        DistributedDataParallelConfig(use_distributed_optimizer=True),
        torch.float32,
        torch.float32,
        parameters,
        parallel_state.get_data_parallel_group(),
        None,
        {parameter: str(number) for number, parameter in enumerate(parameters)},
        1.0,
        list(range(len(parameters))),
    )
    return buffer, parameters


@pytest.mark.parametrize(
    ("sizes", "shared"), [([700, 256, 128], 0), ([64, 300, 256], 1), ([64, 100, 3072], 2)]
)
def test_what_stages_share_lies_in_its_bucket(switch: Any, sizes: list[int], shared: int) -> None:
    """Its beginning is aligned, what is in front of it counts for the checkpoint as it did, and values are kept."""
    usual, _ = buffer_of(sizes, shared)
    switch(optimization_level=2, use_distributed_optimizer=True, param_and_grad_buffer_pad=BYTES)
    buffer, parameters = buffer_of(sizes, shared)
    assert len(buffer.buckets) == len(usual.buckets)
    for parameter, size in zip(parameters, sizes, strict=True):
        begin, end, number = buffer.param_index_map[parameter]
        bucket = buffer.bucket_indices[number]
        assert bucket[0] <= begin and end <= bucket[1] and end - begin == size
    assert buffer.param_index_map[parameters[shared]][0] % (BYTES // 2) == 0
    assert [b.numel_unpadded for b in buffer.buckets] == [b.numel_unpadded for b in usual.buckets]
    assert buffer.numel_unpadded == usual.numel_unpadded
    switch(use_distributed_optimizer=False, param_and_grad_buffer_pad=None)


def with_tied_embeddings(world: int) -> None:
    """Of two stages: the first one's embedding comes behind its layers."""
    kind: dict[str, Any] = {"dtype": "fp32", "world": world, "pp": 2, "optimizer": "distributed"}
    pad = {"param_and_grad_buffer_pad": BYTES, "use_distributed_optimizer": True}
    found = memory_cases.run(
        {"usual": memory_cases.case({}, **kind), "aligned": memory_cases.case(pad, **kind)}
    )
    assert found["aligned"]["losses"] == pytest.approx(found["usual"]["losses"], rel=1e-5)


def test_training_with_tied_embeddings() -> None:
    with_tied_embeddings(2)


@pytest.mark.slow
def test_training_with_tied_embeddings_and_shares() -> None:
    with_tied_embeddings(4)


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
