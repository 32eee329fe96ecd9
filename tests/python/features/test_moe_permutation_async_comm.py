# SPDX-License-Identifier: Apache-2.0
"""--moe-permutation-async-comm: the same training, and tokens that are sorted before the other ranks have come."""

from __future__ import annotations

import functools
import re
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import memory_cases
import pytest
import torch
import torchrun
from mindspeed.adaptor import Level, rules, versions
from mindspeed.features.moe import permutation_async_comm as feature

SUPPORT = Path(__file__).parents[2] / "support"
FLAGS = {"use_flash_attn": True}
ASYNC = {"moe_permutation_async_comm": True, "num_experts": 8}


@functools.cache
def times() -> dict[str, dict[str, float]]:
    lines = torchrun.rows(2, SUPPORT / "dispatch_job.py", timeout=300)
    return {line["kind"]: line for line in lines}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["alltoall", "allgather"])
def test_tokens_are_sorted_before_the_other_rank_comes(kind: str) -> None:
    found = times()[kind]
    assert found["async"] < found["delay"] / 2 < found["waiting"], found


def test_collectives_of_shared_experts_are_left_alone() -> None:
    """They run on a stream of their own, and nobody would wait for them."""
    torch.npu.set_device(0)
    tokens = torch.ones(4, 1, 8, device="npu")
    dispatch = feature.Dispatch(SimpleNamespace(tp_size=1), tokens, tokens)
    with torch.npu.stream(torch.npu.Stream()):
        dispatch.gather(lambda tensor: tensor + 1, tokens)
    assert dispatch.last is None
    found = dispatch.gather(lambda tensor: tensor + 1, tokens)
    assert dispatch.last is not None
    dispatch.wait()
    assert dispatch.last is None and found.cpu().eq(2).all()


def test_an_exchange_has_all_its_arguments() -> None:
    """Releases from 0.18 say by name which stream it is for."""
    torch.npu.set_device(0)
    tokens = torch.ones(4, 1, 8, device="npu")
    dispatch = feature.Dispatch(SimpleNamespace(tp_size=1), tokens, tokens)

    def exchange(_group: Any, tensor: torch.Tensor, *, use_nccl_stream: bool) -> torch.Tensor:
        assert use_nccl_stream
        return tensor + 1

    found = dispatch.exchange(exchange, None, tokens, use_nccl_stream=True)
    dispatch.wait()
    assert found.cpu().eq(2).all()


def trainings(world: int, kinds: tuple[str, ...], **layout: Any) -> dict[str, Any]:
    ranks = {"model": "moe", "world": world, "ep": 2, "optimizer": "distributed", **layout}
    cases = {
        f"{kind}{suffix}": memory_cases.case(FLAGS | more, **ranks, dispatcher=kind)
        for kind in kinds
        for suffix, more in (("", {}), ("-async", ASYNC))
    }
    return {
        name: (found["losses"], found["norms"], found["weights"])
        for name, found in memory_cases.run(cases).items()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "kinds", "layout"),
    [
        (2, ("alltoall", "allgather"), {}),
        (4, ("alltoall", "allgather", "alltoall_seq"), {"tp": 2, "sp": True}),
    ],
)
def test_training_is_the_same(world: int, kinds: tuple[str, ...], layout: dict[str, Any]) -> None:
    if not versions.within(versions.installed_version("megatron-core"), since="", until="0.13.0"):
        kinds = tuple(kind for kind in kinds if kind != "alltoall_seq")  # is gone
    found = trainings(world, kinds, **layout)
    for kind in kinds:
        assert found[f"{kind}-async"] == found[kind], kind


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, ""),
        ({"moe_token_dispatcher_type": "alltoall_seq"}, ""),
        (
            {"moe_token_dispatcher_type": "flex"},
            "flex has collectives of its own; give one of allgather, alltoall",
        ),
        ({"num_experts": None}, "needs --num-experts"),
    ],
)
def test_rules(given: dict[str, Any], problem: str) -> None:
    args = Namespace(**{"moe_permutation_async_comm": True, "num_experts": 4} | given)
    found = rules.problems([feature.FEATURE], args, Level.ACCELERATION)
    assert len(found) == bool(problem)
    if problem:
        assert re.search(problem, found[0]), found
