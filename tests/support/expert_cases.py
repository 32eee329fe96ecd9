# SPDX-License-Identifier: Apache-2.0
"""Training of experts in grouped products on several ranks, for the tests of features of layers of experts."""

from __future__ import annotations

from typing import Any

import memory_cases

BASE = {"use_flash_attn": True, "num_experts": 8, "moe_grouped_gemm": True}


def case(
    flags: dict[str, Any], dispatcher: str = "alltoall", batch: int = 2, **layout: Any
) -> memory_cases.Case:
    wanted = {"world": 2, "ep": 2, "optimizer": "distributed", "grouped": True} | layout
    parallel = {"moe_token_dispatcher_type": dispatcher, "expert_model_parallel_size": wanted["ep"]}
    sizes = memory_cases.LONG | {"BATCH": batch}
    return memory_cases.case(BASE | parallel | flags, sizes, model="moe", dispatcher=dispatcher, **wanted)


def training(result: memory_cases.Result) -> tuple[Any, ...]:
    """What must not change."""
    return result["losses"], result["norms"], result["weights"]
