# SPDX-License-Identifier: Apache-2.0
"""communication.json and communication_matrix.json: what each collective took, and over which links.

All ranks of a host copy in its memory, which counts as the vendor's link within a host (HCCS). How long a rank waited for the
others is not told apart from the copying: all of it is transit.
"""

from __future__ import annotations

from typing import Any

from mindspeed.profiling import names
from mindspeed.profiling.profile import Profile, Task
from mindspeed.profiling.times import microseconds

LINKS = ("RDMA", "HCCS", "PCIE", "SDMA", "SIO")


def _ratio(size_mb: float, time_ms: float) -> float:
    return round(size_mb / time_ms, 4) if time_ms > 0 else 0.0


def _link(size_mb: float, time_ms: float) -> dict[str, Any]:
    sizes = {str(size_mb): [1, time_ms]} if size_mb > 0 else {}
    return {
        "Transit Size(MB)": size_mb,
        "Transit Time(ms)": time_ms,
        "Bandwidth(GB/s)": _ratio(size_mb, time_ms),
        "Large Packet Ratio": 0,
        "Size Distribution": sizes,
    }


def _figures(task: Task) -> tuple[float, float]:
    return task.size / 1e6, (task.end - task.begin) / 1e6


def _operation(task: Task) -> dict[str, Any]:
    size_mb, time_ms = _figures(task)
    return {
        "Communication Time Info": {
            "Start Timestamp(us)": float(microseconds(task.begin)),
            "Elapse Time(ms)": time_ms,
            "Transit Time(ms)": time_ms,
            "Wait Time(ms)": 0,
            "Synchronization Time(ms)": 0,
            "Idle Time(ms)": 0,
            "Wait Time Ratio": 0,
            "Synchronization Time Ratio": 0,
        },
        "Communication Bandwidth Info": {
            link: _link(size_mb, time_ms) if link == "HCCS" else _link(0, 0) for link in LINKS
        },
    }


def operations(profile: Profile) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for device in profile.devices:
        tasks = profile.of(device, "collective")
        named = names.instances(tasks)
        found |= {f"{named[id(task)]}@{names.group(task)}": _operation(task) for task in tasks}
    return found


def matrix(profile: Profile) -> dict[str, Any]:
    """A link from each device to itself: what its rank moved; which peers it moved it to is not recorded."""
    found: dict[str, Any] = {}
    for device in profile.devices:
        tasks = profile.of(device, "collective")
        named = names.instances(tasks)
        for task in tasks:
            size_mb, time_ms = _figures(task)
            link = {"Transport Type": "LOCAL", "Transit Size(MB)": size_mb, "Transit Time(ms)": time_ms}
            link["Bandwidth(GB/s)"] = _ratio(size_mb, time_ms)
            found[f"{named[id(task)]}@{names.group(task)}"] = {f"{device}-{device}": link}
    return found
