# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of PyTorch's fully_shard: what lies where, and that every layout goes on from any other's, experts too."""

from __future__ import annotations

import functools
import math
import random
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import memory_cases
import pytest
import torch
import yaml
from mindspeed.features.compatibility import _shard_places as places

SIZED = memory_cases.LONG | {"BATCH": 4}
FLAGS = {"use_flash_attn": True, "gradient_accumulation_fusion": False, "num_experts": 8}


def view_of(whole: torch.Tensor, numbers: random.Random) -> torch.Tensor:
    """As layers cut and turn what they save."""
    for _ in range(numbers.randint(0, 3)):
        axis = numbers.randrange(whole.ndim)
        kind, length = numbers.randint(0, 2), whole.shape[axis]
        if kind == 0:
            whole = whole.transpose(axis, numbers.randrange(whole.ndim))
        elif kind == 1:
            first = numbers.randrange(length)
            whole = whole.narrow(axis, first, numbers.randint(1, length - first))
        elif length % 2 == 0:
            whole = whole.unflatten(axis, (2, length // 2))
    return whole


def test_blocks_of_ranks_are_the_view_each_once() -> None:
    numbers = random.Random(0)
    for _ in range(500):
        shape = [numbers.randint(1, 6) for _ in range(numbers.randint(1, 3))]
        whole = torch.arange(math.prod(shape)).view(shape)
        view = view_of(whole, numbers)
        runs = places.runs_of(shape[0], math.prod(shape[1:]), numbers.randint(1, 5))
        grid = places.grid_of(view, runs)
        seen = torch.zeros(view.shape, dtype=torch.int)
        for run in runs:
            for block in (part for found in places.blocks_in(view, run) for part in places.cut(found, grid)):
                index = tuple(slice(a, a + b) for a, b in zip(block.start, block.size, strict=True))
                assert all(start % size == 0 for start, size in zip(block.start, grid, strict=True))
                assert ((view[index] >= run[0]) & (view[index] < run[1])).all()
                seen[index] += 1
        assert (seen == 1).all(), (shape, view.stride(), runs)


class Mesh:
    """Groups of ranks with shards, and copies across them."""

    ndim = 2

    def __init__(self, rank: int, copy: int, ranks: int) -> None:
        self._rank, self._copy, self._ranks = rank, copy, ranks

    def __getitem__(self, name: str) -> Mesh:
        return self

    def size(self) -> int:
        return self._ranks

    def get_local_rank(self, name: str) -> int:
        return self._rank if name == "shard" else self._copy


def turned_and_halved(key: str, t: torch.Tensor, replica: Any, _: Any) -> Any:
    """Experts of one tensor [H, E 2F], saved as E x 2F x H in two halves: in memory they are E x H x 2F."""
    from megatron.core.dist_checkpointing.mapping import ShardedTensor

    halves = t.view(4, 6, 10).transpose(-1, -2).chunk(2, -2)
    return {
        "halves": [
            ShardedTensor.from_rank_offsets(key, half.contiguous(), (1, i, 2), replica_id=replica)
            for i, half in enumerate(halves)
        ]
    }


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_shards_of_experts_lie_where_the_whole_does(megatron: None, ranks: int) -> None:
    from megatron.core.dist_checkpointing.mapping import ShardedTensorFactory

    values = torch.arange(6.0 * 40).view(6, 40)
    wanted = torch.cat([half.data for half in turned_and_halved("w", values, (0, 0, 0), None)["halves"]], 1)
    factory = ShardedTensorFactory("w", None, turned_and_halved, lambda _: None, (0, 0, 0))
    found, parts = torch.full_like(wanted, -1), values.chunk(ranks)
    for rank, part in enumerate(parts):
        tensor = Namespace(shape=values.shape, device_mesh=Mesh(rank, 1, ranks))
        shard = places.Shard(tensor, factory)
        state = shard.build("optimizer.w", part.to(torch.float64))
        for block in state["blocks"]:
            assert (
                block.key == "optimizer.w"
                and block.replica_id == (0, 0, 1)
                and block.global_shape == (4, 10, 6)
            )
            assert tuple(a // b for a, b in zip(block.global_shape, block.local_shape, strict=True)) == (
                block.axis_fragmentations
            )
            found[block.global_slice()] = block.data.float()
        # And back, from other memory.
        read = {"part": torch.zeros_like(part), "blocks": [block.data.float() for block in state["blocks"]]}
        read["views"] = [block.data for block in shard.build("w", read["part"])["blocks"]]
        assert torch.equal(shard.merge(read), part)
    assert torch.equal(found, wanted)


def test_only_models_that_tell_are_asked_for_whole_parameters() -> None:
    made = places.as_whole(lambda tensor, key: (tensor, key))
    tensor = Namespace(shape=(2, 3), dtype=torch.float32, device_mesh=None, _local_tensor=torch.ones(1, 3))
    assert made(tensor, "key") == (tensor, "key")
    places._telling.append(None)
    try:
        unreal, _ = made(tensor, "key")
        assert unreal.is_meta and unreal.shape == (2, 3)
        plain = torch.ones(2)
        assert made(plain, "key")[0] is plain
    finally:
        places._telling.pop()
    assert places.the_very_part(torch.relu)(tensor) is tensor._local_tensor


Case = tuple[str, dict[str, str], dict[str, Any]]


@functools.cache
def found(world: int, model: str, wanted: tuple[str, ...], **layout: Any) -> dict[str, dict[str, Any]]:
    """A way is fsdp, a size of --layerzero's groups, plain, or tp2; "fsdp > plain" goes on from fsdp's checkpoint, and "fsdp >" is
    the half that writes it."""
    with tempfile.TemporaryDirectory() as folder:
        cases = {}
        for name in wanted:
            first, arrow, second = (
                name.partition(" > ") if " > " in name else (name.removesuffix(" >"), "", "")
            )
            way = second or first
            files = {"load": first} if arrow else {"save": first} if name.endswith(" >") else {}
            flags, own = dict(FLAGS), {"optimizer": "plain" if way in ("plain", "tp2") else "fsdp2"}
            if way == "tp2":
                own |= {"tp": 2, "sp": True}
            elif way == "fsdp":
                flags["use_torch_fsdp2"] = True
            elif way != "plain":
                path = Path(folder) / f"{way}.yaml"
                path.write_text(yaml.safe_dump({"zero3_size": int(way)}))
                flags |= {"layerzero": True, "layerzero_config": str(path)}
                flags["untie_embeddings_and_output_weights"] = True
            if model != "moe":
                del flags["num_experts"]
            given = {"model": model, "world": world, "dtype": "fp32"} | own | layout | files
            cases[name] = memory_cases.case(flags, SIZED, **given)
        return memory_cases.run(cases)


def compare(results: dict[str, dict[str, Any]]) -> None:
    """Halves of the one training, whatever their ranks share."""
    plain = results["plain"]
    for name, result in results.items():
        steps = len(result["losses"])
        part = slice(-steps, None) if " > " in name else slice(steps)
        assert result["losses"] == pytest.approx(plain["losses"][part], rel=1e-5), name
        assert result["norms"] == pytest.approx(plain["norms"][part], rel=1e-4), name
        assert ">" not in name or steps == len(plain["losses"]) // 2


def test_checkpoints_of_one_rank() -> None:
    compare(found(1, "moe", ("plain", "fsdp >", "fsdp > plain", "plain >", "plain > fsdp")))


@pytest.mark.slow
def test_checkpoints_of_experts_on_four_ranks() -> None:
    """Each an MLP of its own, beside a shared one."""
    ways = (
        "plain",
        "fsdp >",
        "fsdp > fsdp",
        "fsdp > 2",
        "2 >",
        "2 > 1",
        "2 > plain",
        "2 > tp2",
        "plain >",
        "plain > 2",
    )
    compare(found(4, "moe", ways))


@pytest.mark.slow
def test_checkpoints_of_experts_in_one_tensor_on_four_ranks() -> None:
    compare(
        found(4, "moe", ("plain", "fsdp >", "fsdp > plain", "fsdp > 2", "plain >", "plain > 4"), grouped=True)
    )


@pytest.mark.slow
def test_checkpoints_of_experts_over_tensor_parallel_ranks() -> None:
    compare(found(4, "moe", ("plain", "2 >", "2 > plain", "2 > fsdp", "fsdp >", "fsdp > 2"), tp=2, sp=True))


@pytest.mark.slow
def test_checkpoints_of_gated_layers_on_two_ranks() -> None:
    """Their halves lie apart in a checkpoint."""
    compare(found(2, "gated", ("plain", "fsdp >", "fsdp > fsdp", "fsdp > plain", "plain >", "plain > fsdp")))
