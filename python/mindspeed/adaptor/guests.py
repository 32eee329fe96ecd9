# SPDX-License-Identifier: Apache-2.0
"""Features that other projects wrote: called where those of this package take effect."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Protocol


class Guest(Protocol):
    """What somebody else's set of features does at each point."""

    def add_flags(self, parser: ArgumentParser) -> None:
        """Before ours: an option of theirs that we have as well is theirs."""

    def before_validation(self, args: Namespace) -> None: ...

    def after_validation(self, args: Namespace) -> None: ...

    def repatch(self, arguments: Callable[[], Namespace]) -> None:
        """The arguments are others now; they are made when they are asked for."""


_guests: list[Guest] = []


def invite(guest: Guest) -> None:
    _guests.append(guest)


def add_flags(parser: ArgumentParser) -> None:
    for guest in _guests:
        guest.add_flags(parser)


def before_validation(args: Namespace) -> None:
    for guest in _guests:
        guest.before_validation(args)


def after_validation(args: Namespace) -> None:
    for guest in _guests:
        guest.after_validation(args)


def repatch(arguments: Callable[[], Namespace]) -> None:
    for guest in _guests:
        guest.repatch(arguments)
