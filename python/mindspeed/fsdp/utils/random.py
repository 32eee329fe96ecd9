# SPDX-License-Identifier: Apache-2.0
"""Seeds."""

from __future__ import annotations

import os
import random

import torch

__all__ = ["set_deterministic_algorithms", "set_seed"]


def set_seed(seed: int, set_deterministic: bool = False) -> None:
    """Seed Python, NumPy and PyTorch on all devices."""
    import numpy

    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
    torch.npu.manual_seed_all(seed)
    os.environ["PYTHONHASHSEED"] = str(seed)
    if set_deterministic:
        set_deterministic_algorithms()


def set_deterministic_algorithms() -> None:
    """The same result in every run: of collectives, of matrix products split along k, and of PyTorch's operators."""
    os.environ["HCCL_DETERMINISTIC"] = "true"
    os.environ["CLOSE_MATMUL_K_SHIFT"] = "1"
    torch.use_deterministic_algorithms(True)
