# SPDX-License-Identifier: Apache-2.0
"""--hccl-group-buffer-adaptive: buffers hold the largest message of their group, which the shape of a model tells."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import torchrun
from mindspeed.adaptor import arguments, rules
from mindspeed.features.communication import hccl_group_buffer_adaptive as feature

JOB = Path(__file__).parents[2] / "support" / "buffers_job.py"
# 4096 tokens, two at a time, 1024 wide: 16 MB of bf16.
MODEL = {
    "hccl_group_buffer_adaptive": True, "seq_length": 4096, "micro_batch_size": 2, "hidden_size": 1024,
    "num_attention_heads": 16, "bf16": True,
}  # fmt: skip


def given(**more: Any) -> Namespace:
    args = Namespace(**(MODEL | more))
    arguments.complete(args, (feature.FEATURE,))
    return args


def sizes(**more: Any) -> dict[str, int]:
    return feature.sizes(given(**more))


def test_dense_models() -> None:
    assert sizes() == {"tp": 16, "pp": 16, "cp": 32, "mp": 1, "tp_ep_mp": 1}
    assert sizes(bf16=False)["tp"] == 32
    shared = {"tensor_model_parallel_size": 4, "sequence_parallel": True}
    assert sizes(**shared) | {"cp": 0} == {"tp": 16, "pp": 4, "cp": 0, "mp": 1, "tp_ep_mp": 1}
    context = {"context_parallel_size": 4}
    assert (sizes(**context)["tp"], sizes(**context)["cp"]) == (4, 32)
    assert sizes(**context, group_query_attention=True, num_query_groups=2)["cp"] == 4


def test_experts() -> None:
    experts = {"num_experts": 8, "expert_model_parallel_size": 4, "moe_router_topk": 3}
    assert "ep" not in sizes(**experts) and "ep_tp" not in sizes(**experts)
    factor = {"hccl_ep_group_buffer_adaptive_factor": 1.5}
    assert sizes(**experts, **factor)["ep_tp"] == 96
    alltoall = sizes(**experts, **factor, moe_token_dispatcher_type="alltoall")
    assert (alltoall["ep"], alltoall["tp"]) == (72, 72)


def test_groups_get_them() -> None:
    (row,) = torchrun.rows(2, JOB, [json.dumps(MODEL | {"tensor_model_parallel_size": 2})], timeout=300)
    assert row["options"] == {
        "tp": {"group_name": "tp", "hccl_buffer_size": 16},
        "pp": {"group_name": "pp", "hccl_buffer_size": 16},
    }


def problems(**more: Any) -> list[str]:
    return list(rules.problems((feature.FEATURE,), given(**more), 2))


def test_rules() -> None:
    assert problems() == []
    assert "factor is 0, wanted more than 0" in problems(hccl_ep_group_buffer_adaptive_factor=0.0)[0]
    assert "--micro-batch-size is not given" in problems(micro_batch_size=None)[0]
