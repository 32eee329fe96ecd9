# SPDX-License-Identifier: Apache-2.0
"""--reuse-fp32-param as an object, under the name that other projects import."""

from mindspeed.features.memory.reuse_fp32_param import FEATURE
from mindspeed.features_manager.own import OwnFeature

__all__ = ["ReuseFP32Param"]


class ReuseFP32Param(OwnFeature):
    def __init__(self) -> None:
        super().__init__(FEATURE)
