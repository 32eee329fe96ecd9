# SPDX-License-Identifier: Apache-2.0
"""--compress-activation and --compress-dense: the same training, with less in the device's memory between forward and backward."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import device_memory
import memory_cases
import pytest
import torch
import torch_npu  # noqa: F401
from mindspeed.adaptor import Level, arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.memory import _compressed, compress_activation, compress_dense

NPU = torch.device("npu")
NAMES = ("activation", "first-two", "dense0", "dense1")


@pytest.mark.parametrize("host_too", [False, True])
@pytest.mark.parametrize("dtype", _compressed.DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["normal", "bits"])
def test_a_tensor_comes_back_whole(dtype: torch.dtype, host_too: bool, kind: str) -> None:
    """`bits`: of all kinds, so that most of the code does not fit on the device."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(512, 257 * 64, generator=generator).to(dtype)
    if kind == "bits":
        word = torch.int32 if dtype == torch.float32 else torch.int16
        x = torch.randint(-(2**15), 2**15, x.shape, generator=generator, dtype=word).mul(40503).view(dtype)
    layer = torch.nn.Module()
    layer.layer_number = 1
    saved = _compressed.Compressed(layer, set(), None, host_too)
    mine = x.to(NPU)
    before = device_memory.in_use()
    ticket = saved.pack(mine)
    saved.close()
    del mine
    saved.leave()
    torch.npu.synchronize()
    less = before - torch.npu.memory_allocated()
    kept = (0 if host_too else x.element_size() - 1) + 0.5 + 1 / 64
    assert less >= x.numel() * (x.element_size() - kept) * 0.99
    found = ticket.tensor().cpu()
    word = torch.int32 if dtype == torch.float32 else torch.int16
    assert torch.equal(found.view(word), x.view(word))


def test_small_and_uneven_tensors_stay() -> None:
    layer = torch.nn.Module()
    layer.layer_number = 1
    saved = _compressed.Compressed(layer, set(), None, False)
    for x in (torch.ones(32704), torch.ones(32769), torch.ones(40000, dtype=torch.int32)):
        mine = x.to(NPU)
        assert saved.pack(mine) is mine


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_training_is_the_same(name: str) -> None:
    assert memory_cases.training(name) == memory_cases.training("wide")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"compress_activation": "0"}, ""),
        ({"compress_activation": "1-2,4"}, ""),
        ({"compress_activation": "1-x"}, "--compress-activation 1-x: wanted 0 for all layers, or numbers"),
        ({"compress_activation": "3-2"}, "of the layers 1 to 4"),
        ({"compress_activation": "5"}, "of the layers 1 to 4"),
        ({"compress_dense": "level1"}, ""),
        ({"compress_dense": "level0", "compress_activation": "0"}, "it has the dense layers' products too"),
        (
            {"compress_dense": "level0", "recompute_activation_function": True},
            "both decide what a layer keeps",
        ),
        (
            {"compress_activation": "0", "recompute_granularity": "full", "recompute_method": "uniform"},
            "leaves nothing to compress",
        ),
    ],
)
def test_rules(given: dict[str, Any], problem: str) -> None:
    names = {"recompute-activation-function", "compress-dense", "compress-activation"}
    features = [one for one in all_features() if one.name in names]
    args = Namespace(**{"num_layers": 4} | given)
    arguments.complete(args, all_features())
    found = rules.problems(features, args, Level.ACCELERATION)
    assert len(found) == bool(problem) and problem in "".join(found)


def test_names_of_layers() -> None:
    assert compress_activation.layers_of("0") is None
    assert compress_activation.layers_of("1-3, 5") == {1, 2, 3, 5}
    assert compress_dense.FEATURE.wants(Namespace(compress_dense="disable")) is False
