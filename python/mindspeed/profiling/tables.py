# SPDX-License-Identifier: Apache-2.0
"""op_summary_*.csv, a row for each operator and collective, and op_statistic_*.csv, one for each type of them."""

from __future__ import annotations

from collections.abc import Iterable

from mindspeed.profiling import names
from mindspeed.profiling.profile import Profile, Task
from mindspeed.profiling.times import microseconds

SUMMARY = (
    "Device_id", "Task ID", "Stream ID", "Op Name", "OP Type", "Task Type", "Task Start Time(us)",
    "Task Duration(us)", "Task Wait Time(us)", "Block Num", "Mix Block Num", "Input Shapes", "Input Data Types",
    "Input Formats", "Output Shapes", "Output Data Types", "Output Formats",
)  # fmt: skip
STATISTIC = (
    "Device_id", "OP Type", "Core Type", "Count", "Total Time(us)", "Min Time(us)", "Avg Time(us)", "Max Time(us)", "Ratio(%)",
)  # fmt: skip
# torch's names of types to the vendor's
TYPES = {"float32": "FLOAT", "float16": "FLOAT16", "bfloat16": "DT_BF16", "float64": "DOUBLE", "bool": "BOOL"}

Row = list[object]


def _operands(operands: list[tuple[str, str]]) -> tuple[str, str, str]:
    """Shapes, types and formats, each in one field; N/A where there is none."""
    if not operands:
        return ("N/A", "N/A", "N/A")
    shapes = ";".join(shape for _, shape in operands)
    types = ";".join(TYPES.get(name, name.upper()) for name, _ in operands)
    return (f'"{shapes}"', types, ";".join("ND" for _ in operands))


def _summary_row(task: Task, number: int, name: str) -> Row:
    """A task waits from its launch to its beginning. There are no blocks: an operator is a loop over the host's threads."""
    times = (task.begin, task.end - task.begin, max(task.begin - task.launch, 0))
    head = [task.device, number, task.stream, name, names.operator_type(task), names.core(task)]
    shapes = (*_operands(task.operands("i", "b")), *_operands(task.operands("o", "b")))
    return [*head, f"{microseconds(times[0])}\t", *map(microseconds, times[1:]), 0, 0, *shapes]


def summary(profile: Profile) -> Iterable[Row]:
    yield list(SUMMARY)
    for device in profile.devices:
        collectives = names.instances(profile.of(device, "collective"))
        for number, task in enumerate(profile.of(device, "operator", "collective")):
            yield _summary_row(task, number, collectives.get(id(task), task.name))


def statistic(profile: Profile) -> Iterable[Row]:
    """By the time that types take together, largest first."""
    yield list(STATISTIC)
    for device in profile.devices:
        times: dict[tuple[str, str], list[int]] = {}
        for task in profile.of(device, "operator", "collective"):
            key = (names.operator_type(task), names.core(task))
            times.setdefault(key, []).append(task.end - task.begin)
        total = sum(map(sum, times.values()))
        for key, each in sorted(times.items(), key=lambda item: -sum(item[1])):
            whole = sum(each)
            row = [whole, min(each), round(whole / len(each)), max(each)]
            yield [device, *key, len(each), *map(microseconds, row), round(100 * whole / max(total, 1), 3)]
