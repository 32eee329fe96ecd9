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
from mindspeed.features.sequence import _ring
from mindspeed.features.sequence import context_parallel_algo as feature

FLASH = {"use_flash_attn": True}
RING = FLASH | {"context_parallel_algo": feature.RING}
FULL = RING | {"use_cp_send_recv_overlap": True, "use_fused_ring_attention_update": True}
ULYSSES = FLASH | {"context_parallel_algo": feature.ULYSSES}
HYBRID = FULL | {"context_parallel_algo": feature.HYBRID, "ulysses_degree_in_cp": 2}
SIZES = {"dtype": "fp32"}


@pytest.mark.slow
def test_training_is_that_of_one_rank() -> None:
    whole = memory_cases.run({"dense": case(FLASH, **SIZES), "moe": case(FLASH, **SIZES | {"model": "moe"})})
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
            "dense hybrid": case(HYBRID, **SIZES, world=4, cp=4),
            "dense ulysses and tensor parallel": case(ULYSSES, **SIZES, world=4, cp=2, tp=2, sp=True),
        }
    )
    for name, found in (two | four).items():
        for what in ("losses", "norms"):
            wanted = whole[name.partition(" ")[0]][what]
            assert found[what] == pytest.approx(wanted, rel=1e-4), f"{name}: {what}"


@pytest.mark.parametrize("world", [2, 3])
def test_ring_is_the_whole_attention_under_any_mask(world: int) -> None:
    job = Path(__file__).parents[2] / "support" / "ring_job.py"
    done = torchrun.run(world, job, [], timeout=300)
    assert done.returncode == 0, torchrun.errors(done)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(lines) == 6
    for line in lines:
        assert line["difference"] < 1e-5, line


def parts(keys: int, hidden: int = 0) -> _ring._Result:
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
    return _ring._Result(out, most.expand(2, 3, 4, 8).contiguous(), total.expand(2, 3, 4, 8).contiguous())


@pytest.mark.parametrize("hidden", [(0, 0), (2, 0), (0, 1), (3, 2)])
def test_merging(hidden: tuple[int, int]) -> None:
    one, other = parts(6, hidden[0]), parts(9, hidden[1])
    merged = _ring.merged(one, other)
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
        on_device = [_ring._Result(*(t.npu() for t in (r.out, r.most, r.total))) for r in (one, other)]
        torch.testing.assert_close(_ring.merged_by_operator(*on_device).out.cpu(), merged.out)


ARGS = {
    "context_parallel_algo": feature.ULYSSES, "context_parallel_size": 4, "num_attention_heads": 8,
    "tensor_model_parallel_size": 2, "seq_length": 32, "ulysses_degree_in_cp": None, "cp_window_size": 1,
    "transformer_impl": "local",
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
        ({"cp_window_size": 2}, "--cp-window-size 2: rings of rings"),
        ({"transformer_impl": "transformer_engine"}, "give --transformer-impl local"),
    ],
)
def test_rules(given: dict[str, Any], problem: str) -> None:
    found = rules.problems([feature.FEATURE], Namespace(**ARGS | given), Level.ACCELERATION)
    assert len(found) == bool(problem) and problem in "".join(found)
