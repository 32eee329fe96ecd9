# SPDX-License-Identifier: Apache-2.0
"""--aiqos and each of its flags are refused, and what is left out is named."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import pytest
from mindspeed.adaptor import arguments, rules
from mindspeed.adaptor.discovery import all_features

FEATURES = tuple(f for f in all_features() if f.name == "aiqos")


def problems(level: int, **given: Any) -> list[str]:
    args = Namespace(**given)
    arguments.complete(args, FEATURES)
    return list(rules.problems(FEATURES, args, level))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"aiqos": True}, "leave out --aiqos"),
        ({"aiqos": True, "aiqos_mode": "manual", "aiqos_schedule": "{tp:high}"}, "leave out --aiqos"),
        ({"aiqos_schedule": "{tp:high}"}, "leave out --aiqos-schedule"),
        ({"aiqos_mode": "manual", "aiqos_enable_roce": True}, "leave out --aiqos-mode, --aiqos-enable-roce"),
    ],
)
def test_it_is_refused(given: dict[str, Any], named: str) -> None:
    (sentence,) = problems(2, **given)
    assert "the switch between NPUs (UB), and collectives here pass none" in sentence
    assert sentence.endswith(named)


def test_without_the_flags_nothing_is_said() -> None:
    assert problems(2) == [] == problems(0)


def test_below_its_level_it_is_refused_too() -> None:
    assert "belongs to level 2" in problems(1, aiqos=True)[0]
