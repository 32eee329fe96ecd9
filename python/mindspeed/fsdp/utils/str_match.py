# SPDX-License-Identifier: Apache-2.0
"""Patterns of module names: "model.layers.{0-3}.mlp.*"."""

from __future__ import annotations

import functools
import re

__all__ = ["module_name_match", "replace_first_segment_numbers"]

# A piece of a pattern: {0-3}, {*}, * or ?
_PIECE = re.compile(r"\{([^}]*)\}|\*|\?")
_RANGE = re.compile(r"(\d+)-(\d+)")


def replace_first_segment_numbers(module_name: str) -> str:
    """'layers.0.experts.1' -> 'layers.*.experts.1': numbers of the first segment that has any."""
    parts = module_name.split(".")
    for i, part in enumerate(parts):
        if re.search(r"\d", part):
            parts[i] = re.sub(r"\d+", "*", part)
            break
    return ".".join(parts)


def module_name_match(pattern: str, string: str) -> bool:
    """Whether a name fits a pattern: {a-b} is a number of a range, {*} any number, * any text, ? one character."""
    expression, bounds = _compiled(pattern)
    found = expression.fullmatch(string)
    if found is None:
        return False
    pairs = zip(found.groups(), bounds, strict=True)
    return all(bound is None or bound[0] <= int(number) <= bound[1] for number, bound in pairs)


@functools.lru_cache(1024)
def _compiled(pattern: str) -> tuple[re.Pattern[str], list[tuple[int, int] | None]]:
    """The expression, and the range of each of its numbers; None is no range."""
    text, end = "", 0
    bounds: list[tuple[int, int] | None] = []
    for piece in _PIECE.finditer(pattern):
        text += re.escape(pattern[end : piece.start()])
        end = piece.end()
        if piece.group(1) is None:
            text += ".*" if piece.group() == "*" else "."
        else:
            text += r"(\d+)"
            bounds.append(_bound(pattern, piece.group(1)))
    return re.compile(text + re.escape(pattern[end:]), re.DOTALL), bounds


def _bound(pattern: str, inner: str) -> tuple[int, int] | None:
    if inner == "*":
        return None
    found = _RANGE.fullmatch(inner)
    if found is None or int(found.group(1)) > int(found.group(2)):
        raise ValueError(f"pattern {pattern!r}: {{{inner}}} is neither {{*}} nor a range like {{0-3}}")
    return int(found.group(1)), int(found.group(2))
