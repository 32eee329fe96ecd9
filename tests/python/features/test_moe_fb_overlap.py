# SPDX-License-Identifier: Apache-2.0
"""--moe-fb-overlap: the same training, and a forward pass that goes on while the messages of a backward pass are missing."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import expert_cases
import memory_cases
import pytest
import torchrun
from mindspeed.adaptor import arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.moe import fb_overlap as feature

SUPPORT = Path(__file__).parents[2] / "support"
ON = {"moe_fb_overlap": True}
MORE = {"moe_permutation_async_comm": True}


@pytest.mark.slow
def test_training_is_the_same() -> None:
    ways = {"off": {}, "on": ON, "sorting meanwhile": ON | MORE}
    cases = {name: expert_cases.case(flags, batch=8) for name, flags in ways.items()}
    results = memory_cases.run(cases)
    found = {name: expert_cases.training(result) for name, result in results.items()}
    assert found["on"] == found["off"] == found["sorting meanwhile"]
    assert results["on"]["peak"] > results["off"]["peak"]  # activations of two micro-batches


def test_a_forward_pass_does_not_wait_for_messages_of_a_backward_pass() -> None:
    (found,) = torchrun.rows(2, SUPPORT / "fb_overlap_job.py", timeout=400)
    late = found["delay"]
    assert found["on"] < late / 2 < late <= found["off"], found


def problems(**given: Any) -> list[str]:
    usual = {"num_experts": 8, "moe_grouped_gemm": True, "expert_model_parallel_size": 2}
    args = Namespace(**(usual | {"moe_token_dispatcher_type": "alltoall"} | ON | given))
    arguments.complete(args, all_features())
    return list(rules.problems(all_features(), args, 2))


@pytest.mark.parametrize("name", feature._ONE)
def test_one_rank_of_other_kinds(name: str) -> None:
    assert any(f"--{name.replace('_', '-')} is 2:" in text for text in problems(**{name: 2}))


def test_rules() -> None:
    assert problems() == [] and problems(balanced_moe_experts=True, balanced_moe_hot_expert_num=2) == []
    assert "needs --num-experts" in problems(num_experts=None)[0]
    assert "--expert-model-parallel-size is 1," in problems(expert_model_parallel_size=1)[0]
    assert "--moe-token-dispatcher-type is allgather;" in problems(moe_token_dispatcher_type="allgather")[0]
    assert "--moe-unperm2-mem-optim-swap takes what" in problems(moe_unperm2_mem_optim_swap=True)[0]
    assert "leave out --recompute-granularity" in problems(recompute_granularity="selective")[0]
    assert "leave out --overlap-grad-reduce" in problems(overlap_grad_reduce=True)[0]
    assert any("exclude each other" in text for text in problems(moe_alltoall_overlap_comm=True))
