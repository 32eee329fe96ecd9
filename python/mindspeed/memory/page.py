# SPDX-License-Identifier: Apache-2.0
"""Timelines as one HTML page that needs nothing else: what modules hold over time as stacked areas, and the tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from html import escape

from mindspeed.memory.replay import AMOUNTS, Moment, by_module
from mindspeed.memory.report import MIB, Rank, doing, mib, notes, peak_line, rows, used

_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
pre { font-family: ui-monospace, monospace; white-space: pre-wrap; padding: .75rem; border: 1px solid #8886; border-radius: 6px }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 2rem }
th, td { text-align: right; padding: .2rem .6rem; border-bottom: 1px solid #8884; font-variant-numeric: tabular-nums }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere }
.note { border-left: 4px solid #c80; padding: .3rem .8rem }
svg { width: 100%; height: auto; border-left: 1px solid #888; border-bottom: 1px solid #888 }
svg text { font-size: 11px; fill: currentColor }
.key { display: inline-block; margin-right: 1rem } .key i { display: inline-block; width: .8em; height: .8em; margin-right: .3em }
"""
_COLOURS = (
    "#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#76b7b2", "#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#86bcb6", "#8cd17d", "#d4a6c8",
)  # fmt: skip
_REST = "#999"
WIDTH, HEIGHT = 1000, 320
Amounts = Callable[[Moment], Counter[str]]


def page(ranks: Sequence[Rank], shown: Rank, depth: int, command: str) -> str:
    parts = [
        "<h1>Memory of the devices</h1>",
        *([f"<pre>{escape(command)}</pre>"] if command else []),
        *(f'<p class="note">{escape(note)}</p>' for note in notes(ranks)),
        "<ul>" + "".join(f"<li>{escape(peak_line(rank))}</li>" for rank in ranks) + "</ul>",
        f"<h2>Rank {shown.recording.rank} over time, by module</h2>",
        f"<p>From left to right {len(shown.recording.events):,} allocations and frees in their order; upwards what is held.</p>",
        _plot(shown, lambda moment: _modules(moment, depth)),
        f"<h2>Rank {shown.recording.rank} over time, by what it is</h2>",
        _plot(shown, _kinds, order=AMOUNTS),
        f"<h2>Held at the peak, MiB</h2>{_table(shown.timeline.peak, depth)}",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>MindSpeed memory</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _modules(moment: Moment, depth: int) -> Counter[str]:
    return Counter({name: held.total() for name, held in by_module(moment.held, depth).items()})


def _kinds(moment: Moment) -> Counter[str]:
    found: Counter[str] = Counter()
    for (_, amount), size in moment.held.items():
        found[amount] += size
    return found


def _plot(rank: Rank, amounts: Amounts, order: Sequence[str] = ()) -> str:
    """Stacked areas: those with most at some moment by themselves, the rest as one on top. A title tells each area's name."""
    moments = rank.timeline.moments
    series = [amounts(moment) for moment in moments]
    most: Counter[str] = Counter()
    for held in series:
        most |= held
    names = [name for name in order if most[name]] or [name for name, _ in most.most_common(len(_COLOURS))]
    stacks = [[held[name] for held in series] for name in names]
    rest = [held.total() - sum(held[name] for name in names) for held in series]
    colours = [*_COLOURS[: len(names)], _REST]
    if any(rest):
        names, stacks = [*names, "all else"], [*stacks, rest]
    return _key(names, colours) + _areas(rank, names, stacks, colours)


def _key(names: Sequence[str], colours: Sequence[str]) -> str:
    return "<p>" + "".join(
        f'<span class="key"><i style="background:{colour}"></i>{escape(name)}</span>'
        for name, colour in zip(names, colours, strict=False)
    ) + "</p>"  # fmt: skip


def _areas(rank: Rank, names: Sequence[str], stacks: Sequence[Sequence[int]], colours: Sequence[str]) -> str:
    moments, peak = rank.timeline.moments, rank.timeline.peak
    last, highest = len(rank.recording.events), max(peak.total, 1)
    across = [moment.event / last * WIDTH for moment in moments]
    below = [0] * len(moments)
    parts = []
    for name, stack, colour in zip(names, stacks, colours, strict=False):
        above = [low + size for low, size in zip(below, stack, strict=True)]
        upper = _corners(across, above, highest)
        lower = _corners(across, below, highest)[::-1]
        parts.append(
            f'<polygon fill="{colour}" points="{" ".join(upper + lower)}"><title>{escape(name)}</title></polygon>'
        )
        below = above
    for number, event in enumerate(rank.timeline.steps, 1):
        end = event / last * WIDTH
        parts += [
            f'<line x1="{end:.1f}" x2="{end:.1f}" y1="16" y2="{HEIGHT}" stroke="currentColor" stroke-opacity=".4"/>',
            f'<text x="{end - 3:.1f}" y="{HEIGHT - 4}" text-anchor="end">step {number}</text>',
        ]
    x = peak.event / last * WIDTH
    side = "end" if x > WIDTH / 2 else "start"
    told = f"{mib(peak.total)} MiB: step {peak.step}, {doing(peak)}"
    parts += [
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="16" y2="{HEIGHT}" stroke="currentColor" stroke-dasharray="3 3"/>',
        f'<text x="{x:.1f}" y="11" text-anchor="{side}">{escape(told)}</text>',
    ]
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(parts)}</svg>'


def _corners(across: Sequence[float], heights: Sequence[int], highest: int) -> list[str]:
    """As steps: what is held stays until the next moment."""
    found = []
    for index, (x, height) in enumerate(zip(across, heights, strict=True)):
        y = HEIGHT - height / highest * (HEIGHT - 16)
        found.append(f"{x:.1f},{y:.1f}")
        found.append(f"{across[index + 1] if index + 1 < len(across) else WIDTH:.1f},{y:.1f}")
    return found


def _table(peak: Moment, depth: int) -> str:
    amounts = used(peak)
    head = "".join(f"<th>{escape(name)}</th>" for name in ("module", "all", *amounts))
    body = "".join(
        f"<tr><td>{escape(name)}</td><td>{mib(held.total())}</td>"
        + "".join(f"<td>{held[amount] / MIB:,.1f}</td>" for amount in amounts)
        + "</tr>"
        for name, held in rows(peak, depth)
    )
    return f"<table><tr>{head}</tr>{body}</table>"
