#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Formatting, Python lint, types and the budgets of the style guide, on the whole tree.

Usage: lint.py [--fix]     --fix formats instead of complaining
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PYTHON = ["python", "tests", "tools", "bench", "examples"]


def c_files() -> list[str]:
    tracked = subprocess.run(
        ["git", "ls-files", "*.c", "*.h"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in tracked.stdout.splitlines() if (ROOT / name).is_file()]


def run(name: str, command: list[str]) -> bool:
    print(f"== {name}", flush=True)
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fix", action="store_true", help="format the files")
    fix = parser.parse_args().fix
    ruff, clang_format = str(BIN / "ruff"), str(BIN / "clang-format")
    clang_mode = ["-i"] if fix else ["--dry-run", "-Werror", "--ferror-limit=1"]
    results = {
        "clang-format": run("clang-format", [clang_format, *clang_mode, *c_files()]),
        "ruff format": run("ruff format", [ruff, "format", *([] if fix else ["--check"]), "-q", *PYTHON]),
        "ruff check": run(
            "ruff check", [ruff, "check", "--output-format=concise", *(["--fix"] if fix else []), *PYTHON]
        ),
    }
    if not fix:
        results["mypy"] = run("mypy", [str(BIN / "mypy")])
        results["budgets"] = run("budgets", [sys.executable, "tools/measure.py"])
    failed = [name for name, good in results.items() if not good]
    print(f"lint: {', '.join(failed)} failed" if failed else "lint: all passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
