# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C while the interpreter waits for a virtual device: the runtime watches for it (src/runtime/interrupt.c)."""

from __future__ import annotations

import atexit
import ctypes
import os
import signal


def watch(runtime: ctypes.CDLL) -> None:
    """Unless the program handles SIGINT itself: then it is asked for nothing, and nothing is ever dropped."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    add_call = ctypes.cast(ctypes.pythonapi.Py_AddPendingCall, ctypes.c_void_p)
    # The main thread's number is the process's. What threading knows is the parent's after a fork, before Python 3.13.
    code = runtime.hc_interrupt_watch(os.getpid(), add_call)
    if code != 0:
        raise OSError(code, f"Ctrl-C cannot be watched for: {os.strerror(code)}")


def end_in_time(runtime: ctypes.CDLL) -> None:
    """To be called after the framework has been imported: what is registered last runs first at the end."""
    atexit.register(runtime.hc_interrupt_ending)
