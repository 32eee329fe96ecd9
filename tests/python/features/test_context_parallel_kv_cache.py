# SPDX-License-Identifier: Apache-2.0
"""--context-parallel-kv-cache-policy and --use-ulysses-allgather-kv: the same training, with other messages and memory.

What a ring sends and holds is counted by test_context_parallel_algo.py.
"""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import memory_cases
import pytest
import torchrun
from memory_cases import SIZES as SHORT
from memory_cases import case
from mindspeed.adaptor import Level, rules
from mindspeed.features.fusion import flash_attention
from mindspeed.features.sequence import context_parallel_algo
from mindspeed.features.sequence import context_parallel_kv_cache as feature

FLASH = {"use_flash_attn": True}
RING = FLASH | {"context_parallel_algo": "megatron_cp_algo"}
ULYSSES = FLASH | {"context_parallel_algo": "ulysses_cp_algo"}
HYBRID = FLASH | {"context_parallel_algo": "hybrid_cp_algo", "ulysses_degree_in_cp": 2}
FULL, HALF = ({"context_parallel_kv_cache_policy": policy} for policy in ("full", "half"))
GATHERED = {"use_ulysses_allgather_kv": True}
SIZES = SHORT | {"GROUPS": 2}
LAYOUT = {"dtype": "fp32", "world": 4, "cp": 4}


@pytest.mark.slow
def test_training_is_that_of_one_rank() -> None:
    whole = memory_cases.run({"whole": case(FLASH, SIZES, dtype="fp32")})["whole"]
    found = memory_cases.run(
        {
            "ring": case(RING, SIZES, **LAYOUT),
            "ring full": case(RING | FULL, SIZES, **LAYOUT),
            "ring half": case(RING | HALF | {"use_cp_send_recv_overlap": True}, SIZES, **LAYOUT),
            "ring every other": case(RING | FULL | {"context_parallel_cache_interval": 1}, SIZES, **LAYOUT),
            "hybrid full": case(HYBRID | FULL, SIZES, **LAYOUT),
            "ulysses": case(ULYSSES, SIZES, **LAYOUT),
            "ulysses full": case(ULYSSES | FULL, SIZES, **LAYOUT),
            "gathered": case(ULYSSES | GATHERED, SIZES, **LAYOUT),
            "gathered full": case(ULYSSES | GATHERED | FULL, SIZES, **LAYOUT),
            "gathered half": case(ULYSSES | GATHERED | HALF, SIZES, **LAYOUT),
            "gathered, recomputed": case(ULYSSES | GATHERED | FULL, SIZES, **LAYOUT, recompute="full"),
        }
    )
    for name, result in found.items():
        for what in ("losses", "norms"):
            assert result[what] == pytest.approx(whole[what], rel=1e-4), f"{name}: {what}"
    for name, same in (
        ("ring full", "ring"),
        ("ring half", "ring"),
        ("ulysses full", "ulysses"),
        ("gathered full", "gathered"),
    ):
        assert found[name]["weights"] == found[same]["weights"], name


def test_what_an_exchange_brought_is_not_kept() -> None:
    job = Path(__file__).parents[2] / "support" / "exchange_job.py"
    done = torchrun.run(4, job, [], timeout=120)
    assert done.returncode == 0, torchrun.errors(done)
    kept, half, full = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    assert kept["gradients"] == half["gradients"] == full["gradients"]
    whole = 4 * 64 * 16 * 4  # ranks, tokens of each, width, bytes: keys, or values
    assert (kept["held"] - half["held"], half["held"] - full["held"]) == (whole, whole)


@pytest.mark.parametrize(
    ("policy", "interval", "wanted"),
    [
        (None, 0, [(False, False)] * 4),
        ("full", 0, [(True, True)] * 4),
        ("half", 0, [(True, False)] * 4),
        ("full", 1, [(True, True), (False, False)] * 2),
        ("half", 2, [(True, False), (False, False), (False, False), (True, False)]),
    ],
)
def test_layers_that_keep(policy: str | None, interval: int, wanted: list[tuple[bool, bool]]) -> None:
    config = SimpleNamespace(
        context_parallel_kv_cache_policy=policy, context_parallel_cache_interval=interval
    )
    found = [
        feature.kept_in_ring(SimpleNamespace(config=config, layer_number=number)) for number in range(1, 5)
    ]
    assert found == wanted


ARGS = {
    "context_parallel_kv_cache_policy": "full", "context_parallel_cache_interval": 0, "use_ulysses_allgather_kv": False,
    "context_parallel_size": 2, "context_parallel_algo": "ulysses_cp_algo", "num_layers": 4, "use_flash_attn": None,
    "pre_tockens": 65536, "next_tockens": 0, "sparse_mode": 0, "cp_window_size": 1, "group_query_attention": True,
    "attention_mask_on_cpu": False, "adaptive_cp_manually_set_mask_list": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, ""),
        ({"context_parallel_cache_interval": 3}, ""),
        ({"context_parallel_cache_interval": 4}, "--context-parallel-cache-interval is 4, wanted 0 to --num-layers - 1 (3)"),
        ({"context_parallel_cache_interval": -1}, "--context-parallel-cache-interval is -1"),
        (
            {"context_parallel_kv_cache_policy": None, "context_parallel_cache_interval": 1},
            "give --context-parallel-kv-cache-policy, or leave it out",
        ),
        ({"context_parallel_size": 1}, "--context-parallel-size is 1"),
        ({"use_flash_attn": False}, "needs feature flash-attention"),
        ({"context_parallel_algo": None}, "needs feature context-parallel-algo"),
        ({"context_parallel_algo": "adaptive_cp_algo"}, "is for rings and exchanges, and adaptive_cp_algo is neither"),
        ({"use_ulysses_allgather_kv": True}, ""),
        ({"use_ulysses_allgather_kv": True, "context_parallel_algo": "megatron_cp_algo"}, "is a way of --context-parallel-algo ulysses"),
        ({"use_ulysses_allgather_kv": True, "group_query_attention": False}, "give --group-query-attention"),
    ],
)  # fmt: skip
def test_rules(given: dict[str, Any], problem: str) -> None:
    features = [feature.FEATURE, context_parallel_algo.FEATURE, flash_attention.FEATURE]
    found = rules.problems(features, Namespace(**ARGS | given), Level.ACCELERATION)
    assert len(found) == bool(problem) and problem in "".join(found)
