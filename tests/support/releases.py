# SPDX-License-Identifier: Apache-2.0
"""Other releases of Megatron Core than the one that is installed, a folder each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / "build" / "megatron"


def release_folder(version: str) -> str:
    """A folder with that release of Megatron Core alone, fetched once; none for the one installed, which is "" here."""
    folder = CACHE / version
    if version and not folder.exists():
        parts = CACHE / f"{version}.{os.getpid()}"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(parts)]
        done = subprocess.run(
            [*command, f"megatron-core=={version}"], capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        try:
            parts.rename(folder)
        except OSError:  # another worker was faster
            shutil.rmtree(parts)
    return str(folder) if version else ""
