# SPDX-License-Identifier: Apache-2.0
"""Which CANN a process uses: ours on the host CPU, or the vendor's on a machine with NPUs."""

from __future__ import annotations

import ctypes
import glob
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "MINDSPEED_DEVICE"
# Device nodes of the vendor's kernel driver.
DEVICE_NODES = "/dev/davinci[0-9]*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """kind is 'host' or 'ascend'; reason is a sentence for people."""

    kind: str
    reason: str


def root() -> Path:
    """Our tree; the words lib64 and cann in it are what frameworks look for."""
    return Path(__file__).resolve().parent


def decide(environment: Mapping[str, str], loadable: Callable[[str], str | None] | None = None) -> Decision:
    """Choose by MINDSPEED_DEVICE. `loadable` returns why a library cannot be loaded, or None."""
    choice = environment.get(VARIABLE, "") or "auto"
    if choice in ("host", "ascend"):
        return Decision(kind=choice, reason=f"{VARIABLE}={choice}")
    if choice != "auto":
        # The import must not fail for it: aclInit refuses the value when the device is first used.
        return Decision(kind="host", reason=f"{VARIABLE}={choice} is not valid; the device refuses it")
    missing = _what_the_vendor_lacks(environment, loadable or why_not_loadable)
    if missing:
        return Decision(kind="host", reason=missing)
    return Decision(
        kind="ascend", reason=f"{environment['ASCEND_HOME_PATH']} has libascendcl.so and an NPU is there"
    )


def _what_the_vendor_lacks(
    environment: Mapping[str, str], loadable: Callable[[str], str | None]
) -> str | None:
    home = environment.get("ASCEND_HOME_PATH", "")
    if not home:
        return "ASCEND_HOME_PATH is not set"
    if is_ours(home):
        return "ASCEND_HOME_PATH is the host implementation's"
    # First the device: loading the vendor's library only to drop it again would leave it in the process.
    if not glob.glob(DEVICE_NODES):
        return f"ASCEND_HOME_PATH={home}, but there is no NPU ({DEVICE_NODES})"
    problem = loadable(os.path.join(home, "lib64", "libascendcl.so"))
    return f"there is an NPU, but {problem}" if problem else None


def is_ours(home: str) -> bool:
    """Whether a CANN tree is a host implementation: this one, or that of another environment."""
    return os.path.exists(os.path.join(home, "host_implementation.info"))


def why_not_loadable(library: str) -> str | None:
    try:
        ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        return str(error)
    return None
