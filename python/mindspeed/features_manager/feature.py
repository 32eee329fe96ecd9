# SPDX-License-Identifier: Apache-2.0
"""The base class of features that other projects write."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mindspeed.patch_utils import MindSpeedPatchesManager

__all__ = ["MindSpeedFeature"]


class MindSpeedFeature:
    """A subclass registers its flags and patches; MindSpeedFeaturesManager calls it.

    The feature is on when the argument of its name is true and its level is active; at level 0 always.
    """

    def __init__(self, feature_name: str, optimization_level: int = 2) -> None:
        self.feature_name = feature_name.strip().lower().replace("-", "_")
        self.optimization_level = optimization_level
        self.default_patches = optimization_level == 0

    def is_need_apply(self, args: Namespace) -> Any:
        """Whether its patches are wanted."""
        if self.default_patches:
            return True
        return self.optimization_level <= args.optimization_level and getattr(args, self.feature_name, None)

    def register_args(self, parser: ArgumentParser) -> None:
        """Add options to Megatron's parser."""

    def pre_validate_args(self, args: Namespace) -> None:
        """Before Megatron validates: set aside what it would refuse."""

    def post_validate_args(self, args: Namespace) -> None:
        """After Megatron has validated: put back what was set aside."""

    def validate_args(self, args: Namespace) -> None:
        """Last: raise for arguments that cannot be used."""

    def pre_register_patches(self, patch_manager: type[MindSpeedPatchesManager], args: Namespace) -> None:
        """Patches of what Megatron imports; in effect before those of any feature are registered."""

    def register_patches(self, patch_manager: type[MindSpeedPatchesManager], args: Namespace) -> None:
        """Patches of Megatron."""

    def incompatible_check(self, global_args: Namespace, check_args: str) -> None:
        if self._is_given(global_args) and getattr(global_args, check_args, None):
            raise AssertionError(
                f"{self._option} and {_option(check_args)} exclude each other: leave one of them out"
            )

    def dependency_check(self, global_args: Namespace, check_args: str) -> None:
        if self._is_given(global_args) and not getattr(global_args, check_args, None):
            raise AssertionError(f"{self._option} needs {_option(check_args)}: give it as well")

    @staticmethod
    def add_parser_argument_choices_value(
        parser: ArgumentParser, argument_name: str, new_choice: Any
    ) -> None:
        """One more choice of an option that has choices already."""
        action = parser._option_string_actions.get(argument_name)
        if action is not None and action.choices is not None and new_choice not in action.choices:
            action.choices = [*action.choices, new_choice]

    def _is_given(self, args: Namespace) -> Any:
        return getattr(args, self.feature_name, None)

    @property
    def _option(self) -> str:
        return _option(self.feature_name)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
