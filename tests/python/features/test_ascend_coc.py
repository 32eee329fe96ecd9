# SPDX-License-Identifier: Apache-2.0
"""--use-ascend-coc: layers and losses as without, and while the collective of one part is on its way another is computed."""

from __future__ import annotations

import functools
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchrun
from mindspeed.adaptor import arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.ops.product_parts import bounds

SUPPORT = Path(__file__).parents[2] / "support"
CUT = {
    "use_ascend_coc": True,
    "coc_parallel_num": 3,
}  # 12 rows of a rank, 24 of both: no multiple is asked for
# Sums in another order; losses after five steps of Adam.
TOLERANCE = {"fp32": 2e-6, "bf16": 1e-2, "losses": 1e-5}
GATHERS, SCATTERS, SUMS = "all_gather_into_tensor async", "reduce_scatter_tensor async", "all_reduce async"


@functools.cache
def rows(form: str, **more: Any) -> dict[str, dict[str, Any]]:
    found = torchrun.rows(2, SUPPORT / "linears_job.py", [json.dumps(CUT | more), form], timeout=600)
    assert len(found) == 24
    for row in found:
        allowed = next(limit for word, limit in TOLERANCE.items() if word in row["case"])
        assert row["difference"] <= allowed, row
    return {row["case"]: row for row in found}


def calls(row: dict[str, Any], *names: str) -> tuple[int, ...]:
    return tuple(row.get(name, 0) for name in names)


def test_layers_that_share_the_sequence() -> None:
    for case, row in rows("sequence").items():
        if case.startswith("layer column"):
            # Forward in three parts; backward the input comes and its gradient leaves whole, as in Megatron's own layers,
            # beside the products of the weight: without these it leaves in parts.
            assert calls(row, GATHERS, SCATTERS) == ((3, 3) if "frozen" in case else (4, 1)), row
        elif case.startswith("layer row"):
            assert calls(row, GATHERS, SCATTERS) == (3, 3), row
        else:
            assert row[GATHERS] >= 5 * 2 * 2 * 3 and row[SCATTERS] >= 5 * 2 * 2 * 3, row


def test_layers_that_sum() -> None:
    for case, row in rows("all-reduce").items():
        if case.startswith("layer row"):
            assert calls(row, SUMS) == (3,), row
        elif case.startswith("losses"):
            assert row[SUMS] >= 5 * 2 * 2 * 3, row


@pytest.mark.slow
def test_whole_products_of_mode_1() -> None:
    for case, row in rows("sequence", coc_mode=1).items():
        if case.startswith("layer row"):
            assert calls(row, GATHERS, SCATTERS) == (1, 1), row


@pytest.mark.slow
@pytest.mark.parametrize("form", ["sequence", "all-reduce"])
def test_operators_that_contain_the_collective(form: str) -> None:
    for case, row in rows(form, coc_fused_kernel=True).items():
        fused = calls(row, "npu_all_gather_base_mm", "npu_mm_reduce_scatter_base", "npu_mm_all_reduce_base")
        if case.startswith("layer row"):
            assert fused == ((1, 1, 0) if form == "sequence" else (0, 0, 1)), row


def test_parts_are_computed_while_others_travel() -> None:
    """One rank is late with its second part, so the other has time to compute what does not need it."""
    (found,) = torchrun.rows(2, SUPPORT / "parts_job.py", timeout=120)
    assert set(found) == {"gathered", "scattered", "summed"}
    for form, hidden in found.items():
        assert hidden["cut"] and not hidden["whole"], (form, hidden)


def test_bounds() -> None:
    for rows_of in range(9):
        for parts in range(1, 6):
            cut = bounds(rows_of, parts)
            assert [row for begin, end in cut for row in range(begin, end)] == list(range(rows_of))
            sizes = torch.tensor([end - begin for begin, end in cut])
            assert sizes.max() - sizes.min() <= 1 and len(cut) == max(1, min(parts, rows_of))


def problems(**given: Any) -> list[str]:
    args = Namespace(
        **({"tensor_model_parallel_size": 2, "use_ascend_coc": True, "coc_parallel_num": 2} | given)
    )
    features = tuple(f for f in all_features() if f.name in ("ascend-coc", "ascend-mc2"))
    arguments.complete(args, features)
    return list(rules.problems(features, args, 2))


def test_rules() -> None:
    assert (
        problems()
        == problems(coc_parallel_num=1, coc_mode=1)
        == problems(coc_parallel_num=1, coc_mode=0)
        == []
    )
    assert problems(coc_parallel_num=1, coc_fused_kernel=True) == []
    assert "needs --tensor-model-parallel-size" in problems(tensor_model_parallel_size=1)[0]
    assert "--coc-parallel-num 1 cuts nothing" in problems(coc_parallel_num=1)[0]
    assert "--coc-parallel-num is 0, wanted 1 or more" in problems(coc_parallel_num=0)[0]
    assert (
        "operators of --coc-fused-kernel" in problems(coc_fused_kernel=True, tensor_model_parallel_size=3)[0]
    )
    assert "exclude each other" in problems(use_ascend_mc2=True, sequence_parallel=True)[0]
