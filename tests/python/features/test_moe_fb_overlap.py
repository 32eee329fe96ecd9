# SPDX-License-Identifier: Apache-2.0
"""--moe-fb-overlap: the same training, and a forward pass that goes on while the messages of a backward pass are missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import expert_cases
import memory_cases
import pytest
import releases
import torchrun
from mindspeed.adaptor import Level, arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.moe import fb_overlap as feature
from mindspeed.features.pipeline import _pairs
from mindspeed.features.pipeline._vee import BACKWARD, FORWARD

SUPPORT = Path(__file__).parents[2] / "support"
ON = {"moe_fb_overlap": True}
MORE = {"moe_permutation_async_comm": True}


@pytest.mark.slow
def test_training_is_the_same() -> None:
    ways = {"off": {}, "on": ON, "sorting meanwhile": ON | MORE}
    cases = {name: expert_cases.case(flags, batch=8) for name, flags in ways.items()}
    results = memory_cases.run(cases)
    found = {name: expert_cases.training(result) for name, result in results.items()}
    assert found["on"] == found["off"] == found["sorting meanwhile"]
    assert results["on"]["peak"] > results["off"]["peak"]  # activations of two micro-batches


def same_training(flags: dict[str, Any], **layout: Any) -> dict[str, Any]:
    """On four ranks; what the training without the feature gave."""
    cases = {
        name: expert_cases.case(flags | more, batch=8, world=4, **layout)
        for name, more in (("off", {}), ("on", ON))
    }
    results = memory_cases.run(cases)
    found = {name: expert_cases.training(result) for name, result in results.items()}
    assert found["on"] == found["off"]
    return results["off"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [{"adds": True}, {"etp": 1}], ids=["slices", "whole experts"])
def test_training_of_tensor_parallel_ranks_is_the_same(kind: dict[str, Any]) -> None:
    same_training({"tensor_model_parallel_size": 2, "sequence_parallel": True}, tp=2, sp=True, **kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "interleaved", "vee"])
def test_training_of_a_pipeline_is_the_same(kind: str) -> None:
    flags: dict[str, Any] = {"pipeline_model_parallel_size": 2}
    layout: dict[str, Any] = {"pp": 2} if kind == "plain" else {"pp": 2, "vp": 2, "overlap_p2p": True}
    if kind == "interleaved":
        flags |= {"num_virtual_stages_per_pipeline_rank": 2}
    if kind == "vee":
        flags |= {"schedules_method": "dualpipev"}
    found = same_training(flags, **layout)
    one = memory_cases.run({"one": expert_cases.case({}, batch=8, world=1, ep=1, optimizer="plain")})["one"]
    assert found["losses"] == pytest.approx(one["losses"], rel=2e-3)  # bfloat16, other sums


@pytest.mark.parametrize("kind", ["1 rows", "2 rows", "3 rows", "2 vee"])
@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("batches", [1, 5, 16])
def test_what_a_pair_needs_has_been_made_before(kind: str, ranks: int, batches: int) -> None:
    """Ranks that begin a pair when both of its messages are there come to the end; each pass is there once, and those of a chunk
    are in the order of micro-batches."""
    chunks = int(kind[0])
    found = _pairs.pairs(ranks, batches, chunks, ranks, kind.endswith("vee"))
    done: set[tuple[str, int, int]] = set()
    places = [0] * ranks
    for _ in range(2 * chunks * (batches + 2 * ranks) * ranks):
        begun = []
        for rank, slots in enumerate(found.slots):
            if places[rank] == len(slots):
                continue
            steps = [(step, found.place.stage(rank, step.chunk)) for step in slots[places[rank]]]
            needs = [
                (*need, step.batch)
                for step, stage in steps
                for need in (
                    [(FORWARD, stage - 1)]
                    if step.kind == FORWARD
                    else [(FORWARD, stage), (BACKWARD, stage + 1)]
                )
                if 0 <= need[1] <= found.place.last
            ]
            if done.issuperset(needs):
                begun.append((rank, [(step.kind, stage, step.batch) for step, stage in steps]))
        for rank, steps in begun:
            done.update(steps)
            places[rank] += 1
    assert places == [len(slots) for slots in found.slots]
    for order in found.orders:
        assert len(order) == len(set(order)) == 2 * chunks * batches
        for one in {(step.kind, step.chunk) for step in order}:
            mine = [step.batch for step in order if (step.kind, step.chunk) == one]
            assert mine == list(range(batches))


@pytest.mark.parametrize("kind", ["1 rows", "2 rows", "2 vee"])
def test_all_are_pairs_but_those_at_both_ends(kind: str) -> None:
    """The passes that are by themselves are as many for any number of micro-batches."""
    ranks, chunks = 4, int(kind[0])
    for rank in range(ranks):
        alone = {
            sum(
                len(slot) == 1
                for slot in _pairs.pairs(ranks, batches, chunks, ranks, "vee" in kind).slots[rank]
            )
            for batches in (16, 32, 64)
        }
        assert len(alone) == 1 and alone.pop() <= 2 * chunks * 2 * ranks


def test_no_plan() -> None:
    with pytest.raises(
        ValueError, match="no plan for 4 ranks with 2 chunks and 8 micro-batches in groups of 3;"
    ):
        _pairs.pairs(4, 8, 2, 3, False)


@pytest.mark.parametrize(
    ("ranks", "kind", "batches", "pairs"),
    [(2, "1 rows", 5, [2, 4]), (2, "2 rows", 1, [0, 0]), (2, "2 vee", 4, [4, 4])],
)
def test_both_passes_of_a_pair_are_under_way_at_once(
    ranks: int, kind: str, batches: int, pairs: list[int]
) -> None:
    """Each of them waits until the other one has begun, and all messages reach the stage they are for."""
    (row,) = torchrun.rows(ranks, SUPPORT / "pairs_job.py", [*kind.split(), str(batches)], timeout=300)
    stages = float(int(kind[0]) * ranks)
    assert row["out"] == row["back"] == [stages] * batches
    assert row["pairs"] == pairs


def test_a_forward_pass_does_not_wait_for_messages_of_a_backward_pass() -> None:
    (found,) = torchrun.rows(2, SUPPORT / "fb_overlap_job.py", timeout=400)
    late = found["delay"]
    assert found["on"] < late / 2 < late <= found["off"], found


def problems(**given: Any) -> list[str]:
    usual = {"num_experts": 8, "moe_grouped_gemm": True, "expert_model_parallel_size": 2}
    args = Namespace(**(usual | {"moe_token_dispatcher_type": "alltoall"} | ON | given))
    arguments.complete(args, all_features())
    return list(rules.problems(all_features(), args, 2))


@pytest.mark.parametrize("name", feature._ONE)
def test_one_rank_of_other_kinds(name: str) -> None:
    assert any(f"--{name.replace('_', '-')} is 2:" in text for text in problems(**{name: 2}))


def test_rules() -> None:
    assert problems() == [] and problems(balanced_moe_experts=True, balanced_moe_hot_expert_num=2) == []
    assert "needs --num-experts" in problems(num_experts=None)[0]
    assert "--expert-model-parallel-size is 1," in problems(expert_model_parallel_size=1)[0]
    assert "--moe-token-dispatcher-type is allgather;" in problems(moe_token_dispatcher_type="allgather")[0]
    assert "--moe-unperm2-mem-optim-swap takes what" in problems(moe_unperm2_mem_optim_swap=True)[0]
    assert "leave out --recompute-granularity" in problems(recompute_granularity="selective")[0]
    assert "leave out --overlap-grad-reduce" in problems(overlap_grad_reduce=True)[0]
    assert any("exclude each other" in text for text in problems(moe_alltoall_overlap_comm=True))
    tensor = {"tensor_model_parallel_size": 2, "sequence_parallel": True}
    assert problems(**tensor) == []
    stages = {"pipeline_model_parallel_size": 2}
    assert problems(**stages) == []
    assert "leave out --variable-seq-lengths" in problems(**stages, variable_seq_lengths=True)[0]
    more = {"untie_embeddings_and_output_weights": True, "num_layers": 4, "schedules_method": "dualpipev"}
    assert problems(**stages, **more) == []
    apart = problems(**stages, **more, dualpipev_dw_detach=True)
    assert any("no passes of their own in a pair" in text for text in apart)
    for name in ("use_ascend_mc2", "use_ascend_coc"):
        assert any("in the group of those in forward" in text for text in problems(**tensor, **{name: True}))


@pytest.mark.slow
def test_training_is_that_of_megatrons_own_way() -> None:
    """Which runs where Megatron Core has one, and none of the patches."""
    job = [str(SUPPORT / "fb_overlap_later_job.py")]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *job]
    path = [releases.release_folder("0.16.1"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "OMP_NUM_THREADS": "1",
        "CUDA_DEVICE_MAX_CONNECTIONS": "1",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, torchrun.errors(done)
    off, on = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    assert off["planned"] == 0 and on["planned"] == 8  # two steps of four micro-batches
    assert on["steps"] == off["steps"]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with Megatron Core 0.16.1."""
    monkeypatch.setattr(rules, "installed_version", lambda name: "0.16.1")


MODEL = {"num_experts": 8, "moe_token_dispatcher_type": "alltoall", "expert_model_parallel_size": 2}


def test_a_later_release_runs_its_own_way(later: None) -> None:
    args = Namespace(**MODEL, moe_fb_overlap=True)
    assert rules.by_megatron(feature.FEATURE) is feature.FEATURE.native
    assert list(rules.too_new(feature.FEATURE)) == []
    (choice,) = rules.choose([feature.FEATURE], args, Level.ACCELERATION)
    assert choice.reason == "--moe-fb-overlap, by Megatron's own --overlap-moe-expert-parallel-comm"
    feature.with_megatrons(args)
    assert args.overlap_moe_expert_parallel_comm is True
    assert {patch.target for patch in feature.FEATURE.patches if patch.fits(lambda name: "0.16.1")} == {
        "megatron.core.transformer.transformer_config:TransformerConfig.__post_init__"
    }


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"bf16": False, "fp16": False}, "for 16 bits; give --bf16 or --fp16"),
        ({"pipeline_model_parallel_size": 2}, "give --num-layers-per-virtual-pipeline-stage"),
        ({"recompute_granularity": "full"}, "--recompute-granularity is full"),
        ({"moe_shared_expert_overlap": True}, "leave out --moe-shared-expert-overlap"),
        ({"mtp_num_layers": 2}, "--mtp-num-layers is 2"),
        ({"moe_token_dispatcher_type": "allgather"}, "--moe-token-dispatcher-type is allgather"),
        ({"expert_model_parallel_size": 1}, "so no tokens travel"),
    ],
)
def test_what_megatrons_own_way_cannot(later: None, more: dict[str, Any], words: str) -> None:
    def told(given: dict[str, Any]) -> list[str]:
        args = Namespace(**MODEL | given, moe_fb_overlap=True)
        return rules.problems([feature.FEATURE], args, Level.ACCELERATION)

    assert told({"bf16": True}) == []
    assert len(told({"bf16": True} | more)) == 1 and words in told({"bf16": True} | more)[0]


def test_a_release_between_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "installed_version", lambda name: "0.13.1")
    (sentence,) = rules.too_new(feature.FEATURE)
    assert "before 0.13 and from 0.14 on, and 0.13.1 is installed" in sentence
