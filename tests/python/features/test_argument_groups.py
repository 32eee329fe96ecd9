# SPDX-License-Identifier: Apache-2.0
"""Options that Megatron makes of a config's fields are those of the fields that it declares."""

from __future__ import annotations

import dataclasses

from mindspeed.features.compatibility import argument_groups, config_fields


@dataclasses.dataclass
class Config:
    layers: int = 1
    sparse_mode: int = 0  # ours as well, but here Megatron's


@dataclasses.dataclass
class Other(Config):
    rank: int = 2


class Factory:
    """As Megatron's, which leaves out what it is told to."""

    def __init__(self, src_cfg_class: type, exclude: list[str] | None = None) -> None:
        self.names = [f.name for f in dataclasses.fields(src_cfg_class) if f.name not in set(exclude or ())]


def test_fields_of_features_make_no_options(monkeypatch) -> None:
    for cls in (Config, Other):
        fields = config_fields.with_our_fields(cls.__dataclass_fields__)
        monkeypatch.setattr(cls, "__dataclass_fields__", fields)
    monkeypatch.setattr(Factory, "__init__", argument_groups.without_our_fields(Factory.__init__))
    assert "swap_optimizer" in Config.__dataclass_fields__ and "sparse_mode" in config_fields.our_fields()
    assert Factory(Config).names == ["layers", "sparse_mode"]
    assert Factory(Other, exclude=["layers"]).names == ["sparse_mode", "rank"]
