# SPDX-License-Identifier: Apache-2.0
"""What features plan in C: functions of libmindspeed_adaptor (src/small/mindspeed_adaptor)."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from mindspeed.cann.decision import root


@functools.cache
def function(name: str, *arguments: Any) -> Any:
    """The function of that name, which returns an int32_t and takes arguments of these types of ctypes."""
    library = ctypes.CDLL(str(root() / "lib64" / "libmindspeed_adaptor.so"))
    found = getattr(library, name)
    found.restype, found.argtypes = ctypes.c_int32, list(arguments)
    return found
