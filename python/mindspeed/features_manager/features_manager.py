# SPDX-License-Identifier: Apache-2.0
"""Features that other projects write, called where those of this package take effect.

Their flags are options of Megatron's parser, their checks run around Megatron's, and their patches are registered when
mindspeed.megatron_adaptor is imported and again with every repatch().
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable

from mindspeed.adaptor import guests, session
from mindspeed.features_manager.feature import MindSpeedFeature
from mindspeed.patch_utils import MindSpeedPatchesManager

__all__ = ["MindSpeedFeaturesManager"]


class MindSpeedFeaturesManager:
    """All methods belong to the class: there is one list in a process."""

    FEATURES_LIST: list[MindSpeedFeature] = []  # noqa: RUF012  (the interface is the class itself)

    @classmethod
    def set_features_list(cls, features_list: Iterable[MindSpeedFeature]) -> None:
        cls.FEATURES_LIST[:] = features_list
        session.add_missing_arguments()

    @classmethod
    def register_features_args(cls, parser: ArgumentParser) -> None:
        for feature in cls.FEATURES_LIST:
            feature.register_args(parser)

    @classmethod
    def apply_features_pre_patches(cls, mindspeed_args: Namespace) -> None:
        for feature in cls._wanted(mindspeed_args):
            feature.pre_register_patches(MindSpeedPatchesManager, mindspeed_args)
        MindSpeedPatchesManager.apply_patches()

    @classmethod
    def apply_features_patches(cls, mindspeed_args: Namespace) -> None:
        for feature in cls._wanted(mindspeed_args):
            feature.register_patches(MindSpeedPatchesManager, mindspeed_args)
        MindSpeedPatchesManager.apply_patches()

    @classmethod
    def pre_validate_features_args(cls, args: Namespace) -> None:
        for feature in cls.FEATURES_LIST:
            feature.pre_validate_args(args)

    @classmethod
    def post_validate_features_args(cls, args: Namespace) -> None:
        for feature in cls.FEATURES_LIST:
            feature.post_validate_args(args)

    @classmethod
    def validate_features_args(cls, args: Namespace) -> None:
        for feature in cls.FEATURES_LIST:
            feature.validate_args(args)

    @classmethod
    def remove_patches(cls) -> None:
        MindSpeedPatchesManager.remove_patches()

    @classmethod
    def _wanted(cls, args: Namespace) -> list[MindSpeedFeature]:
        return [feature for feature in cls.FEATURES_LIST if feature.is_need_apply(args)]


class _Guest:
    """The list, where the adaptor calls it."""

    def add_flags(self, parser: ArgumentParser) -> None:
        MindSpeedFeaturesManager.register_features_args(parser)

    def before_validation(self, args: Namespace) -> None:
        MindSpeedFeaturesManager.pre_validate_features_args(args)

    def after_validation(self, args: Namespace) -> None:
        MindSpeedFeaturesManager.post_validate_features_args(args)
        MindSpeedFeaturesManager.validate_features_args(args)

    def repatch(self, arguments: Callable[[], Namespace]) -> None:
        """Without features nothing is touched: patches that were registered by hand stay."""
        if not MindSpeedFeaturesManager.FEATURES_LIST:
            return
        MindSpeedFeaturesManager.remove_patches()
        args = arguments()
        MindSpeedFeaturesManager.apply_features_pre_patches(args)
        MindSpeedFeaturesManager.apply_features_patches(args)


guests.invite(_Guest())
