# SPDX-License-Identifier: Apache-2.0
"""Features of this package as objects, for projects that drive a feature by itself."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from mindspeed.adaptor import ConfigurationError, Feature, rules, session
from mindspeed.adaptor.arguments import level_of
from mindspeed.features_manager.feature import MindSpeedFeature

if TYPE_CHECKING:
    from mindspeed.patch_utils import MindSpeedPatchesManager

__all__ = ["OwnFeature"]


class OwnFeature(MindSpeedFeature):
    """Its flags are in Megatron's parser already, and its patches come and go with the arguments."""

    def __init__(self, feature: Feature) -> None:
        assert feature.flag is not None
        super().__init__(feature.flag.name.lstrip("-"), int(feature.level))
        self._feature = feature

    def validate_args(self, args: Namespace) -> None:
        wrong = rules.problems([self._feature], args, level_of(args))
        if wrong:
            raise ConfigurationError(wrong)

    def register_patches(self, patch_manager: type[MindSpeedPatchesManager], args: Namespace) -> None:
        """As repatch() with what `args` says of the feature and of what it needs."""
        if not getattr(args, self.feature_name, None) or session.is_on(self._feature.name):
            return
        needed = [need.flag.split()[0].lstrip("-").replace("-", "_") for need in self._feature.needs]
        names = [*(flag.dest for flag in self._feature.flags), *needed]
        session.repatch({name: getattr(args, name) for name in names if hasattr(args, name)})
