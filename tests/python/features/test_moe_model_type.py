# SPDX-License-Identifier: Apache-2.0
"""--moe-model-type: Megatron's experts are what there is; another kind is refused."""

from __future__ import annotations

from argparse import Namespace

import pytest
from mindspeed.adaptor import ConfigurationError, Level, rules
from mindspeed.features.moe import model_type as feature


@pytest.mark.parametrize(("value", "count"), [("megatron_moe", 0), (None, 0), ("deepspeed_moe", 1)])
def test_only_megatrons_is_there(value: str | None, count: int) -> None:
    found = rules.problems([feature.FEATURE], Namespace(moe_model_type=value), Level.COMPATIBILITY)
    assert len(found) == count
    assert all("give megatron_moe, or leave the flag out" in sentence for sentence in found)


def test_other_words_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="wanted one of megatron_moe, deepspeed_moe"):
        feature.FEATURE.flags[0].convert("tutel")
