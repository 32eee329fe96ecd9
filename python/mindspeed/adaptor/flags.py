# SPDX-License-Identifier: Apache-2.0
"""Flags of features: declared once, given to Megatron's parser, to `repatch` and to the configs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from mindspeed.adaptor.errors import ConfigurationError

_WORDS = {"true": True, "false": False}
# Of options that a parser had before us, as a newer Megatron has some of ours: what they are when not given, by attribute.
_defaults_of_others: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Flag:
    """One command-line option.

    name      as written, "--reuse-fp32-param"; the attribute is reuse_fp32_param.
    type      from text to value; None is a switch, which takes no value.
    default   of a switch: False, or None if it has a `negative`, which means "as the level says".
    negative  the option that switches off what a level switches on: "--no-fused-swiglu".
    adds      choices that Megatron's option of this name does not have.
    megatron  Megatron has the option too: its meaning at a lower level is Megatron's.
    in_config whether configs (TransformerConfig and its subclasses) have it as a field.
    """

    name: str
    help: str
    _: KW_ONLY
    type: Callable[[str], Any] | None = None
    default: Any = None
    choices: tuple[Any, ...] | None = None
    adds: tuple[Any, ...] = ()
    nargs: int | str | None = None
    metavar: str | None = None
    negative: str = ""
    megatron: bool = False
    in_config: bool = True

    @property
    def dest(self) -> str:
        return self.name.lstrip("-").replace("-", "_")

    @property
    def is_switch(self) -> bool:
        return self.type is None

    @property
    def unset(self) -> Any:
        """The value that says that nobody gave the flag."""
        return False if self.is_switch and not self.negative and self.default is None else self.default

    @property
    def spelling(self) -> str:
        """For messages and tables: "--a / --no-a", "--b {x,y}"."""
        if self.is_switch:
            return f"{self.name} / {self.negative}" if self.negative else self.name
        if self.choices or self.adds:
            return f"{self.name} {{{','.join(map(str, self.choices or self.adds))}}}"
        return f"{self.name} {self.metavar or self.dest.upper()}"

    def value(self, args: object) -> Any:
        return getattr(args, self.dest, self.unset)

    def is_given(self, args: object) -> bool:
        """Whether the value asks for something; switching off what is off does not."""
        value = self.value(args)
        unset = (self.unset, _defaults_of_others.get(self.dest, self.unset))
        return value not in unset and value is not False

    def add_to(self, group: argparse._ActionsContainer, known: Mapping[str, Any]) -> None:
        """Declare the option unless the parser has it (`known`: its options by name)."""
        if not self.megatron and not self.adds:
            self._note_default_of_others(known)
        if self.name in known and self.negative:
            known[self.name].default = self.unset  # not given is not switched off: the level decides
        elif self.name in known and self.adds:
            self._add_choices(known[self.name])
        if self.name not in known:
            if self.is_switch:
                group.add_argument(self.name, action="store_true", default=self.unset, help=self.help)
            else:
                assert self.type is not None
                group.add_argument(
                    self.name, type=self.type, default=self.default, choices=self.choices, nargs=self.nargs,
                    metavar=self.metavar, help=self.help,
                )  # fmt: skip
        if self.negative and self.negative not in known:
            group.add_argument(
                self.negative,
                dest=self.dest,
                action="store_false",
                default=self.unset,
                help=argparse.SUPPRESS,
            )

    def _note_default_of_others(self, known: Mapping[str, Any]) -> None:
        for name in (self.name, self.negative):
            if name in known and known[name].dest == self.dest:
                _defaults_of_others[self.dest] = known[name].default

    def _add_choices(self, action: argparse.Action) -> None:
        if action.choices is not None:
            action.choices = [
                *action.choices,
                *(choice for choice in self.adds if choice not in action.choices),
            ]

    def convert(self, value: Any) -> Any:
        """A value given by code, as the parser would have it; raises ConfigurationError for another one."""
        if value == self.unset and type(value) is type(self.unset):
            return value
        if self.is_switch:
            return self._boolean(value)
        if self.nargs is None and isinstance(value, str):
            value = self._parsed(value)
        elif (self.type is int and type(value) is not int) or (self.type is float and not _is_number(value)):
            raise self._refused(value)
        if self.choices is not None and value not in self.choices:
            raise self._refused(value)
        return value

    def _boolean(self, value: Any) -> bool | None:
        if isinstance(value, str):
            value = _WORDS.get(value.lower(), value)
        if isinstance(value, bool) or (value is None and self.negative):
            return value
        raise self._refused(value)

    def _parsed(self, text: str) -> Any:
        assert self.type is not None
        try:
            return self.type(text)
        except (TypeError, ValueError, argparse.ArgumentTypeError) as error:
            raise self._refused(text) from error

    def _refused(self, value: Any) -> ConfigurationError:
        if self.is_switch:
            wanted = "True or False"
        elif self.choices:
            wanted = "one of " + ", ".join(map(str, self.choices))
        else:
            wanted = getattr(self.type, "__name__", "another type")
        return ConfigurationError([f"{self.dest}={value!r} ({self.name}): wanted {wanted}"])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
