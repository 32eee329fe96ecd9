# SPDX-License-Identifier: Apache-2.0
"""Arguments of features: in Megatron's parser, from the command line, and given by code."""

from __future__ import annotations

import difflib
import functools
import importlib
import itertools
import logging
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NoReturn

from mindspeed.adaptor import guests
from mindspeed.adaptor.errors import ConfigurationError
from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.flags import Flag
from mindspeed.adaptor.importing import module_exists
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.rules import Choice

_log = logging.getLogger("mindspeed.adaptor")
MEGATRONS_PARSER = "megatron.training.arguments"
LEVEL = Flag(
    "--optimization-level",
    "0: what Megatron needs to run on an NPU; 1: also fused operators, each can be switched off; "
    "2 (default): also the features asked for by flags.",
    type=int,
    default=int(Level.ACCELERATION),
    choices=tuple(int(level) for level in Level),
)

Provider = Callable[[ArgumentParser], ArgumentParser]


def level_of(args: Any) -> Level:
    return Level(LEVEL.value(args))


def flags_of(features: Iterable[Feature]) -> dict[str, Flag]:
    """All flags by attribute, the level first."""
    every = itertools.chain([LEVEL], itertools.chain.from_iterable(feature.flags for feature in features))
    return {flag.dest: flag for flag in every}


def add_flags(parser: ArgumentParser, features: Iterable[Feature]) -> None:
    """A group of its own per area, with what Megatron's parser of this version does not have."""
    known = parser._option_string_actions
    LEVEL.add_to(parser.add_argument_group("MindSpeed"), known)
    in_order = sorted(features, key=lambda feature: feature.area)
    for area, members in itertools.groupby(in_order, key=lambda feature: feature.area):
        flags = [flag for feature in members for flag in feature.flags]
        new = any(flag.name not in known or (flag.negative and flag.negative not in known) for flag in flags)
        group = parser.add_argument_group(f"MindSpeed, {area}") if new else parser
        for flag in flags:  # also where all are Megatron's: they may have more choices here
            flag.add_to(group, known)


def extended(provider: Provider | None, features: Iterable[Feature]) -> Provider:
    """A provider of extra arguments for Megatron's parse_args: the user's, then ours."""

    def provide(parser: ArgumentParser) -> ArgumentParser:
        if provider is not None:
            parser = provider(parser)
        guests.add_flags(parser)
        add_flags(parser, features)
        parser.error = functools.partial(_refuse_line, parser, list(features))  # type: ignore[method-assign]
        return parser

    return provide


def _refuse_line(parser: ArgumentParser, features: list[Feature], message: str) -> NoReturn:
    """argparse's error, without the usage in front of it: Megatron's has 400 lines."""
    kind, _, words = message.partition(": ")
    hints = "".join(_hints(parser, words.split())) if kind == "unrecognized arguments" else ""
    name = kind.removeprefix("argument ").partition("/")[0]
    for feature in features:
        hints += "".join(
            f" (feature {feature.name}: {flag.help})" for flag in feature.flags if flag.name == name
        )
    if name == LEVEL.name:
        hints = f" ({LEVEL.help})"
    print(f"{parser.prog}: error: {message}{hints}; --help lists the options", file=sys.stderr)
    raise SystemExit(2)


def _hints(parser: ArgumentParser, words: list[str]) -> Iterator[str]:
    """What unknown words of the command line were meant to be."""
    known = parser._option_string_actions
    for word in words:
        name = word.partition("=")[0]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.75) if name.startswith("--") else []
        if near:
            yield f"; did you mean {near[0]} for {name}?"
        before = sys.argv[sys.argv.index(word) - 1] if word in sys.argv else ""
        if not word.startswith("-") and before in known and known[before].nargs == 0:
            yield f"; {before} takes no value"


def complete(args: Namespace, features: Iterable[Feature]) -> None:
    """Fill in what a namespace lacks that no parser of ours made (from a YAML file, or by hand)."""
    for flag in flags_of(features).values():
        if not hasattr(args, flag.dest):
            setattr(args, flag.dest, flag.unset)


def parse_texts(args: Namespace, features: Iterable[Feature]) -> None:
    """What a program has set as it would be written in a command line ("0,7") becomes what the parser would have made."""
    for flag in flags_of(features).values():
        value = getattr(args, flag.dest, None)
        if isinstance(value, str) and flag.type not in (None, str) and not flag.megatron and not flag.nargs:
            setattr(args, flag.dest, flag.convert(value))


def resolve(args: Namespace, choices: Iterable[Choice]) -> None:
    """Give switches with a default by level their value."""
    for choice in choices:
        flag = choice.feature.flag
        if flag is not None and flag.negative:
            setattr(args, flag.dest, choice.on)


def changed(args: Namespace, changes: Mapping[str, Any], features: Iterable[Feature]) -> Namespace:
    """A copy with other values, converted and checked; what is no flag of ours is Megatron's and kept as given."""
    flags = flags_of(features)
    result = Namespace(**vars(args))
    wrong: list[str] = []
    for key, value in changes.items():
        name = key.lstrip("-").replace("-", "_")
        flag = flags.get(name)
        if flag is None:
            if not hasattr(args, name) and name not in _fields_of_megatron():
                _warn_if_misspelt(name, flags)
            setattr(result, name, value)
            continue
        try:
            setattr(result, name, flag.convert(value))
        except ConfigurationError as error:
            wrong.extend(error.problems)
    if wrong:
        raise ConfigurationError(wrong)
    return result


def _fields_of_megatron() -> Collection[str]:
    """What a config may have of its own, as far as Megatron is loaded."""
    module = sys.modules.get("megatron.core.transformer.transformer_config")
    return getattr(getattr(module, "TransformerConfig", None), "__dataclass_fields__", ())


def _warn_if_misspelt(name: str, flags: Mapping[str, Flag]) -> None:
    near = difflib.get_close_matches(name, flags, n=1, cutoff=0.9)
    if near:
        _log.warning("repatch: %s is no flag of MindSpeed; did you mean %s?", name, near[0])


def of_command_line(features: Iterable[Feature], *, megatron: bool = False) -> Namespace:
    """Known flags of sys.argv; with `megatron` also Megatron's own, by its own parser, where it has one."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    if megatron and (MEGATRONS_PARSER in sys.modules or module_exists(MEGATRONS_PARSER)):
        parser = _with_megatrons(parser)
    guests.add_flags(parser)
    add_flags(parser, features)
    arguments = [word for word in sys.argv[1:] if word not in ("-h", "--help")]
    return parser.parse_known_args(arguments)[0]


def _with_megatrons(parser: ArgumentParser) -> ArgumentParser:
    """Megatron's options as well, unless its scripts lack a package; programs on megatron.core alone can do without."""
    try:
        module = importlib.import_module(MEGATRONS_PARSER)
    except ImportError as error:
        _log.warning("arguments have no options of Megatron: import %s: %s", MEGATRONS_PARSER, error)
        return parser
    return module.add_megatron_arguments(parser)


def defaults(features: Iterable[Feature]) -> Namespace:
    """Our flags, as if nobody had given any."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    guests.add_flags(parser)
    add_flags(parser, features)
    return parser.parse_args([])


def refuse(parser_name: str, error: ConfigurationError) -> SystemExit:
    """What argparse does with a wrong command line."""
    print(f"{parser_name}: error: {error}", file=sys.stderr)
    return SystemExit(2)
