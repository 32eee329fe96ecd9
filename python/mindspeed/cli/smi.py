# SPDX-License-Identifier: Apache-2.0
"""`mindspeed smi`: the devices that a program would see, their memory, and who holds it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from mindspeed.cli import probing

ROW = "{:<5}{:<10}{:<16}{:>12}{:>12}{:>12}   {}"
HEAD = ROW.format("NPU", "physical", "name", "used", "free", "memory", "processes")


def run(*, as_json: bool, timeout: float) -> int:
    found = probing.probe("library", timeout)
    if as_json:
        print(json.dumps(found, indent=2))
    elif "error" in found:
        print(f"CANN: {found['error']}")
    else:
        print("\n".join(table(found)))
    return 1 if "error" in found else 0


def table(found: dict[str, Any]) -> Iterator[str]:
    """A line for each device, and one more for each further process on it."""
    yield HEAD
    for device in found["list"]:
        holders = [f"{p['pid']} {p['name']} {_size(p['bytes'])}" for p in device.get("processes", ())]
        yield ROW.format(
            device["id"],
            device["physical_id"],
            found.get("soc", "unknown"),
            _size(device.get("used_bytes")),
            _size(device.get("free_bytes")),
            _size(device.get("memory_bytes")),
            holders[0] if holders else "-",
        ).rstrip()
        for holder in holders[1:]:
            yield ROW.format("", "", "", "", "", "", holder)


def _size(size: int | None) -> str:
    if size is None:
        return "unknown"
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
