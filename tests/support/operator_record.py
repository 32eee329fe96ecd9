# SPDX-License-Identifier: Apache-2.0
"""Which operator computed which element type in which test file: the source of docs/operators.md.

On with MINDSPEED_OPERATOR_RECORD=file.json; a worker of pytest-xdist writes file.<its name>.json. Only calls that succeed count, and none of tests that draw their inputs:
the record has to be the same on every run.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hypothesis import currently_in_test_context

VARIABLE = "MINDSPEED_OPERATOR_RECORD"
_types: dict[str, set[str]] = defaultdict(set)
_tests: dict[str, set[str]] = defaultdict(set)


def _first_type(arguments: tuple[Any, ...]) -> str | None:
    for argument in arguments:
        first = argument[0] if isinstance(argument, (list, tuple)) and argument else argument
        if isinstance(first, torch.Tensor):
            return str(first.dtype).removeprefix("torch.")
    return None


def recording(call: Callable[..., Any]) -> Callable[..., Any]:
    """aclnn.call that remembers."""

    def recorded(name: str, *args: Any, **kwargs: Any) -> Any:
        result = call(name, *args, **kwargs)
        if currently_in_test_context():
            return result
        found = _first_type(args)
        if found is not None:
            _types[name].add(found)
        _tests[name].add(os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0])
        return result

    return recorded


def save(worker: str | None) -> None:
    record = {
        n: {"types": sorted(_types[n]), "tests": sorted(t for t in _tests[n] if t)} for n in sorted(_tests)
    }
    path = Path(os.environ[VARIABLE])
    if worker:
        path = path.with_suffix(f".{worker}.json")
    path.write_text(json.dumps(record, indent=1), encoding="utf-8")
