# SPDX-License-Identifier: Apache-2.0
"""--fsdp2-config-path: what the file says happens to units, memory and precision, and the training is the same."""

from __future__ import annotations

import functools
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import memory_cases
import pytest
import torch
import yaml
from mindspeed.adaptor import arguments, rules
from mindspeed.features.fsdp import _settings
from mindspeed.features.fsdp import fsdp2_config as feature

LAYER = "megatron.core.transformer.transformer_layer.TransformerLayer"
SETTINGS: dict[str, dict[str, Any]] = {
    "empty": {"cast_forward_inputs": True},
    "kept whole": {"reshard_after_forward": False},
    "ahead": {"num_to_forward_prefetch": 2},
    "recomputed": {"recompute_modules": [LAYER]},
    "units": {"sub_modules_to_wrap": [LAYER]},
    "bf16": {"param_dtype": "bf16", "reduce_dtype": "fp32", "output_dtype": "fp32"},
}


def run(settings: dict[str, dict[str, Any]], world: int) -> dict[str, dict[str, Any]]:
    # Of experts: their model does not share the embedding with the output, which FSDP refuses.
    layout = {"model": "moe", "world": world, "optimizer": "fsdp2", "dtype": "fp32"}
    flags = {"use_torch_fsdp2": True, "use_flash_attn": True, "num_experts": 8}
    cases = {"": memory_cases.case(flags, memory_cases.LONG | {"BATCH": 4}, **layout)}
    with tempfile.TemporaryDirectory() as folder:
        for name, given in settings.items():
            path = Path(folder) / f"{name}.yaml"
            path.write_text(yaml.safe_dump(given))
            sized = memory_cases.LONG | {"BATCH": 4}
            cases[name] = memory_cases.case(flags | {"fsdp2_config_path": str(path)}, sized, **layout)
        return memory_cases.run(cases)


@functools.cache
def found() -> dict[str, dict[str, Any]]:
    return run(SETTINGS, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["empty", "kept whole", "ahead", "recomputed", "units"])
def test_training_is_the_same(name: str) -> None:
    assert found()[name]["losses"] == found()[""]["losses"]


@pytest.mark.slow
def test_precision() -> None:
    """Parameters are gathered in bf16: the losses are others, and near."""
    assert found()["bf16"]["losses"] != found()[""]["losses"]
    assert found()["bf16"]["losses"] == pytest.approx(found()[""]["losses"], rel=1e-2)


@pytest.mark.slow
def test_memory() -> None:
    peak = {name: result["peak"] for name, result in found().items()}
    assert peak["empty"] == pytest.approx(peak[""], rel=0.01)
    assert peak["recomputed"] < 0.8 * peak[""]
    assert peak["kept whole"] > peak[""]


class Unit:
    """Of FSDP: notes which others are gathered while it computes."""

    def set_modules_to_forward_prefetch(self, others: list[Unit]) -> None:
        self.others = others


def test_units_that_are_gathered_ahead() -> None:
    sharding = feature.Sharding(
        feature.File(flag="--flag", settings=_settings.Settings(num_to_forward_prefetch=2)),
        torch.nn.Identity(),
        None,
    )
    a, b, c, model = sharding.units = [Unit() for _ in range(4)]
    sharding.prefetch()
    assert (a.others, b.others, c.others) == ([b, c], [c], [])
    assert not hasattr(model, "others")


@pytest.mark.slow
def test_shards_in_pairs_of_ranks() -> None:
    four = run({"pairs": {"sharding_size": 2}}, 4)
    assert four["pairs"]["losses"] == pytest.approx(four[""]["losses"], rel=1e-5)
    assert four["pairs"]["held"] > 1.5 * four[""]["held"]


def problems(tmp_path: Path, text: str, **given: Any) -> list[str]:
    (tmp_path / "a.yaml").write_text(text)
    _settings.read.cache_clear()
    usual = {"use_torch_fsdp2": True, "fsdp2_config_path": str(tmp_path / "a.yaml")}
    args = Namespace(**(usual | given))
    arguments.complete(args, (feature.FEATURE,))
    return list(rules.problems((feature.FEATURE,), args, 2))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("num_to_forward: 2", "sets num_to_forward, which is no setting; there are sharding_size,"),
        ("- a", "is no mapping"),
        ("a: [", "cannot be read: while parsing"),
        ("param_dtype: int8", "param_dtype is 'int8', wanted one of bf16"),
        (
            "reshard_after_forward: 1",
            "reshard_after_forward is 1, wanted true, false or a number of ranks above 1",
        ),
        ("sharding_size: 0", "sharding_size is 0, wanted a number, 1 or more"),
        ("recompute_modules: [Layer]", "recompute_modules is ['Layer'], wanted a list of classes"),
        ("pin_memory: 1", "pin_memory is 1, wanted true or false"),
        ("offload_to_cpu: true", "offload_to_cpu puts parameters where"),
    ],
)
def test_rules_of_the_file(tmp_path: Path, text: str, wanted: str) -> None:
    assert wanted in problems(tmp_path, text)[0]


def test_rules(tmp_path: Path) -> None:
    right = f"recompute_modules: [{LAYER}]\nsharding_size: null\nparam_dtype: bf16"
    assert problems(tmp_path, right) == []
    assert "needs --use-torch-fsdp2" in problems(tmp_path, right, use_torch_fsdp2=False)[0]
    assert "recomputes as well" in problems(tmp_path, right, recompute_granularity="full")[0]
    missing = problems(tmp_path, right, fsdp2_config_path=str(tmp_path / "b.yaml"))
    assert "b.yaml cannot be read" in missing[0]
