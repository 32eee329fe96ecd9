# SPDX-License-Identifier: Apache-2.0
"""Generated documents are fresh (docs/operators.md: `make test-python`), and links between documents lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs/features").glob("*.md")),
]


@pytest.mark.parametrize("tool", ["gen_options_doc.py", "gen_features_doc.py"])
def test_generated_documents_are_fresh(tool):
    command = [sys.executable, f"tools/{tool}", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_pages_of_features_state_what_was_measured():
    """By bench/feature_figures.py, which has a comparison for each feature of levels 1 and 2 that does something."""
    from mindspeed.adaptor.discovery import all_features

    script = (ROOT / "bench/feature_figures.py").read_text(encoding="utf-8")
    for feature in all_features():
        if feature.level > 0 and feature.flags and feature.patches:
            assert f'"{feature.name}": Row(' in script, feature.name
            page = (ROOT / f"docs/features/{feature.name}.md").read_text(encoding="utf-8")
            assert "| core ms of a step | device peak, MiB | loss |" in page, feature.name
