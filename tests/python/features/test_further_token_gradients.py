# SPDX-License-Identifier: Apache-2.0
"""The projection in front of a predicted further token has over two tensor-parallel ranks the gradient that it has on one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torchrun

JOB = Path(__file__).parents[2] / "support" / "further_job.py"


def test_the_gradient_is_that_of_one_rank() -> None:
    rows = torchrun.rows(2, JOB, timeout=300)
    assert len(rows) == 4
    for row in rows:
        if row["level"]:
            assert row["difference"] < 1e-5, row
        else:  # Megatron 0.12: that of each rank is added
            assert 0.9 < row["difference"] < 1.1, row


@pytest.mark.usefixtures("switch")
def test_who_else_gathers_so_goes_on_adding() -> None:
    """Tokens of the dispatcher alltoall_seq: each tensor-parallel rank has a part of their gradient."""
    from megatron.core import tensor_parallel
    from megatron.core.transformer import multi_token_prediction

    name = "all_gather_last_dim_from_tensor_parallel_region"
    assert getattr(tensor_parallel, name).__module__ == "megatron.core.tensor_parallel.mappings"
    assert getattr(tensor_parallel, name).__name__ == name
    assert getattr(multi_token_prediction, name) is not getattr(tensor_parallel, name)
