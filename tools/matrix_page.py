# SPDX-License-Identifier: Apache-2.0
"""The page docs/features/matrix.md: which feature works where, and with which other one (tests/support/feature_matrix.py)."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable
from pathlib import Path

from mindspeed.adaptor import Feature
from mindspeed.adaptor.discovery import all_features

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests/support"))
import feature_matrix as matrix  # noqa: E402

OWN, OTHERS, UNTESTED = "✓", "(✓)", "·"
HEAD = """\
# What works where

<!-- Written by tools/gen_features_doc.py (`make docs`) from features, rules and tests; edits are lost. -->

| sign | in a column of parallelism | in a column of a release of Megatron Core |
|---|---|---|
| ✓ | a test of the feature trains or computes on such ranks | its tests pass there |
| (✓) | [combinations](combinations.md) that have it train on such ranks | all that it patches exists there (`test_versions.py`); its tests were not run |
| ✗ with a number | refused, before anything starts, with [this sentence](#refusals) | the same |
| (✗) with a number | refused as it is; with what the sentence says to give it is not | |
| · | neither refused nor tested | the same |
| n/m | | of m fast tests of the feature n pass there, with tests that look into {installed} among those that fail |

Everything here is asked of the features as they are: rules and `until` of what is refused, the layouts that tests are written with, patches
and their releases. A feature is given with the least that it needs (`bench/feature_figures.py` without what may be left out), and a
parallelism of two beside it; what Megatron's own validation refuses comes on top. Columns of {installed} are of every commit, those of other
releases what `tools/try_cores.py` saw on {dates}.

Of Megatron's own parallelism by itself, and so of the {permanent} features of level 0 that no flag asks for, `test_parallel_parity.py` trains {layouts}
layouts: {parity}.

## Features
"""


class Refusals:
    """Sentences by number, each once."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def sign(self, sentences: Iterable[str], sign: str = "✗") -> str:
        found = {self.numbers.setdefault(text, len(self.numbers) + 1) for text in sentences}
        return f"{sign} {', '.join(map(str, sorted(found)))}"

    def table(self) -> str:
        rows = [f"| {number} | {cell(text)} |\n" for text, number in self.numbers.items()]
        return "\n## Refusals\n| | sentence |\n|---|---|\n" + "".join(rows)


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def linked(name: str) -> str:
    return f"[{name}]({name}.md)" if (ROOT / f"docs/features/{name}.md").is_file() else name


def on_axis(feature: Feature, axis: matrix.Axis, refusals: Refusals) -> str:
    refused = matrix.refused_on(axis, feature)
    if refused.sentences:
        return refusals.sign(refused.sentences, "(✗)" if refused.has_remedy else "✗")
    if axis.title in matrix.trained_alone(feature.name):
        return OWN
    return OTHERS if matrix.in_combinations(feature, axis) else UNTESTED


def on_core(feature: Feature, core: str, refusals: Refusals) -> str:
    sentences = matrix.too_new(feature, core) or matrix.refusals(
        matrix.arguments_of(matrix.given(feature.name))
    )
    if sentences:
        return refusals.sign(sentences)
    if core == matrix.INSTALLED:
        has_tests = bool(matrix.tests_of(feature.name)) or feature in matrix.combinations.features()
        return OWN if has_tests else UNTESTED
    seen = matrix.record()[core]["features"].get(feature.name)
    if seen is None or seen["missing"]:
        return UNTESTED
    if seen["failed"]:
        return f"{seen['passed']}/{seen['passed'] + seen['failed']}"
    return OWN if seen["passed"] else OTHERS


def tests_cell(feature: Feature) -> str:
    files = matrix.tests_of(feature.name)
    shown = [f"[{path.name}](../../{path.relative_to(ROOT)})" for path in files[:2]]
    more = [f"{len(files) - 2} more"] if len(files) > 2 else []
    pairs = ["combinations"] if feature in matrix.combinations.features() else []
    return ", ".join(shown + more + pairs)


def features_table(refusals: Refusals) -> str:
    cores, axes = matrix.cores(), matrix.AXES
    head = ["feature", *cores, *(axis.title for axis in axes), "tests"]
    lines = ["| " + " | ".join(head) + " |\n", "|---" * len(head) + "|\n"]
    for feature in matrix.features():
        cells = [linked(feature.name), *(on_core(feature, core, refusals) for core in cores)]
        cells += [on_axis(feature, axis, refusals) for axis in axes]
        lines.append("| " + " | ".join([*cells, tests_cell(feature)]) + " |\n")
    return "".join(lines)


def _reason(sentences: Iterable[str]) -> tuple[str, str]:
    """(feature that objects, why) of the first sentence."""
    text = next(iter(sentences))
    who = text.partition(" (")[0].removeprefix("feature ")
    if " exclude each other: " in text:
        return who, text.partition(" exclude each other: ")[2].rpartition("; ")[0]
    return who, text.partition("): ")[2] or text


def pairs_part() -> str:
    """Every pair; those refused by who objects, and why."""
    usable = matrix.usable()
    left_out = [linked(f.name) for f in matrix.features() if f not in usable]
    grouped: dict[tuple[str, str], list[str]] = {}
    more: dict[str, list[str]] = {}
    count = 0
    for one, other in itertools.combinations(usable, 2):
        pair = matrix.together(one, other)
        count += 1
        if pair.more:
            more.setdefault(pair.more, []).append(f"{one.name} and {other.name}")
        if pair.refused:
            who, why = _reason(pair.refused)
            grouped.setdefault((who, why), []).append(_other(who, one, other))
    refused = sum(map(len, grouped.values()))
    rows = [
        f"| {linked(who)} | {', '.join(names)} | {cell(why)} |\n"
        for (who, why), names in sorted(grouped.items())
    ]
    also = [f"| {', '.join(pairs)} | `{flag}` |\n" for flag, pairs in sorted(more.items())]
    return (
        f"\n## Pairs\nOf {count} pairs of {len(usable)} features {count - refused} may be given together and {refused} are refused, each by a sentence that names "
        f"both, as a test of every pair demands (`test_combinations.py`). Always refused: {', '.join(left_out)}. What is trained together is told in "
        "[combinations](combinations.md).\n\n"
        f"| feature | not with | why |\n|---|---|---|\n{''.join(rows)}"
        f"\n| may be given together | with this as well |\n|---|---|\n{''.join(also)}"
    )  # fmt: skip


def _other(who: str, one: Feature, other: Feature) -> str:
    """The one that does not object; both where it is a third, which one of them brings along."""
    if who not in (one.name, other.name):
        return f"{one.name} and {other.name}"
    return other.name if who == one.name else one.name


def page() -> str:
    refusals = Refusals()
    permanent = [feature for feature in all_features() if not feature.flags]
    head = HEAD.format(
        installed=matrix.INSTALLED,
        dates=" and ".join(sorted({seen["date"] for seen in matrix.record().values()})),
        permanent=len(permanent),
        layouts=len(matrix.LAYOUTS),
        parity=", ".join(axis.title for axis in matrix.AXES if axis.title in matrix.of_level_0()),
    )
    return head + features_table(refusals) + pairs_part() + refusals.table()
