# SPDX-License-Identifier: Apache-2.0
"""`mindspeed doctor`: collect findings, print them, and say by the exit code whether all is well."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mindspeed import options
from mindspeed.adaptor import needs
from mindspeed.adaptor.versions import TESTED, component, misfit
from mindspeed.cann import loader
from mindspeed.cli import probing, smi
from mindspeed.cli.environment import choose

# Without these nothing works.
NEEDED = ("torch", "torch_npu")
# Packages of NVIDIA that Megatron uses when they are there.
OPTIONAL = ("transformer_engine", "apex", "flash_attn", "grouped_gemm", "triton")
CPU_FLAGS = (
    "avx2 fma f16c avx512f avx512bw avx512vl avx512dq avx512_bf16 avx512_vnni amx_tile asimd asimdhp sve"
).split()


@dataclass(slots=True)
class Report:
    """Facts for display, what is worth a warning, and the problems that make the exit code 1."""

    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def run(*, as_json: bool, timeout: float) -> int:
    report = Report()
    _versions(report)
    _packages(report, timeout)
    _cpu(report)
    _cann(report)
    _options(report)
    _library(report, timeout)
    _operator(report, timeout)
    if as_json:
        findings = {"warnings": report.warnings, "problems": report.problems, "ok": not report.problems}
        print(json.dumps({**report.facts, **findings}, indent=2))
    else:
        _print(report)
    return 1 if report.problems else 0


def _versions(report: Report) -> None:
    report.facts["python"] = platform.python_version()
    report.facts["platform"] = f"{platform.machine()}, {' '.join(platform.libc_ver())}"
    components = {name: component(name) for name in TESTED}
    report.facts["versions"] = {
        name: {"found": one.found, "tested": str(one.tested), "is_tested": one.is_tested}
        for name, one in components.items()
    }
    report.problems += [str(components[name]) for name in NEEDED if components[name].found is None]
    report.warnings += [str(one) for one in components.values() if one.found and not one.is_tested]
    wrong = misfit(components["torch"].found, components["torch_npu"].found)
    report.problems += [wrong] if wrong else []
    report.problems += needs.unmet()


def _packages(report: Report, timeout: float) -> None:
    """Two Megatrons, of which one is imported silently; packages of NVIDIA that are there and do not import."""
    folders = [str(Path(entry or ".") / "megatron" / "core") for entry in sys.path]
    found = [folder for folder in dict.fromkeys(folders) if (Path(folder) / "package_info.py").is_file()]
    report.facts["megatron"] = found
    if len(found) > 1:
        report.warnings.append(
            f"there are {len(found)} Megatrons: {found[0]} is imported, {', '.join(found[1:])} is not; "
            "take one of them off PYTHONPATH or uninstall it"
        )
    for name in OPTIONAL:
        if find_spec(name) is None:
            continue
        answer = probing.probe(name, timeout)
        if "error" in answer:
            report.warnings.append(
                f"{name} is installed and broken ({answer['error']}): a stand-in takes its place; `pip uninstall {name}` "
                "if that is not wanted"
            )


def _cpu(report: Report) -> None:
    flags: set[str] = set()
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("flags", "Features"):
                flags |= set(value.split())
            elif key.strip() == "model name":
                model = value.strip()
    except OSError:
        pass  # a sandbox may hide it; the library asks the CPU itself
    report.facts["cpu"] = {
        "model": model,
        "cores": len(os.sched_getaffinity(0)),
        "features": [flag for flag in CPU_FLAGS if flag in flags],
    }


def _cann(report: Report) -> None:
    decision = choose()
    report.facts["cann"] = {"kind": decision.kind, "reason": decision.reason}
    hook = sys.modules.get("_mindspeed_hook")
    report.facts["cann"]["hook"] = hook is not None
    if hook is None:
        report.problems.append(
            "the start-up hook is not installed: `import torch` will not find the libraries"
        )
    if decision.kind != "host":
        return
    paths = loader.library_paths()
    report.facts["cann"]["folder"] = str(loader.root() / "lib64")
    report.facts["cann"]["libraries"] = [path.name for path in paths]
    missing = [name for name in loader.FIRST if name not in report.facts["cann"]["libraries"]]
    if missing:
        report.problems.append(f"missing in {loader.root() / 'lib64'}: {', '.join(missing)}")


def _options(report: Report) -> None:
    report.facts["options"] = {o.name: o.value(os.environ) for o in options.table() if o.is_set(os.environ)}
    report.problems += options.problems(os.environ)


def _library(report: Report, timeout: float) -> None:
    found = probing.probe("library", timeout)
    report.facts["device"] = found
    if "error" in found:
        report.problems.append(f"CANN: {found['error']}")


def _operator(report: Report, timeout: float) -> None:
    if any(report.facts["versions"][name]["found"] is None for name in NEEDED):
        report.facts["self_test"] = {"skipped": "needs torch and torch_npu"}
        return
    found = probing.probe("operator", timeout)
    report.facts["self_test"] = found
    if "hook" in found:
        report.problems.append(
            f"the start-up hook failed, and the framework was loaded without it: {found['hook']}"
        )
    if "error" in found:
        report.problems.append(f"self-test: {found['error']}")


def _print(report: Report) -> None:
    facts = report.facts
    line: Callable[[str, object], None] = lambda name, text: print(f"{name:<16}{text}")  # noqa: E731
    line("python", f"{facts['python']} ({facts['platform']})")
    for name, found in facts["versions"].items():
        line(name, f"{found['found'] or 'not installed'} (tested with {found['tested']})")
    cpu, device, cann = facts["cpu"], facts["device"], facts["cann"]
    line("cpu", f"{cpu['model']}, {cpu['cores']} cores: {' '.join(cpu['features']) or 'no feature known'}")
    line("instruction set", device.get("instruction_set") or "chosen by the vendor")
    line("cann", f"{cann['kind']}: {cann['reason']}")
    if "folder" in cann:
        line("libraries", f"{len(cann['libraries'])} in {cann['folder']}")
        line("", " ".join(cann["libraries"]))
    line("options set", " ".join(f"{name}={value}" for name, value in facts["options"].items()) or "none")
    if "devices" in device:
        memory = device.get("memory_bytes")
        each = f" of {memory / 2**30:.4g} GiB" if memory else ""
        line("devices", f"{device['devices']} x {device.get('soc', 'unknown')}{each}")
        for row in smi.table(device):
            line("", row)
    test = facts["self_test"]
    line(
        "self-test",
        test.get("skipped") or test.get("error") or f"{test['operator']} on npu:0 equals the CPU's: ok",
    )
    for warning in report.warnings:
        line("WARNING", warning)
    for problem in report.problems:
        line("PROBLEM", problem)
    print("All is well." if not report.problems else f"{len(report.problems)} problem(s).")
