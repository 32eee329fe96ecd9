#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run the fast tests of every feature with other releases of Megatron Core, and note what passed (tests/support/cores.json).

docs/features/matrix.md has it. Of each checkout `megatron/core` alone is put in front of what is installed. A release takes some
minutes; the tests marked slow are left out.

Usage: try_cores.py CHECKOUT ... [--only WORD] [--targets]     e.g. of core_v0.16.1; --only: features whose names contain it;
                                                               --targets: whether what they patch is there, and no tests
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests/support"))
import feature_matrix as matrix  # noqa: E402

TARGETS = ROOT / "tests/support/targets_job.py"
TIMEOUT_S = 3600


def alone(checkout: Path, folder: Path) -> Path:
    """A folder with megatron.core and nothing else of a checkout."""
    (folder / "megatron").mkdir()
    (folder / "megatron/core").symlink_to((checkout / "megatron/core").resolve())
    return folder


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, *command], env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )  # fmt: skip


def missing(folder: Path) -> tuple[str, dict[str, list[str]]]:
    """The release, and by feature the targets that it lacks."""
    done = run(folder, str(TARGETS))
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found, by_feature = json.loads(done.stdout.splitlines()[-1]), {}
    for place in found["missing"]:
        target, name = re.fullmatch(r"(.*) \(feature (.*)\)", place).groups()
        by_feature.setdefault(name, []).append(target)
    return found["megatron"], by_feature


def outcomes(folder: Path, files: list[str]) -> dict[str, dict[str, int]]:
    """By file of tests how many passed, failed and were skipped."""
    report = folder / "report.xml"
    done = run(folder, "-m", "pytest", "-q", "-m", "not slow", f"--junitxml={report}", *files)
    print("\n".join(done.stdout.splitlines()[-60:]), flush=True)
    found: dict[str, dict[str, int]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("classname", "").split(".")
        file = next((part for part in name if part.startswith("test_")), "")
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        counts = found.setdefault(file, {"passed": 0, "failed": 0, "skipped": 0})
        counts[outcome] += 1
    return found


def look(checkout: Path, word: str, without_tests: bool) -> tuple[str, dict[str, Any]]:
    """The release of a checkout, and what was seen of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = alone(checkout, Path(name))
        core, lacking = missing(folder)
        features = [feature for feature in matrix.features() if word in feature.name]
        files = {feature.name: matrix.own_test(feature.name) for feature in features}
        wanted = sorted({str(file) for file in files.values() if file})
        tests = outcomes(folder, wanted) if wanted and not without_tests else {}
    seen = {}
    for feature in features:
        file = files[feature.name]
        counts = tests.get(file.stem, {}) if file else {}
        seen[feature.name] = {
            "missing": lacking.get(feature.name, []),
            "passed": 0,
            "failed": 0,
            "skipped": 0,
        } | counts
    return core, {"date": str(datetime.date.today()), "features": seen}


def as_text(record: dict[str, Any]) -> str:
    """JSON with a line for each feature, so that a change is seen as one."""
    parts = []
    for core, seen in sorted(record.items()):
        rows = [f"   {json.dumps(name)}: {json.dumps(row)}" for name, row in seen["features"].items()]
        listed = ",\n".join(rows)
        parts.append(
            f' {json.dumps(core)}: {{\n  "date": {json.dumps(seen["date"])},\n  "features": {{\n{listed}\n  }}\n }}'
        )
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkouts", nargs="+", type=Path, metavar="CHECKOUT")
    parser.add_argument("--only", default="", metavar="WORD")
    parser.add_argument("--targets", action="store_true", help="no tests")
    options = parser.parse_args()
    for checkout in options.checkouts:
        core, seen = look(checkout, options.only, options.targets)
        known = json.loads(matrix.RECORD.read_text(encoding="utf-8")) if matrix.RECORD.is_file() else {}
        before = known.get(core, {}).get("features", {}) if options.only else {}
        known[core] = seen | {"features": dict(sorted((before | seen["features"]).items()))}
        matrix.RECORD.write_text(as_text(known), encoding="utf-8")


if __name__ == "__main__":
    main()
