# SPDX-License-Identifier: Apache-2.0
"""Operator tests call the C libraries directly: torch must not load torch_npu by itself."""

from __future__ import annotations

import os

os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"

import aclnn
import aclop
import operator_record
import pytest
import torch  # noqa: F401  (read the variable now; the programs that other tests start do load torch_npu)

del os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"]

if operator_record.VARIABLE in os.environ:
    # Before the test modules take the functions by `from aclnn import call`.
    aclnn.call = operator_record.recording(aclnn.call)
    aclop.call = operator_record.recording(aclop.call)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if operator_record.VARIABLE in os.environ:
        operator_record.save(getattr(session.config, "workerinput", {}).get("workerid"))
