# SPDX-License-Identifier: Apache-2.0
"""A plan as text for a terminal, and the difference of two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mindspeed.planning.plan import Plan

Row = Sequence[object]
MANY = 20
# Of a stage, in bytes: what the peak, the last of them, is made of.
AMOUNTS = (
    "weights",
    "gradients",
    "optimizer",
    "buffers",
    "activations",
    "loss",
    "temporaries",
    "peak",
)


def text(plan: Plan) -> str:
    return "\n".join(_lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    versions = ", ".join(f"{name} {found or 'not found'}" for name, found in plan["versions"].items())
    yield f"level {plan['optimization_level']}, {plan['ranks']} rank(s) on {plan['nodes']} node(s); {versions}"
    for problem in plan["problems"]:
        yield f"PROBLEM  {problem}"
    for flag in plan["unknown_flags"]:
        yield f"UNKNOWN  {flag}: neither Megatron nor MindSpeed has it; the script may define it"
    yield ""
    yield from table(("feature", "area", "level", "", "why"), [
        (f["name"], f["area"], f["level"], "on" if f["on"] else "off", f["reason"]) for f in plan["features"]
    ])  # fmt: skip
    yield ""
    yield from table(("flag", "value", "of"), [(f["flag"], f["value"], f["owner"]) for f in plan["flags"]])
    yield ""
    yield from table(("patch", "", "feature", "versions"), list(_patches(plan["patches"])))
    if plan["estimate"]:
        yield ""
        yield from _estimate(plan["estimate"])


def _patches(patches: Sequence[dict[str, Any]]) -> Iterator[Row]:
    """A feature that patches very many targets of one framework has one row for them; JSON and page have each."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for patch in patches:
        groups.setdefault((patch["feature"], patch["distribution"]), []).append(patch)
    for (feature, distribution), members in groups.items():
        if len(members) > MANY:
            yield f"{distribution}: {len(members)} targets", "", feature, f"{distribution} all"
            continue
        for p in members:
            yield p["target"], p["kind"], feature, f"{distribution} {p['versions']}"


def _estimate(estimate: dict[str, Any]) -> Iterator[str]:
    yield f"{estimate['parameters']:,} parameters in all; per device, by pipeline stage:"
    rows = []
    for stage in estimate["stages"]:
        amounts = [f"{stage[name] / 2**20:,.1f}" for name in AMOUNTS]
        rows.append((stage["stage"], f"{stage['parameters']:,}", *amounts))
    yield from table(("stage", "parameters", *(f"{name}, MiB" for name in AMOUNTS)), rows)
    for stage in estimate["stages"]:
        layer = f"a layer keeps {stage['layer'] / 2**20:,.1f} MiB for its backward pass"
        yield f"  Stage {stage['stage']} has its peak at the {stage['moment']}; {layer}."
    yield from (f"  {note}" for note in estimate["notes"])


def table(head: Row, rows: Sequence[Row]) -> Iterator[str]:
    """Columns as wide as they need to be."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def difference(one: Plan, other: Plan) -> str:
    """What changes from one plan to the other; says so when nothing does."""
    lines = [*_changed_features(one, other), *_changed_flags(one, other), *_changed_patches(one, other)]
    lines += _changed_estimate(one, other)
    for name in ("optimization_level", "ranks", "problems"):
        if one[name] != other[name]:
            lines.insert(0, f"{name}: {one[name]} -> {other[name]}")
    return "\n".join(lines) or "The plans are equal."


def _changed_features(one: Plan, other: Plan) -> Iterator[str]:
    before = {feature["name"]: feature for feature in one["features"]}
    for feature in other["features"]:
        was = before.get(feature["name"])
        if was is None or was["on"] != feature["on"]:
            states = [
                "absent" if was is None else "on" if was["on"] else "off",
                "on" if feature["on"] else "off",
            ]
            yield f"feature {feature['name']}: {' -> '.join(states)} ({feature['reason']})"


def _changed_flags(one: Plan, other: Plan) -> Iterator[str]:
    before = {flag["flag"]: flag["value"] for flag in one["flags"]}
    after = {flag["flag"]: flag["value"] for flag in other["flags"]}
    for name in dict.fromkeys((*before, *after)):
        if name not in after:
            yield f"flag {name}: {before[name]} -> not given"
        elif name not in before:
            yield f"flag {name}: not given -> {after[name]}"
        elif before[name] != after[name]:
            yield f"flag {name}: {before[name]} -> {after[name]}"


def _changed_patches(one: Plan, other: Plan) -> Iterator[str]:
    before, after = ({(p["target"], p["feature"]) for p in plan["patches"]} for plan in (one, other))
    yield from (f"patch - {target} ({feature})" for target, feature in sorted(before - after))
    yield from (f"patch + {target} ({feature})" for target, feature in sorted(after - before))


def _changed_estimate(one: Plan, other: Plan) -> Iterator[str]:
    if not (one["estimate"] and other["estimate"]):
        return
    if one["estimate"]["parameters"] != other["estimate"]["parameters"]:
        yield f"parameters: {one['estimate']['parameters']:,} -> {other['estimate']['parameters']:,}"
    peaks = [max(stage["peak"] for stage in plan["estimate"]["stages"]) for plan in (one, other)]
    if peaks[0] != peaks[1]:
        yield f"largest peak of a device: {peaks[0] / 2**20:,.1f} MiB -> {peaks[1] / 2**20:,.1f} MiB"
