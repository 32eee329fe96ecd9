# SPDX-License-Identifier: Apache-2.0
"""tools/conformance.py: why a test fails, by its error, and what a page says of a folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from conformance import FileResult, Outcome, merge, skipped_for_soc
from conformance_page import MARK, report, write_below_mark
from conformance_reasons import BY_NAME, ELSEWHERE, HERE, MISSING, TEST, UNDECIDED, is_conclusive, reason_of

MISSING_TEXT = (
    "RuntimeError: aclnnGeluMul or aclnnGeluMulGetWorkspaceSize not in libopapi.so, or libopapi.so not found."
)
NAMED_TEXT = "aclopCompileAndExecute: operator type Renorm is not available on virtual NPUs (1 inputs"


@pytest.mark.parametrize(
    ("file", "test", "text", "expected"),
    [
        ("test_npu_gelu_mul.py", "t", MISSING_TEXT, (MISSING, "`aclnnGeluMul`")),
        ("test_renorm.py", "t", NAMED_TEXT, (BY_NAME, "`Renorm`")),
        ("test_a.py", "t", "operator type Identity (1 inputs", (ELSEWHERE, "private storage format")),
        (
            "test_a.py",
            "t",
            "RuntimeError: x2 only supports NZ format.",
            (ELSEWHERE, "private storage format"),
        ),
        ("test_a.py", "t", "NameError: name 'np' is not defined", (TEST, "a mistake in the test")),
        ("test_a.py", "t", "not reached in the time limit", (UNDECIDED, "time limit")),
        ("test_a.py", "t", "aclnnX: x is float32, wanted int8", (HERE, "`aclnnX` refuses it")),
        ("test_a.py", "t", "AssertionError: result error", (HERE, "result differs")),
        ("test_npu_nsa_select_attention.py", "t", "AssertionError: result error", (TEST, None)),
        (
            "test_npu_nsa_select_attention_infer.py",
            "t",
            "AssertionError: result error",
            (HERE, "result differs"),
        ),
        (
            "test_npu_rms_norm_quant.py",
            "test_npu_rms_norm_quant_bf16",
            "AssertionError: False is not true",
            (HERE, "result differs"),
        ),
        (
            "test_npu_rms_norm_quant.py",
            "test_npu_rms_norm_quant_float8_e5m2",
            "False is not true",
            (TEST, None),
        ),
        ("test_a.py", "t", "TypeError: Got unsupported ScalarType BFloat16", (TEST, None)),
        ("test_a.py", "t", "Traceback", (HERE, "other error")),
    ],
)
def test_reasons(file: str, test: str, text: str, expected: tuple[str, str | None]) -> None:
    kind, reason = reason_of(file, test, text)
    assert kind == expected[0]
    assert expected[1] is None or reason == expected[1]


def test_what_runs_alone_again() -> None:
    assert is_conclusive(MISSING_TEXT) and is_conclusive(NAMED_TEXT)
    assert not is_conclusive("AssertionError: result error")


def test_a_test_has_the_outcome_of_the_soc_that_it_is_for() -> None:
    reason = "Only run on ['Ascend950'], current device is Ascend910B."
    first = FileResult(
        [Outcome("a", "passed"), Outcome("b", "skipped", reason), Outcome("c", "skipped", "later")]
    )
    assert skipped_for_soc(first) == ["b"]
    merged = merge(first, FileResult([Outcome("b", "failed", "x", "Ascend950")]))
    assert [(t.test, t.kind) for t in merged.tests] == [("a", "passed"), ("b", "failed"), ("c", "skipped")]


def outcome(test: str, kind: str, text: str = "", authors_skip: str = "") -> dict[str, str]:
    return {"test": test, "kind": kind, "text": text, "soc": "", "authors_skip": authors_skip}


def test_report(tmp_path: Path) -> None:
    files = {
        "test_whole.py": [outcome("a", "passed"), outcome("b", "passed", authors_skip="later")],
        "test_left.py": [outcome("a", "passed"), outcome("b", "failed", MISSING_TEXT, authors_skip="later")],
        "test_fails.py": [outcome("a", "failed", NAMED_TEXT), outcome("b", "passed")],
        "test_nz.py": [outcome("a", "failed", "x2 only supports NZ format.")],
        "test_late.py": [outcome("a", "failed", "not reached in the time limit")],
        "test_soc.py": [outcome("a", "skipped", "Only run on")],
    }
    state = {
        "commit": "abc",
        "date": "2026-11-30",
        "files": {"f": [*files, "test_other.py"]},
        "folders": {"f": {name: {"tests": tests} for name, tests in files.items()}},
    }
    page = tmp_path / "page.md"
    page.write_text(f"by hand\n{MARK}\nold\n", encoding="utf-8")
    write_below_mark(page, report(state))
    text = page.read_text(encoding="utf-8")
    assert (
        text.startswith("by hand\n") and "old" not in text and "op-plugin at abc, run on 2026-11-30." in text
    )
    assert "Files: 6; 2 pass whole, 1 are skipped whole by themselves, 1 fail only for" in text
    assert "1 were not decided. Of the 3 others 66.7 % pass whole." in text
    assert "Not run yet (1 of 7 files): test_other.py." in text
    assert "| test_fails.py | 1 | 1 | 0 | operator by name, through the graph compiler: `Renorm` |" in text
    assert "| 1 | test_left.py | aclnn operator missing: `aclnnGeluMul` |" in text
