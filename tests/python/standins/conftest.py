# SPDX-License-Identifier: Apache-2.0
"""The stand-ins can be imported in these tests, and are gone afterwards."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder

import pytest
from mindspeed.adaptor import session
from mindspeed.standins.finder import STAND_INS, StandInFinder


@pytest.fixture
def no_triton():
    """Skips where the real one is installed, which wins and can be imported once a process only."""
    if PathFinder.find_spec("triton") is not None:
        pytest.skip("the real Triton is installed")


@pytest.fixture
def standins():
    """As the feature does it, without the rest of the adaptor."""
    session.revert()
    # Real packages of the machine stay: an extension module can be imported once a process.
    names = {name for name in STAND_INS if PathFinder.find_spec(name) is None}
    kept = {n: sys.modules.pop(n) for n in list(sys.modules) if n.partition(".")[0] in names}
    finder = StandInFinder()
    finder.install()
    yield finder
    finder.remove()
    for name in [n for n in sys.modules if n.partition(".")[0] in names]:
        del sys.modules[name]
    sys.modules.update(kept)
