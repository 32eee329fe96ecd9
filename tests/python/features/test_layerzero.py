# SPDX-License-Identifier: Apache-2.0
"""--layerzero: the training is that of plain data parallelism, and a rank holds less the more ranks share."""

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
from mindspeed.features.fsdp import _layers
from mindspeed.features.fsdp import layerzero as feature
from mindspeed.features.fsdp.fsdp2_config import File, Sharding

LAYER = "megatron.core.transformer.transformer_layer.TransformerLayer"


@functools.cache
def found(world: int, sizes: tuple[int, ...], goes_on: bool = False) -> dict[str, dict[str, Any]]:
    """By zero3_size; 0 is plain data parallelism. With `goes_on` also the first half of size 2, saved, and the second half from
    there with each of `sizes`."""
    layout = {"model": "dense", "world": world, "dtype": "fp32", "untied": True}
    flags = {"use_flash_attn": True, "gradient_accumulation_fusion": False}
    sized = memory_cases.LONG | {"BATCH": 4}
    cases = {"0": memory_cases.case(flags, sized, optimizer="plain", **layout)}
    wanted: tuple[tuple[str, int, dict[str, str]], ...] = tuple((str(size), size, {}) for size in sizes)
    if goes_on:
        wanted += (("saved", 2, {"save": "groups"}),)
        wanted += tuple((f"loaded {size}", size, {"load": "groups"}) for size in sizes)
    with tempfile.TemporaryDirectory() as folder:
        for name, size, files in wanted:
            path = Path(folder) / f"{size}.yaml"
            path.write_text(yaml.safe_dump({"zero3_size": size, "transformer_layers": [LAYER]}))
            given = {
                "layerzero": True,
                "layerzero_config": str(path),
                "untie_embeddings_and_output_weights": True,
            }
            cases[name] = memory_cases.case(flags | given, sized, optimizer="fsdp2", **files, **layout)
        return memory_cases.run(cases)


def compare(results: dict[str, dict[str, Any]]) -> None:
    plain = results["0"]
    for name, result in results.items():
        steps = len(result["losses"])
        part = slice(-steps, None) if name.startswith("loaded") else slice(steps)
        assert result["losses"] == pytest.approx(plain["losses"][part], rel=1e-5), name
        assert result["norms"] == pytest.approx(plain["norms"][part], rel=1e-4), name


@pytest.mark.slow
def test_training_and_memory_of_two_ranks() -> None:
    results = found(2, (8,))  # more than there are: all
    compare(results)
    assert results["8"]["held"] < 0.6 * results["0"]["held"]


@pytest.mark.slow
def test_training_and_memory_of_four_ranks() -> None:
    """A checkpoint of two groups goes on in groups of other sizes, too."""
    results = found(4, (1, 2, 4), goes_on=True)
    compare(results)
    held = {name: result["held"] for name, result in results.items()}
    assert held["2"] < 0.6 * held["1"] and held["4"] < 0.6 * held["2"] and held["4"] < 0.3 * held["0"], held
    assert len(results["loaded 4"]["losses"]) < len(results["0"]["losses"])


def problems(tmp_path: Path, text: str, **given: Any) -> list[str]:
    (tmp_path / "a.yaml").write_text(text)
    _layers.given.cache_clear()
    usual = {
        "layerzero": True,
        "layerzero_config": str(tmp_path / "a.yaml"),
        "untie_embeddings_and_output_weights": True,
    }
    args = Namespace(**(usual | given))
    arguments.complete(args, (feature.FEATURE,))
    return list(rules.problems((feature.FEATURE,), args, 2))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("zero_size: 2", "sets zero_size, which is no setting; there are zero3_size,"),
        ("zero3_size: 0", "zero3_size is 0, wanted a number of ranks, 1 or more"),
        ("zero3_size: null", "zero3_size is None, wanted a number of ranks"),
        ("- a", "is no mapping"),
        ("a: [", "cannot be read: while parsing"),
        ("transformer_layers: [Layer]", "wanted a list of classes"),
        ("ignored_modules: vae", "wanted a list of attributes of the model"),
        ("offload_grads: true", "offload_grads is True, wanted False, which is all that there is"),
        ("backward_prefetch: BACKWARD_POST", "wanted 'BACKWARD_PRE', which is all"),
        ("ckpt_load_path: here", "ckpt_load_path is 'here', wanted an absolute path"),
        ("reduce_dtype: int8", "reduce_dtype is 'int8', wanted one of fp16, bf16, fp32"),
        ("param_dtype: fp16", "param_dtype is fp16, and the training is in fp32; give --fp16"),
    ],
)
def test_rules_of_the_file(tmp_path: Path, text: str, wanted: str) -> None:
    assert wanted in problems(tmp_path, text)[0]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"layerzero_config": None}, "give --layerzero-config FILE"),
        ({"untie_embeddings_and_output_weights": False}, "needs --untie-embeddings-and-output-weights"),
        ({"pipeline_model_parallel_size": 2}, "--pipeline-model-parallel-size 2: stages"),
        ({"expert_model_parallel_size": 2}, "--expert-model-parallel-size 2: experts"),
        ({"gradient_accumulation_fusion": True}, "give --no-gradient-accumulation-fusion"),
        ({"overlap_grad_reduce": True}, "leave out --overlap-grad-reduce"),
        ({"use_custom_fsdp": True}, "both shard the parameters"),
        ({"ckpt_format": "torch"}, "--ckpt-format torch does not know shards"),
        ({"tensor_model_parallel_size": 3}, "wanted a multiple of 3 tensor-parallel ranks"),
        ({"layerzero_config": "/missing.yaml"}, "/missing.yaml cannot be read"),
    ],
)
def test_rules(tmp_path: Path, given: dict[str, Any], wanted: str) -> None:
    assert wanted in problems(tmp_path, "zero3_size: 8", **given)[0]


def test_what_is_right(tmp_path: Path) -> None:
    assert (
        problems(tmp_path, f"zero3_size: 8\ntransformer_layers: [{LAYER}]\nparam_dtype: fp16", fp16=True)
        == []
    )
    assert problems(tmp_path, "param_dtype: bf16\nforward_prefetch: false\nckpt_load_path: /a") == []
    args = Namespace(use_distributed_optimizer=True)
    feature.adjust(args)
    assert not args.use_distributed_optimizer


def test_sizes_of_groups(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("zero3_size: 8")
    _layers.given.cache_clear()
    for ranks, wanted in (((1, 16), 8), ((2, 16), 4), ((1, 4), 4)):
        assert _layers.settings(str(path), *ranks).sharding_size == wanted


def test_modules_that_are_left_alone() -> None:
    inner = torch.nn.Module()
    inner.encoder, inner.decoder = torch.nn.Linear(2, 3), torch.nn.Linear(3, 2)
    outer = torch.nn.Module()
    outer.module = inner
    given = _layers.Settings()
    sharding = Sharding(File(flag="--flag", settings=given, ignored=("encoder",)), outer, None)
    assert sharding.ignored() == set(inner.encoder.parameters())
    with pytest.raises(
        ValueError, match="--flag: ignored_modules names vae, and the model has no such module"
    ):
        Sharding(File(flag="--flag", settings=given, ignored=("vae",)), outer, None).ignored()


class Optimizer:
    def __init__(self, gradients: list[Any]) -> None:
        self.gradients = gradients

    def collect(self) -> list[Any]:
        return self.gradients


def test_gradients_that_are_shards_are_scaled_where_they_are() -> None:
    plain, shard = torch.ones(2), Namespace(_local_tensor=torch.zeros(1))
    collected = feature.found_by_shards(Optimizer.collect)(Optimizer([plain, shard]))
    assert collected[0] is plain and collected[1] is shard._local_tensor
