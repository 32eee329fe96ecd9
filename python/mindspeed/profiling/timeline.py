# SPDX-License-Identifier: Apache-2.0
"""msprof_*.json: launches on the host, tasks on the device, collectives by group, and what overlaps."""

from __future__ import annotations

from typing import Any

from mindspeed.profiling import names
from mindspeed.profiling.profile import Profile, Task
from mindspeed.profiling.times import Stretch, microseconds, union, without

Event = dict[str, Any]
# Rows of processes in the order that viewers show them. Their numbers differ between processes: traces are merged.
ROWS = ("CANN", "Ascend Hardware", "Communication", "Overlap Analysis")
OVERLAP = ("Computing", "Communication", "Communication(Not Overlapped)", "Free")


def _row(profile: Profile, name: str, device: int = -1) -> int:
    return (profile.process * 64 + device + 1) * len(ROWS) + ROWS.index(name)


def _header(profile: Profile, name: str, device: int = -1) -> list[Event]:
    row = {"ph": "M", "pid": _row(profile, name, device), "tid": 0}
    label = "CPU" if device < 0 else f"NPU {device}"
    return [
        {"name": "process_name", "args": {"name": name}} | row,
        {"name": "process_labels", "args": {"labels": label}} | row,
        {"name": "process_sort_index", "args": {"sort_index": 10 + ROWS.index(name)}} | row,
    ]


def _thread(row: int, number: int, name: str) -> Event:
    return {"ph": "M", "name": "thread_name", "pid": row, "tid": number, "args": {"name": name}}


def _slice(row: int, thread: int, name: str, stretch: Stretch, **args: Any) -> Event:
    begin, end = stretch
    times = {"ts": microseconds(begin), "dur": (end - begin) / 1000}
    return {"ph": "X", "name": name, "pid": row, "tid": thread, **times, "args": args}


def _launch(profile: Profile, task: Task, number: int) -> list[Event]:
    """An arrow from the launch on the host to the task on the device."""
    arrow = {"name": "HostToDevice", "cat": "HostToDevice", "id": str(number)}
    host, device = _row(profile, "CANN"), _row(profile, "Ascend Hardware", task.device)
    return [
        _slice(host, profile.process, f"launch@{task.name}", (task.launch, min(task.launch + 1, task.begin))),
        {"ph": "s", "pid": host, "tid": profile.process, "ts": microseconds(task.launch)} | arrow,
        {"ph": "f", "bp": "e", "pid": device, "tid": task.stream, "ts": microseconds(task.begin)} | arrow,
    ]


def _hardware(profile: Profile, device: int) -> list[Event]:
    row = _row(profile, "Ascend Hardware", device)
    tasks = [task for task in profile.tasks if task.device == device]
    collectives = names.instances(profile.of(device, "collective"))
    events = [
        _thread(row, stream, f"Stream {stream}" if stream >= 0 else "synchronous copies")
        for stream in sorted({task.stream for task in tasks})
    ]
    for task in tasks:
        args = {"Task Type": names.core(task), "Stream Id": task.stream, "Shapes": task.shapes}
        if task.flops:
            args["FLOPs"] = task.flops
        name = collectives.get(id(task), task.name)
        events.append(_slice(row, task.stream, name, (task.begin, task.end), **args))
    return events


def _communication(profile: Profile, device: int) -> list[Event]:
    row = _row(profile, "Communication", device)
    tasks = profile.of(device, "collective")
    groups = {name: number for number, name in enumerate(dict.fromkeys(map(names.group, tasks)))}
    named = names.instances(tasks)
    events = [_thread(row, number, f"Group {name} Communication") for name, number in groups.items()]
    for task in tasks:
        times = (task.begin, task.end)
        events.append(_slice(row, groups[names.group(task)], named[id(task)], times, Size=task.size))
    return events


def _overlap(profile: Profile, device: int) -> list[Event]:
    """Collectives count from their beginning: waiting for other ranks is communication."""
    row = _row(profile, "Overlap Analysis", device)
    computing = union((task.begin, task.end) for task in profile.of(device, "operator"))
    talking = union((task.begin, task.end) for task in profile.of(device, "collective"))
    busy = union([*computing, *talking])
    whole = [(busy[0][0], busy[-1][1])] if busy else []
    stretches = (computing, talking, without(talking, computing), without(whole, busy))
    events = [_thread(row, number, name) for number, name in enumerate(OVERLAP)]
    for number, (name, found) in enumerate(zip(OVERLAP, stretches, strict=True)):
        events += [_slice(row, number, name, stretch) for stretch in found]
    return events


def events(profile: Profile) -> list[Event]:
    found = _header(profile, "CANN")
    found.append(_thread(_row(profile, "CANN"), profile.process, f"Process {profile.process}"))
    for number, task in enumerate(profile.tasks):
        if task.kind in ("operator", "collective", "copy"):
            found += _launch(profile, task, number)
    for device in profile.devices:
        found += _header(profile, "Ascend Hardware", device) + _hardware(profile, device)
        if profile.of(device, "collective"):
            found += _header(profile, "Communication", device) + _communication(profile, device)
        found += _header(profile, "Overlap Analysis", device) + _overlap(profile, device)
    return found
