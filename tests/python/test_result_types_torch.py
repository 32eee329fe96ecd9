# SPDX-License-Identifier: Apache-2.0
"""The types of results at the level of torch: operators of PyTorch's own list, the device against the CPU. Without
names the job (tests/support/result_types_job.py) takes the whole list, which is a matter of ten minutes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_runtime_torch import run

pytest.importorskip("expecttest", reason="PyTorch's list of operators needs it")
SUPPORT = Path(__file__).resolve().parents[1] / "support"
OPERATORS = (
    "add sub mul div floor_divide remainder fmod pow sqrt exp log sin neg abs floor round reciprocal sigmoid clamp "
    "lerp addcdiv where maximum bitwise_and eq logical_and signbit cumsum sum mean amax masked_fill "
    "index_add nn.functional.silu nn.functional.gelu nn.functional.hardtanh bitwise_left_shift vdot"
)
# What differs and stays: docs/conformance.md says why. (kind, form, operator)
KNOWN = {
    ("refuses", "out", "abs"), ("refuses", "function", "add"), ("refuses", "function", "sub"),
    ("refuses", "function", "mul"), ("accepts", "out", "where"), ("refuses", "out", "addcdiv"), ("refuses", "out", "pow"), ("refuses", "function", "exp"),
    ("refuses", "function", "bitwise_left_shift"), ("accepts", "function", "lerp"), ("accepts", "in place", "lerp"),
    ("accepts", "out", "lerp"), ("refuses", "out", "lerp"), ("refuses", "function", "lerp"),
    ("refuses", "in place", "lerp"), ("accepts", "out", "floor"), ("accepts", "out", "nn.functional.gelu"),
    ("accepts", "function", "masked_fill"), ("accepts", "in place", "masked_fill"),
    ("accepts", "function", "vdot"), ("accepts", "out", "vdot"),
}  # fmt: skip


@pytest.mark.slow
def test_results_and_refusals_are_those_of_the_cpu(tmp_path: Path) -> None:
    code = f"""
        import runpy, sys
        sys.argv = ["result_types_job.py"] + {OPERATORS!r}.split()
        runpy.run_path({str(SUPPORT / "result_types_job.py")!r}, run_name="__main__")
    """
    *rows, total = [json.loads(line) for line in run(code, tmp_path).splitlines() if line.startswith("{")]
    new = [row for row in rows if (row["kind"], row["form"], row["op"]) not in KNOWN]
    kinds = {(row["kind"], row["form"], row["op"]): row for row in new}
    assert not kinds, json.dumps(list(kinds.values()), indent=1)
    assert total["missing"] == [] and total["counts"]["same"] > 5000 and total["counts"]["both refuse"] > 5000
