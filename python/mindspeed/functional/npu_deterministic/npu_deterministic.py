# SPDX-License-Identifier: Apache-2.0
"""The same results in every run, under the names that other projects import."""

from mindspeed.features.tooling.npu_deterministic import deterministic
from mindspeed.utils import extend_seed_all

__all__ = ["extend_seed_all", "npu_deterministic_wrapper"]

npu_deterministic_wrapper = deterministic
