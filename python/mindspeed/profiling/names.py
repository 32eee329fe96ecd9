# SPDX-License-Identifier: Apache-2.0
"""What the vendor's profiler would call a task: analysis tools look for these words."""

from __future__ import annotations

import re

from mindspeed.profiling.profile import Task

# Operators that products make up run on cube cores, all others on vector cores.
CUBE = re.compile(r"matmul|batchmatmul|addmm|addmv|addbmm|baddbmm|gemm|^mm$|^mv$|^dot|convolution|flashattention|"
                  r"inferattention|promptflash|increflash|linearcrossentropy|^ffn|conv\dd", re.IGNORECASE)  # fmt: skip
COLLECTIVES = {
    "HcclAllReduce": "allReduce",
    "HcclReduce": "reduce",
    "HcclBroadcast": "broadcast",
    "HcclAllGather": "allGather",
    "HcclAllGatherV": "allGatherV",
    "HcclReduceScatter": "reduceScatter",
    "HcclReduceScatterV": "reduceScatterV",
    "HcclScatter": "scatter",
    "HcclAlltoAll": "alltoall",
    "HcclAlltoAllV": "alltoallv",
    "HcclAlltoAllVC": "alltoallvc",
    "HcclBarrier": "barrier",
    "HcclSend": "send",
    "HcclRecv": "receive",
    "HcclBatchSendRecv": "batchSendRecv",
    "HcclGroupEnd": "batchSendRecv",
}
CONTROL = {"record event": "EVENT_RECORD", "wait event": "EVENT_WAIT"}


def operator_type(task: Task) -> str:
    """ "MatMul" of aclnnMatMul, "hcom_allReduce_" of HcclAllReduce."""
    if task.kind == "collective":
        return f"hcom_{COLLECTIVES.get(task.name, task.name)}_"
    if task.kind == "copy":
        return "MEMCPY_ASYNC"
    return CONTROL.get(task.name, re.sub(r"^aclnn", "", task.name))


def core(task: Task) -> str:
    """Task Type, or "Accelerator Core": where the vendor's device would run it."""
    if task.kind == "collective":
        return "HCCL"
    if task.kind == "operator":
        return "AI_CORE" if CUBE.search(operator_type(task)) else "AI_VECTOR_CORE"
    return operator_type(task)


def group(task: Task) -> str:
    """The communicator of a collective, as errors show it: "group_name_12 (tp)"."""
    return task.shapes.rsplit(", ", 1)[-1] if ", " in task.shapes else "unknown"


def instances(tasks: list[Task]) -> dict[int, str]:
    """A name for each collective, by id(task): kinds are counted for each group, so ranks give theirs the same name."""
    counts: dict[tuple[str, str], int] = {}
    names = {}
    for task in tasks:
        key = (operator_type(task), group(task))
        counts[key] = counts.get(key, 0) + 1
        names[id(task)] = f"{key[0]}_{re.sub(r'[^0-9A-Za-z]+', '_', key[1]).strip('_')}_{counts[key] - 1}_1"
    return names
