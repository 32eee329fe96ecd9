# SPDX-License-Identifier: Apache-2.0
"""Errors of the adaptor."""

from __future__ import annotations

from collections.abc import Sequence


class PatchError(RuntimeError):
    """A patch cannot be applied or undone.

    Not an ImportError on purpose: Megatron probes optional packages with `except ImportError`, which
    would swallow a patch that failed while one of its modules was imported.
    """


class ImportOrderError(PatchError):
    """Something was imported before the adaptor and holds references that cannot be replaced."""


class VersionError(ImportError):
    """A framework is missing, or two of them do not fit each other."""


class VersionWarning(UserWarning):
    """A framework has a version that this release was not tested with."""


class ConfigurationError(ValueError):
    """Arguments that cannot work together, found before anything was patched. `problems` has a sentence for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "; ".join(self.problems) if len(self.problems) < 2 else "\n  - ".join(("", *self.problems))
        )

    def __reduce__(self) -> tuple[type[ConfigurationError], tuple[Sequence[str]]]:
        """It comes back whole from another process."""
        return type(self), (self.problems,)
