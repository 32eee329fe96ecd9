# SPDX-License-Identifier: Apache-2.0
"""What docs/features/matrix.md is made from: lines of features, refusals, pairs, and the layouts that tests are written with."""

from __future__ import annotations

import itertools
from pathlib import Path

import feature_matrix as matrix
import pytest
from mindspeed.adaptor.versions import within


def axis(title: str) -> matrix.Axis:
    (found,) = (axis for axis in matrix.AXES if axis.title == title)
    return found


def test_a_line_is_what_a_parser_makes_of_it() -> None:
    given = matrix.parsed(
        "--swap-optimizer --virtual-optimizer 1 2 --ema-decay 0.5 --no-fused-gelu --num-experts 8 --bf16"
    )
    assert given == {
        "swap_optimizer": True, "virtual_optimizer": [1.0, 2.0], "ema_decay": 0.5, "use_fused_gelu": False, "num_experts": 8,
        "bf16": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("swap-attention", "--swap-attention"),
        ("swap-optimizer", "--use-distributed-optimizer --swap-optimizer"),
        ("ascend-mc2", "--tensor-model-parallel-size 2 --sequence-parallel --use-ascend-mc2"),
    ],
)
def test_a_feature_is_given_with_the_least_that_it_needs(name: str, line: str) -> None:
    assert matrix.line_of(name) == line


def test_every_feature_is_on_with_its_line_and_refused_by_itself_only_if_it_always_is() -> None:
    for feature in matrix.features():
        assert feature.wants(matrix.arguments_of(matrix.given(feature.name))), feature.name
    assert {feature.name for feature in matrix.features()} - {f.name for f in matrix.usable()} == {"aiqos"}


def test_what_is_refused_on_ranks_is_told_by_the_rule() -> None:
    refused = matrix.refused_on(axis("PP"), matrix.named("layerzero"))
    assert "--pipeline-model-parallel-size 2: stages" in refused.sentences[0] and not refused.has_remedy
    assert matrix.refused_on(axis("TP"), matrix.named("fused-gelu")).sentences == ()
    undone = matrix.refused_on(axis("CP"), matrix.named("moe-fb-overlap"))
    assert "give 1" in undone.sentences[0] and not undone.has_remedy
    helped = matrix.refused_on(axis("CP"), matrix.named("alibi"))
    assert "--context-parallel-algo" in helped.sentences[0] and helped.has_remedy


def test_megatrons_fsdp_is_refused_by_both_of_its_names() -> None:
    """--use-custom-fsdp until 0.13, --use-megatron-fsdp later."""
    for feature in matrix.features():
        given = matrix.given(feature.name)
        old, new = (
            bool(matrix.refusals(matrix.arguments_of(given, {name: True})))
            for name in ("use_custom_fsdp", "use_megatron_fsdp")
        )
        is_for_later = not feature.until or within("0.14", until=feature.until)
        assert old == new or not is_for_later, feature.name


def test_pairs() -> None:
    def pair(one: str, other: str) -> matrix.Pair:
        return matrix.together(matrix.named(one), matrix.named(other))

    assert pair("fused-gelu", "swap-attention") == matrix.Pair()
    assert "both compute the products" in pair("ascend-coc", "ascend-mc2").refused[0]
    assert pair("ascend-mc2", "balanced-moe-experts").more == "--expert-tensor-parallel-size 1"
    assert pair("moe-model-type", "variable-seq-lengths").more == "--moe-token-dispatcher-type alltoall"
    assert pair("muon-optimizer", "optimizer-selection").refused


def test_names_of_both() -> None:
    one, other = matrix.named("swap-optimizer"), matrix.named("muon-optimizer")
    assert matrix.names_both(
        "feature swap-optimizer (--swap-optimizer): --optimizer muon is another", one, other
    )
    assert not matrix.names_both("feature swap-optimizer (--swap-optimizer) is off", one, other)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("case({}, world=2, tp=2, sp=True)", {"TP"}),
        ("case({}, world=4, tp=2)", {"TP", "DP"}),
        ("LAYOUT = {'world': 4, 'pp': 2, 'vp': 2, 'optimizer': 'overlap'}", {"PP", "interleaved PP", "DP", "distributed optimizer"}),
        ("case({}, pp=ranks, world=ranks)", {"PP"}),
        ("case({}, world=2, optimizer='fsdp2')", {"DP", "PyTorch's FSDP"}),
        ("problems(tensor_model_parallel_size=2, expert_model_parallel_size=1)", set()),
        ("case({}, world=1, tp=1)", set()),
    ],
)  # fmt: skip
def test_layouts_are_read_from_tests(tmp_path: Path, text: str, found: set[str]) -> None:
    path = tmp_path / "test_some.py"
    path.write_text(text, encoding="utf-8")
    assert matrix.layouts_in(path) == found


def test_layouts_of_the_jobs_that_a_test_starts() -> None:
    assert matrix.layouts_in(matrix.TESTS / "test_moe_fb_overlap.py") >= {"EP"}
    assert "TP" in matrix.layouts_in(matrix.TESTS / "test_ascend_coc.py")


def test_jobs_are_found_by_their_names_whatever_the_path_is_written_like(tmp_path: Path) -> None:
    path = tmp_path / "test_some.py"
    path.write_text("JOB = 'tests/support/dispatch_job.py'; OTHER = 'no_such_job.py'", encoding="utf-8")
    assert matrix.layouts_in(path) == matrix.layouts_in(matrix.SUPPORT / "dispatch_job.py") != set()


def test_releases_that_a_feature_is_not_for() -> None:
    feature = matrix.named("schedules-method")
    (sentence,) = matrix.too_new(feature, "0.16.1")
    assert "is for Megatron Core before 0.13, and a later one is installed" in sentence
    assert matrix.too_new(feature, "0.12.1") == []


def test_the_record_has_releases_and_features_that_there_are() -> None:
    names = {feature.name for feature in matrix.features()}
    for core, seen in matrix.record().items():
        assert core != matrix.INSTALLED and set(seen["features"]) <= names
        for counts in seen["features"].values():
            assert all(counts[kind] >= 0 for kind in ("passed", "failed", "skipped"))
    assert len(list(itertools.chain(matrix.cores()))) == len(matrix.record()) + 1
