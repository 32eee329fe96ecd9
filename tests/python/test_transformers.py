# SPDX-License-Identifier: Apache-2.0
"""transformers and accelerate on virtual NPUs: GPT2, Llama and Qwen2 with random weights, spread by `device_map="auto"` or
under nn.DataParallel, have the CPU's logits, losses and gradients (fp32, 1e-5), and generate the same text."""

from __future__ import annotations

from pathlib import Path

import forked
import pytest

JOB = Path(__file__).parents[1] / "support" / "transformers_job.py"


@pytest.mark.slow
def test_models_over_two_devices(tmp_path: Path) -> None:
    done = forked.run([str(JOB), str(tmp_path)], timeout=600, MINDSPEED_NUM_THREADS="2", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert done.stdout.splitlines() == ["done"]
