# SPDX-License-Identifier: Apache-2.0
"""What mkdocs does to the pages: the README is the first one, and links into the source tree become its names.

Their targets are not part of the site; tests/python/test_docs.py checks that they exist in the tree.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
# [text](../path): out of docs/, on pages one or more folders deep.
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?!features/)[^)#:]+(?:#[^)]*)?\)")
_INTO_DOCS = re.compile(r"\]\(docs/")


def on_files(files: Files, config: Any) -> Files:
    text = _INTO_DOCS.sub("](", (ROOT / "README.md").read_text(encoding="utf-8"))
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    def plain(match: re.Match[str]) -> str:
        target = match.group(0).rpartition("(")[2].rstrip(")").partition("#")[0]
        inside = (ROOT / "docs" / page.file.src_uri).parent / target
        return match.group(0) if inside.resolve().is_relative_to(ROOT / "docs") else match.group(1)

    return _OUTSIDE.sub(plain, markdown)
