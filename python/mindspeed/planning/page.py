# SPDX-License-Identifier: Apache-2.0
"""A plan as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mindspeed.planning.plan import Plan
from mindspeed.planning.report import AMOUNTS

_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
pre, code { font-family: ui-monospace, monospace; font-size: .9em }
pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: .75rem; border: 1px solid #8886; border-radius: 6px }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 2rem }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #8884; overflow-wrap: anywhere; vertical-align: top }
tr.off { opacity: .55 } td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
.problem { border-left: 4px solid #c33; padding: .3rem .8rem; margin: .4rem 0 }
"""


def page(plan: Plan) -> str:
    versions = ", ".join(
        f"{escape(name)} {escape(found or 'not found')}" for name, found in plan["versions"].items()
    )
    parts = [
        f"<h1>Plan at level {plan['optimization_level']}</h1>",
        f"<p>{plan['ranks']} rank(s) on {plan['nodes']} node(s); {versions}</p>",
        f"<pre>{escape(plan['command'])}</pre>",
        *(f'<p class="problem">{escape(problem)}</p>' for problem in plan["problems"]),
        *(
            f'<p class="problem">{escape(flag)} is not known; the script may define it</p>'
            for flag in plan["unknown_flags"]
        ),
        _estimate(plan),
        _features(plan),
        "<h2>Flags</h2>",
        _table(("flag", "value", "of"), [(f["flag"], f["value"], f["owner"]) for f in plan["flags"]]),
        "<h2>Patches</h2>",
        _table(
            ("target", "", "feature", "versions"),
            [
                (p["target"], p["kind"], p["feature"], f"{p['distribution']} {p['versions']}")
                for p in plan["patches"]
            ],
        ),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>MindSpeed plan</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _estimate(plan: Plan) -> str:
    found = plan["estimate"]
    if not found:
        return ""
    rows = [
        (stage["stage"], f"{stage['parameters']:,}", *(f"{stage[name] / 2**20:,.1f}" for name in AMOUNTS))
        for stage in found["stages"]
    ]
    head = ("stage", "parameters", *(f"{name}, MiB" for name in AMOUNTS))
    moments = (
        f"Stage {stage['stage']} has its peak at the {stage['moment']}; a layer keeps {stage['layer'] / 2**20:,.1f} MiB "
        "for its backward pass."
        for stage in found["stages"]
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in (*moments, *found["notes"]))
    return (
        f"<h2>Memory per device</h2><p>{found['parameters']:,} parameters in all.</p>"
        + _table(head, rows, numbers=True)
        + f"<ul>{notes}</ul>"
    )


def _features(plan: Plan) -> str:
    rows = [
        f'<tr class="{"on" if f["on"] else "off"}"><td>{escape(f["name"])}</td><td>{escape(f["area"])}</td><td>{f["level"]}</td>'
        f"<td>{'on' if f['on'] else 'off'}</td><td>{escape(f['reason'])}</td><td>{escape(f['summary'])}</td></tr>"
        for f in plan["features"]
    ]
    head = "<tr><th>feature</th><th>area</th><th>level</th><th></th><th>why</th><th>what</th></tr>"
    return f"<h2>Features</h2><table>{head}{''.join(rows)}</table>"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: bool = False) -> str:
    kind = ' class="number"' if numbers else ""
    lines = ["<tr>" + "".join(f"<th{kind}>{escape(cell)}</th>" for cell in head) + "</tr>"]
    lines += [
        "<tr>" + "".join(f"<td{kind}>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    ]
    return f"<table>{''.join(lines)}</table>"
