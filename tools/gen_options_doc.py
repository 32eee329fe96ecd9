#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write docs/options.md from HC_FOR_OPTIONS (src/base/hc_option.h).

Usage: gen_options_doc.py [--check]     --check writes nothing and fails when the document is stale
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "options.md"
HEAD = """\
# Options

<!-- Written by tools/gen_options_doc.py (`make docs`) from src/base/hc_option.h; edits are lost. -->

Environment variables, read when the first device is used. A value that is not allowed is refused by name.

| variable | default | meaning |
|---|---|---|
"""
TAIL = """
PyTorch reads `TORCH_DEVICE_BACKEND_AUTOLOAD` (0: `import torch` loads no torch_npu) and torch_npu reads
`PYTORCH_NPU_ALLOC_CONF`, as on a machine with NPUs.
"""


def generate() -> str:
    text = (ROOT / "src" / "base" / "hc_option.h").read_text(encoding="utf-8")
    text = text.replace("\\\n", "\n")  # lines of the macro
    rows = re.findall(r'X\(\w+,\s*"(\w+)",\s*"([^"]*)",\s*"([^"]*)"\)', text)
    return (
        HEAD + "".join(f"| `{n}` | {f'`{d}`' if d else ''} | {meaning} |\n" for n, d, meaning in rows) + TAIL
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail when the document is stale")
    text = generate()
    if not parser.parse_args().check:
        DOCUMENT.write_text(text, encoding="utf-8")
        return 0
    if not DOCUMENT.is_file() or DOCUMENT.read_text(encoding="utf-8") != text:
        print(f"{DOCUMENT.relative_to(ROOT)} is stale: run `make docs`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
