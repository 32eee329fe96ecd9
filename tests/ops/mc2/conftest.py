# SPDX-License-Identifier: Apache-2.0
"""A group of one rank for products and tokens that travel."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import aclnn
import pytest


@pytest.fixture(scope="module")
def group() -> Iterator[str]:
    """The name of a communicator of this process alone."""
    aclnn.base()
    hccl = aclnn.load("libhccl.so")
    root, comm, name = ctypes.create_string_buffer(4108), ctypes.c_void_p(), ctypes.create_string_buffer(128)
    assert hccl.HcclGetRootInfo(root) == 0, aclnn.error_text()
    assert hccl.HcclCommInitRootInfo(1, root, 0, ctypes.byref(comm)) == 0, aclnn.error_text()
    assert hccl.HcclGetCommName(comm, name) == 0
    yield name.value.decode()
    assert hccl.HcclCommDestroy(comm) == 0
