# SPDX-License-Identifier: Apache-2.0
"""--context-parallel-algo: training on 2 and 4 ranks as on one, and the parts by themselves."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import memory_cases
import pytest
import torch
import torch_npu  # noqa: F401
import torchrun
from memory_cases import case
from mindspeed.adaptor import Level, rules
from mindspeed.features.sequence import _softmax
from mindspeed.features.sequence import context_parallel_algo as feature
from mindspeed.features.sequence._groups import ADAPTIVE as ADAPTIVE_CP
from mindspeed.features.sequence._groups import HYBRID_ADAPTIVE

FLASH = {"use_flash_attn": True}
RING = FLASH | {"context_parallel_algo": feature.RING}
FULL = RING | {"use_cp_send_recv_overlap": True, "use_fused_ring_attention_update": True}
ULYSSES = FLASH | {"context_parallel_algo": feature.ULYSSES}
HYBRID = FULL | {"context_parallel_algo": feature.HYBRID, "ulysses_degree_in_cp": 2}
SIZES = {"dtype": "fp32"}
ALIBI = {"position_embedding_type": "alibi"}
DOCUMENTS = memory_cases.SIZES | {"DOCUMENTS": 3}


@pytest.mark.slow
def test_training_is_that_of_one_rank() -> None:
    whole = memory_cases.run(
        {
            "dense": case(FLASH, **SIZES),
            "moe": case(FLASH, **SIZES | {"model": "moe"}),
            "alibi": case(FLASH | ALIBI, **SIZES),
            "documents": case(FLASH, DOCUMENTS, **SIZES),
        }
    )
    two = memory_cases.run(
        {
            "dense ring": case(RING, **SIZES, world=2, cp=2),
            "dense ring, overlapped and fused": case(FULL, **SIZES, world=2, cp=2),
            "dense ulysses": case(ULYSSES, **SIZES, world=2, cp=2),
            "dense ulysses, Megatron's attention": case(
                ULYSSES | {"use_flash_attn": False}, **SIZES, world=2, cp=2
            ),
            "moe ring": case(RING, **SIZES | {"model": "moe"}, world=2, cp=2, dispatcher="alltoall"),
            "moe ulysses": case(ULYSSES, **SIZES | {"model": "moe"}, world=2, cp=2, dispatcher="alltoall"),
        }
    )
    four = memory_cases.run(
        {
            "dense ring of four": case(RING, **SIZES, world=4, cp=4),
            "dense ring of rings": case(RING | {"cp_window_size": 2}, **SIZES, world=4, cp=4),
            "dense ring of rings, overlapped": case(FULL | {"cp_window_size": 2}, **SIZES, world=4, cp=4),
            "dense hybrid": case(HYBRID, **SIZES, world=4, cp=4),
            "documents adaptive": case(
                FLASH | {"context_parallel_algo": ADAPTIVE_CP}, DOCUMENTS, **SIZES, world=4, cp=4
            ),
            "documents hybrid adaptive": case(
                HYBRID | {"context_parallel_algo": HYBRID_ADAPTIVE}, DOCUMENTS, **SIZES, world=4, cp=4
            ),
            "documents ring": case(RING, DOCUMENTS, **SIZES, world=4, cp=4),
            "alibi ring": case(RING | ALIBI | {"attention_mask_type": "causal"}, **SIZES, world=4, cp=4),
            "alibi ulysses": case(ULYSSES | ALIBI, **SIZES, world=4, cp=2, tp=2, sp=True),
            "alibi hybrid": case(HYBRID | ALIBI, **SIZES, world=4, cp=4),
            "dense ulysses and tensor parallel": case(ULYSSES, **SIZES, world=4, cp=2, tp=2, sp=True),
        }
    )
    for name, found in (two | four).items():
        for what in ("losses", "norms"):
            wanted = whole[name.partition(" ")[0]][what]
            assert found[what] == pytest.approx(wanted, rel=1e-4), f"{name}: {what}"


KINDS = ("none", "causal", "random", "hidden")
CASES: list[dict[str, Any]] = [
    *({"kind": kind} for kind in KINDS),
    {"kind": "none", "fused": True},
    {"kind": "causal", "fused": True},
    {"kind": "causal", "fused": True, "keeps": (True, True)},
    {"kind": "random", "keeps": (True, False)},
    {"kind": "causal", "fused": True, "slopes": True},
    {"kind": "random", "slopes": True},
    {"kind": "none", "fused": True, "slopes": True, "keeps": (True, True)},
    {"kind": "causal", "lengths": [24, 48, 72]},
    {"kind": "none", "lengths": [48, 24], "keeps": (True, True)},
]


ADAPTIVE = [{"kind": kind, "adaptive": how} for kind in (*KINDS, "documents") for how in ("plain", "overlap")]


def ring_results(world: int, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    job = Path(__file__).parents[2] / "support" / "ring_job.py"
    lines = torchrun.rows(world, job, [json.dumps(case) for case in cases], timeout=300)
    assert len(lines) == len(cases)
    return lines


@pytest.mark.parametrize("world", [2, 4])
def test_blocks_are_the_whole_attention_under_any_mask(world: int) -> None:
    """Of blocks that a mask hides none is computed; the others take as few rounds as they can."""
    for line in ring_results(world, ADAPTIVE):
        assert line["difference"] < 1e-5, line
        blocks, rounds = sum(line["rounds"]), len(line["rounds"])
        if world == 4 and line["kind"] == "documents":
            assert blocks < 16 and rounds == -(-blocks // 4), line
        elif line["kind"] in ("none", "random"):
            assert (blocks, rounds) == (world * world, world), line


@pytest.mark.parametrize("world", [2, 3])
def test_ring_is_the_whole_attention_under_any_mask(world: int) -> None:
    for line in ring_results(world, CASES):
        assert line["difference"] < 1e-5, line


def test_ring_of_rings_is_the_whole_attention() -> None:
    """And what is kept for the backward pass takes its memory: keys and values of three other ranks."""
    lines = ring_results(4, [{**case, "window": 2} for case in CASES])
    for line in lines:
        assert line["difference"] < 1e-5, line
    sent_again, kept = (
        line for line in lines if line["kind"] == "causal" and line.get("fused") and "slopes" not in line
    )
    assert sent_again["sent"] == [2 * 3, 2 * 3 + 2 * 6]  # sums go home from each window
    assert kept["sent"] == [2 * 3, 2 * 6]
    of_a_rank = 2 * 48 // 4 * 2 * 2 * 16 * 4  # keys and values: tokens, batch, groups, width, bytes
    assert kept["held"] - sent_again["held"] == 3 * of_a_rank, (sent_again, kept)


def test_packed_sequences_are_attended_to_in_every_way() -> None:
    lines = torchrun.rows(4, Path(__file__).parents[2] / "support" / "packed_job.py", [], timeout=300)
    assert len(lines) == 4
    for line in lines:
        assert line["difference"] < 1e-5, line


def parts(keys: int, hidden: int = 0) -> _softmax.Result:
    """Attention of 4 queries to some keys in float64, [s, b, h * d] with b = 2, h = 3, d = 5; nobody sees the first."""
    torch.manual_seed(keys)
    scores, values = torch.randn(2, 3, 4, keys), torch.randn(2, 3, keys, 5)
    scores[..., :hidden, :] = -torch.inf
    most = scores.amax(-1, keepdim=True)
    weights = torch.where(
        scores == -torch.inf, 0.0, (scores - torch.where(most == -torch.inf, 0.0, most)).exp()
    )
    total = weights.sum(-1, keepdim=True)
    out = torch.where(total > 0, weights @ values / total, 0.0).permute(2, 0, 1, 3).reshape(4, 2, 15)
    limits = torch.finfo(torch.float32)  # as the operator says that a row saw nothing
    most, total = most.clamp(min=limits.min), torch.where(total > 0, total, limits.max)
    return _softmax.Result(out, most.expand(2, 3, 4, 8).contiguous(), total.expand(2, 3, 4, 8).contiguous())


@pytest.mark.parametrize("hidden", [(0, 0), (2, 0), (0, 1), (3, 2)])
def test_merging(hidden: tuple[int, int]) -> None:
    one, other = parts(6, hidden[0]), parts(9, hidden[1])
    merged = _softmax.merged(one, other)
    assert not merged.out.isnan().any()
    weights = [
        part.total[..., :1].double() * (part.most[..., :1].double() - 3).exp() for part in (one, other)
    ]
    weights = [weight.permute(2, 0, 1, 3) for weight in weights]
    shares = [torch.where(sum(weights) > 0, weight / sum(weights), 0.0) for weight in weights]
    wanted = sum(part.out.view(4, 2, 3, 5) * share for part, share in zip((one, other), shares, strict=True))
    torch.testing.assert_close(merged.out.view(4, 2, 3, 5), wanted.float())
    assert merged.total.isfinite().all()
    if not any(hidden):
        on_device = [_softmax.Result(*(t.npu() for t in (r.out, r.most, r.total))) for r in (one, other)]
        torch.testing.assert_close(_softmax.merged_by_operator(*on_device).out.cpu(), merged.out)


ARGS = {
    "context_parallel_algo": feature.ULYSSES, "context_parallel_size": 4, "num_attention_heads": 8,
    "tensor_model_parallel_size": 2, "seq_length": 32, "ulysses_degree_in_cp": None, "cp_window_size": 1,
    "transformer_impl": "local", "attention_mask_on_cpu": False, "adaptive_cp_manually_set_mask_list": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, ""),
        ({"context_parallel_algo": feature.RING}, ""),
        ({"context_parallel_algo": feature.HYBRID, "ulysses_degree_in_cp": 2}, ""),
        (
            {"context_parallel_size": 1, "num_attention_heads": 3, "transformer_impl": "transformer_engine"},
            "",
        ),
        ({"num_attention_heads": 12}, "12 heads cannot be shared by 2 tensor-parallel ranks times 4"),
        ({"seq_length": 36}, "--seq-length 36 is not a multiple of 2 x --context-parallel-size (4)"),
        ({"context_parallel_algo": feature.HYBRID}, "--ulysses-degree-in-cp is None"),
        ({"context_parallel_algo": feature.HYBRID, "ulysses_degree_in_cp": 4}, "--ulysses-degree-in-cp is 4"),
        ({"context_parallel_algo": feature.RING, "cp_window_size": 2}, ""),
        (
            {"context_parallel_algo": feature.RING, "cp_window_size": 3},
            "--cp-window-size is 3, and 4 ranks are a ring",
        ),
        (
            {"context_parallel_algo": feature.RING, "cp_window_size": 4},
            "give a divisor of 4 other than itself",
        ),
        ({"cp_window_size": 2}, "--cp-window-size is 2, and 1 ranks are a ring"),
        ({"context_parallel_algo": ADAPTIVE_CP}, ""),
        ({"context_parallel_algo": ADAPTIVE_CP, "cp_window_size": 2}, "--cp-window-size 2 is about a ring"),
        (
            {"context_parallel_algo": HYBRID_ADAPTIVE},
            "--ulysses-degree-in-cp is None: hybrid_adaptive_cp_algo wants",
        ),
        ({"attention_mask_on_cpu": True}, "--attention-mask-on-cpu: masks are where"),
        ({"adaptive_cp_manually_set_mask_list": True}, "masks are those that the model hands over"),
        ({"transformer_impl": "transformer_engine"}, "give --transformer-impl local"),
    ],
)
def test_rules(given: dict[str, Any], problem: str) -> None:
    found = rules.problems([feature.FEATURE], Namespace(**ARGS | given), Level.ACCELERATION)
    assert len(found) == bool(problem) and problem in "".join(found)
