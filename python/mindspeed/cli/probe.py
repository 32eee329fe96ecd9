# SPDX-License-Identifier: Apache-2.0
"""What the doctor asks in a process of its own, so that a crash or a hang is a finding and not the end.

`python -m mindspeed.cli.probe library|operator|PACKAGE` prints one JSON object.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import sys
from typing import Any

HBM_MEMORY = 1  # aclrtMemAttr ACL_HBM_MEM, what torch_npu asks for


def library() -> dict[str, Any]:
    """Load CANN as a framework would, and ask it."""
    from mindspeed.cann import loader

    decision = loader.activate()
    acl = loader.loaded.get("libascendcl.so") or ctypes.CDLL("libascendcl.so")
    found: dict[str, Any] = {"kind": decision.kind, "instruction_set": _instruction_set(acl)}
    code = acl.aclInit(None)
    if code != 0:
        return {**found, "error": f"aclInit returned {code}: {_message(acl)}"}
    count = ctypes.c_uint32()
    code = acl.aclrtGetDeviceCount(ctypes.byref(count))
    if code != 0:
        return {**found, "error": f"aclrtGetDeviceCount returned {code}: {_message(acl)}"}
    acl.aclrtGetSocName.restype = ctypes.c_char_p
    found["devices"] = count.value
    if acl.aclrtSetDevice(0) != 0:
        return {**found, "error": f"device 0 cannot be used: {_message(acl)}"}
    found["soc"] = (acl.aclrtGetSocName() or b"").decode()
    found["list"] = [_device(acl, number) for number in range(count.value)]
    found["memory_bytes"] = found["list"][0].get("memory_bytes")
    acl.aclFinalize()
    _holders(acl, found["list"])
    return found


def _device(acl: ctypes.CDLL, number: int) -> dict[str, Any]:
    """Number here, number on the host, memory."""
    found: dict[str, Any] = {"id": number, "physical_id": number}
    physical = ctypes.c_int32(number)
    if acl.aclrtGetLogicDevIdByUserDevId(number, ctypes.byref(physical)) == 0:
        found["physical_id"] = physical.value
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    if (
        acl.aclrtSetDevice(number) == 0
        and acl.aclrtGetMemInfo(HBM_MEMORY, ctypes.byref(free), ctypes.byref(total)) == 0
    ):
        found |= {"memory_bytes": total.value, "free_bytes": free.value}
    acl.aclrtResetDevice(number)
    return found


class _Row(ctypes.Structure):
    """struct hc_ledger_row."""

    _fields_ = (
        ("pid", ctypes.c_int32),
        ("physical", ctypes.c_int32),
        ("bytes", ctypes.c_uint64),
        ("name", ctypes.c_char * 16),
    )


def _holders(acl: ctypes.CDLL, devices: list[dict[str, Any]]) -> None:
    """Which processes hold memory of which device; only the host implementation knows."""
    if not hasattr(acl, "hc_ledger_rows"):
        return
    room = 1 + acl.hc_ledger_rows(None, 0)
    rows = (_Row * room)()
    known = rows[: min(room, acl.hc_ledger_rows(rows, room))]
    for device in devices:
        device["processes"] = [
            {"pid": row.pid, "name": row.name.decode(errors="replace"), "bytes": row.bytes}
            for row in known
            if row.physical == device["physical_id"]
        ]
        device["used_bytes"] = sum(process["bytes"] for process in device["processes"])


def _message(acl: ctypes.CDLL) -> str:
    acl.aclGetRecentErrMsg.restype = ctypes.c_char_p
    return (acl.aclGetRecentErrMsg() or b"no message").decode(errors="replace").strip()


def _instruction_set(acl: ctypes.CDLL) -> str | None:
    """Only the host implementation chooses one."""
    if not hasattr(acl, "hc_isa_name"):
        return None
    acl.hc_isa_name.restype = ctypes.c_char_p
    return str(acl.hc_isa_name(acl.hc_isa()).decode())


def operator() -> dict[str, Any]:
    """One operator on npu:0, compared with the CPU."""
    try:
        import torch
        import torch_npu  # noqa: F401  (torch does it by itself, unless TORCH_DEVICE_BACKEND_AUTOLOAD=0)
    except Exception as error:
        return {"operator": "add", "error": f"{type(error).__name__}: {' '.join(str(error).split())}"}

    x = torch.linspace(-3.0, 3.0, 1000)
    y = torch.linspace(1.0, 2.0, 1000)
    expected = torch.add(x, y)
    try:
        computed = torch.add(x.to("npu:0"), y.to("npu:0")).cpu()
    except (RuntimeError, AttributeError) as error:
        return {"operator": "add", "error": str(error).strip().splitlines()[0]}
    if not torch.equal(computed, expected):
        worst = (computed - expected).abs().max().item()
        return {"operator": "add", "error": f"differs from the CPU by up to {worst:g}"}
    return {"operator": "add"}


def package(name: str) -> dict[str, Any]:
    """Whether an optional package can be imported."""
    try:
        importlib.import_module(name)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    return {}


def _with_hook(answer: dict[str, Any]) -> dict[str, Any]:
    """What the start-up hook has met with, and kept to itself so that the import goes on."""
    failure = getattr(sys.modules.get("_mindspeed_hook"), "failure", None)
    return answer if failure is None else {**answer, "hook": f"{type(failure).__name__}: {failure}"}


if __name__ == "__main__":
    probes = {"library": library, "operator": operator}
    print(json.dumps(_with_hook(probes[sys.argv[1]]() if sys.argv[1] in probes else package(sys.argv[1]))))
