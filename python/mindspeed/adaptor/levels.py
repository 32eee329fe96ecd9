# SPDX-License-Identifier: Apache-2.0
"""The optimisation levels of MindSpeed."""

from __future__ import annotations

import enum


class Level(enum.IntEnum):
    """A level includes the ones below it."""

    COMPATIBILITY = 0
    AFFINITY = 1
    ACCELERATION = 2
