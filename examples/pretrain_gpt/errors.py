# SPDX-License-Identifier: Apache-2.0
"""Errors that the user can do something about: printed as one line, without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Wrong options, data or checkpoint. The text says what was found and what was wanted."""


class SharedError(UserError):
    """A UserError that every rank raises: the first one prints it."""


def require(condition: bool, option: str, value: object, wanted: str) -> None:
    if not condition:
        raise UserError(f"--{option} is {value}, wanted {wanted}")
