# SPDX-License-Identifier: Apache-2.0
"""What Megatron and the features make of a command: its own parser and its own validation are asked."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mindspeed.adaptor import arguments, rules, session
from mindspeed.adaptor.discovery import all_features
from mindspeed.adaptor.errors import ConfigurationError, PatchError
from mindspeed.adaptor.importing import module_exists
from mindspeed.planning.launch import CommandError, Launch


@dataclass(frozen=True, slots=True, kw_only=True)
class Understanding:
    """args after validation as far as it came; given are the flags of the command, unknown what no parser knows."""

    args: Namespace
    given: tuple[str, ...]
    unknown: tuple[str, ...]
    problems: tuple[str, ...]
    choices: tuple[rules.Choice, ...]


def understand(launch: Launch, level: int | None = None, megatron: str | None = None) -> Understanding:
    """Imports Megatron, so it is for a process of its own. Nothing of the script is run."""
    _find_megatron(launch, megatron)
    words = [*launch.words, *(("--optimization-level", str(level)) if level is not None else ())]
    with _as_first_rank(launch, words), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Megatron's, about packages of NVIDIA
        session.start()
        module = importlib.import_module(arguments.MEGATRONS_PARSER)
        parser = module.add_megatron_arguments(ArgumentParser(prog=launch.script, allow_abbrev=False))
        arguments.add_flags(parser, all_features())
        args, unknown = parser.parse_known_args(words)
        args.rank, args.world_size = 0, launch.ranks
        problems = _validate(module, args)
    options = parser._option_string_actions
    return Understanding(
        args=args,
        given=tuple(word.partition("=")[0] for word in words if word.partition("=")[0] in options),
        unknown=tuple(word for word in unknown if word.startswith("--")),
        problems=tuple(problems),
        choices=tuple(rules.choose(all_features(), args, arguments.level_of(args))),
    )


def _validate(module: Any, args: Namespace) -> list[str]:
    """Everything that the rules find; else what Megatron's validation, or a target that is missing, says."""
    wrong = rules.problems(all_features(), args, arguments.level_of(args))
    if wrong:
        return wrong
    try:
        module.validate_args(args)
    except ConfigurationError as error:
        return list(error.problems)
    except PatchError as error:
        return [str(error)]
    except (AssertionError, ValueError, RuntimeError, AttributeError, TypeError, ZeroDivisionError) as error:
        return [f"Megatron refuses the arguments: {error or type(error).__name__}"]
    return []


def _find_megatron(launch: Launch, megatron: str | None) -> None:
    """As Python does for a script: its folder first, then PYTHONPATH."""
    folders = [megatron] if megatron else [str(Path(launch.script).resolve().parent)]
    folders += launch.environment.get("PYTHONPATH", "").split(os.pathsep)
    for folder in reversed([folder for folder in folders if folder]):
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    if not module_exists(arguments.MEGATRONS_PARSER):
        raise CommandError(
            f"no megatron/training beside {launch.script} or on PYTHONPATH: "
            "give the checkout of Megatron-LM with --megatron DIR"
        )


@contextlib.contextmanager
def _as_first_rank(launch: Launch, words: list[str]) -> Iterator[None]:
    """Megatron reads these while it parses and validates."""
    kept_argv, kept = sys.argv, dict(os.environ)
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": str(launch.ranks)}
    os.environ.update({**launch.environment, **ranks})
    sys.argv = [launch.script, *words]
    try:
        yield
    finally:
        sys.argv = kept_argv
        os.environ.clear()
        os.environ.update(kept)
