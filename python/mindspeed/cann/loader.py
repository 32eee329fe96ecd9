# SPDX-License-Identifier: Apache-2.0
"""Load the host implementation into this process, so that a framework finds it.

glibc satisfies a library's needs, and dlopen() by plain name, with a loaded library of that soname. So
it is enough to load every library of ours by its absolute path before the framework: no search path and
no environment variable has to be set by the user.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from mindspeed.cann import interrupts
from mindspeed.cann.decision import Decision, decide, root

# Loaded first, in this order: the others need them. Their RUNPATH is $ORIGIN, so any order would work;
# this one makes a missing library fail under its own name.
FIRST = ("libascendcl.so", "libnnopbase.so", "libopapi.so", "libhccl.so")

# What a framework does when the user says nothing, for the host. With its default, 1, torch_npu hands each
# operator to a thread that launches it and a third one that frees its arguments; that one looks for work every
# microsecond, a fifth of a core, which operators on the host's own cores lack (docs/streams.md).
DEFAULTS = {"TASK_QUEUE_ENABLE": "0"}

decision: Decision | None = None
loaded: dict[str, ctypes.CDLL] = {}


def library_paths() -> list[Path]:
    """Our libraries, in loading order."""
    present = {path.name: path for path in sorted((root() / "lib64").glob("lib*.so"))}
    first = [present.pop(name) for name in FIRST if name in present]
    return first + list(present.values())


def environment_for(kind: str, environment: Mapping[str, str], *, search_path: bool) -> dict[str, str]:
    """Variables to set for a kind of CANN; `search_path` adds LD_LIBRARY_PATH, for a new process."""
    if kind != "host":
        return {}
    home = root()
    variables = {
        "ASCEND_HOME_PATH": str(home),
        "ASCEND_TOOLKIT_HOME": str(home),
        "ASCEND_OPP_PATH": str(home / "opp"),
        # torch_npu.profiler looks for msprof there.
        "PATH": _in_front(home / "tools" / "profiler" / "bin", environment.get("PATH", os.defpath)),
        **{name: environment.get(name) or value for name, value in DEFAULTS.items()},
    }
    if search_path:
        variables["LD_LIBRARY_PATH"] = _in_front(home / "lib64", environment.get("LD_LIBRARY_PATH", ""))
    return variables


def _in_front(folder: Path, path: str) -> str:
    """Of a list of folders, once."""
    return os.pathsep.join([str(folder), *(p for p in path.split(os.pathsep) if p and p != str(folder))])


def activate() -> Decision:
    """Decide once per process and, for the host, load the libraries. Raises OSError if one cannot be."""
    global decision
    if decision is not None:
        return decision
    chosen = decide(os.environ)
    if chosen.kind == "host":
        os.environ.update(environment_for(chosen.kind, os.environ, search_path=False))
        for path in library_paths():
            loaded[path.name] = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        interrupts.watch(loaded[FIRST[0]])
    decision = chosen
    return chosen


def imported() -> None:
    """The framework has been imported."""
    if FIRST[0] not in loaded:
        return
    interrupts.end_in_time(loaded[FIRST[0]])
    if "torch_npu" in sys.modules:
        from mindspeed.cann import conjugates  # imports torch, which is there

        conjugates.resolve()
