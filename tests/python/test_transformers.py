# SPDX-License-Identifier: Apache-2.0
"""transformers and accelerate on virtual NPUs: GPT2, Llama and Qwen2 with random weights, spread by `device_map="auto"` or
under nn.DataParallel, have the CPU's logits, losses and gradients (fp32, 1e-5), and generate the same text."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

JOB = Path(__file__).parents[1] / "support" / "transformers_job.py"


@pytest.mark.slow
def test_models_over_two_devices(tmp_path: Path) -> None:
    environment = os.environ | {"MINDSPEED_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(JOB), str(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert done.stdout.splitlines() == ["done"]
