# SPDX-License-Identifier: Apache-2.0
"""One rank of a job that sends tokens to the ranks of their experts and back, through stock torch_npu.

`distribute_job.py REPORT CHECK...` runs the named checks as dist_job.py does. Every rank makes the tokens and choices
of all, so what must come out is computed without a collective."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch_npu

RANK, WORLD = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
HALVES = (torch.float16, torch.bfloat16)


def communicator() -> str:
    return dist.group.WORLD._get_backend(torch.device("npu")).get_hccl_comm_name(RANK)


@dataclass
class Case:
    """Tokens of all ranks; `to` chooses the experts of a rank's tokens."""

    tokens: Sequence[int]
    choices: int
    local: int = 2
    hidden: int = 40
    dtype: torch.dtype = torch.float16
    to: Callable[[Case, int, torch.Generator], torch.Tensor] | None = None
    mask: str = ""
    x: list[torch.Tensor] = field(init=False)
    ids: list[torch.Tensor] = field(init=False)
    weights: list[torch.Tensor] = field(init=False)
    active: list[torch.Tensor] = field(init=False)

    @property
    def experts(self) -> int:
        return self.local * WORLD

    @property
    def global_bs(self) -> int:
        return max(self.tokens) * WORLD

    def __post_init__(self) -> None:
        make = torch.Generator().manual_seed(7)
        self.x, self.ids, self.weights, self.active = [], [], [], []
        for rank, n in enumerate(self.tokens):
            self.x.append(torch.randn(n, self.hidden, generator=make).to(self.dtype))
            ids = self.to(self, rank, make) if self.to else spread(self, rank, make)
            self.ids.append(ids.int())
            self.weights.append(torch.rand(n, self.choices, generator=make))
            active = torch.ones(n, self.choices, dtype=torch.bool)
            if self.mask == "tokens":
                active[(n + rank) // 2 :] = False
            if self.mask == "choices":
                active = torch.rand(n, self.choices, generator=make) < 0.5
            self.active.append(active)

    def mask_of(self) -> torch.Tensor | None:
        active = self.active[RANK]
        return {"": None, "tokens": active[:, 0], "choices": active}[self.mask]

    def rows(self, expert: int) -> list[tuple[int, int, int]]:
        """(rank, token, choice) of all rows of an expert, in their order."""
        return [
            (rank, i, k)
            for rank in range(WORLD)
            for i, k in (self.active[rank] & (self.ids[rank] == expert)).nonzero().tolist()
        ]

    def received(self) -> list[tuple[int, int, int]]:
        return [row for e in range(RANK * self.local, (RANK + 1) * self.local) for row in self.rows(e)]


def spread(case: Case, rank: int, make: torch.Generator) -> torch.Tensor:
    n = case.tokens[rank]
    return torch.rand(n, case.experts, generator=make).argsort(1)[:, : case.choices]


def all_to_last(case: Case, rank: int, make: torch.Generator) -> torch.Tensor:
    """Everybody's first choice is the last expert, the others are the first ones: experts between get nothing."""
    row = torch.tensor([case.experts - 1, *range(case.choices - 1)])
    return row.expand(case.tokens[rank], -1)


CASES: tuple[dict[str, Any], ...] = (
    {"tokens": [8] * WORLD, "choices": 2},
    {"tokens": [8] * WORLD, "choices": 2, "dtype": torch.bfloat16, "hidden": 1},
    {"tokens": [5 + 3 * r for r in range(WORLD)], "choices": 3, "hidden": 33, "local": 3},
    {"tokens": [0] * (WORLD - 1) + [4], "choices": 1},
    {"tokens": [9] * WORLD, "choices": 1, "to": all_to_last},
    {"tokens": [9] * WORLD, "choices": 2, "to": all_to_last, "local": 3},
    {"tokens": [6] * WORLD, "choices": min(2, WORLD), "local": 1},
    {"tokens": [0] * WORLD, "choices": 2},
    {"tokens": [6] * WORLD, "choices": 2, "mask": "tokens"},
    {"tokens": [6] * WORLD, "choices": 2, "mask": "choices"},
    {"tokens": [200] * WORLD, "choices": 2, "hidden": 512, "local": 4},
)


def dispatch(case: Case, version: int, **more: Any) -> tuple[torch.Tensor, ...]:
    call = torch_npu.npu_moe_distribute_dispatch if version == 1 else torch_npu.npu_moe_distribute_dispatch_v2
    mask = case.mask_of()
    return call(
        case.x[RANK].npu(), case.ids[RANK].npu(), communicator(), WORLD, RANK, case.experts,
        x_active_mask=None if mask is None else mask.npu(), global_bs=case.global_bs, **more,
    )  # fmt: skip


def combine(
    case: Case, version: int, rows: torch.Tensor, sent: Sequence[torch.Tensor], **more: Any
) -> torch.Tensor:
    call = torch_npu.npu_moe_distribute_combine if version == 1 else torch_npu.npu_moe_distribute_combine_v2
    mask = case.mask_of()
    return call(
        rows, case.ids[RANK].npu(), sent[2], sent[4], case.weights[RANK].npu(), communicator(), WORLD, RANK,
        case.experts, x_active_mask=None if mask is None else mask.npu(), global_bs=case.global_bs, **more,
    )  # fmt: skip


def expect_rows(case: Case, sent: Sequence[torch.Tensor], cumulative: bool) -> None:
    """What a dispatch says about the rows of this rank, bit for bit."""
    rows, n = case.received(), len(case.received())
    if sent[0].dtype == case.dtype:
        want = (
            torch.stack([case.x[r][i] for r, i, _ in rows])
            if rows
            else torch.empty(0, case.hidden).to(case.dtype)
        )
        assert torch.equal(sent[0][:n].cpu(), want)
    own = range(RANK * case.local, (RANK + 1) * case.local)
    counts = torch.tensor(
        [[sum(r == rank for r, _, _ in case.rows(e)) for rank in range(WORLD)] for e in own]
    )
    per_expert = counts.sum(1)
    assert torch.equal(sent[3].cpu(), per_expert.cumsum(0) if cumulative else per_expert)
    assert torch.equal(sent[4].cpu().long(), counts.flatten().cumsum(0))


def combined(case: Case, shared: torch.Tensor | None = None) -> torch.Tensor:
    """The plain computation: expert e multiplies by e + 1, rounded as the experts' results are."""
    out = torch.zeros(case.tokens[RANK], case.hidden, dtype=torch.float64)
    for k in range(case.choices):
        factor = (case.ids[RANK][:, k, None] + 1).to(case.dtype)
        each = (case.x[RANK] * factor).double() * case.weights[RANK][:, k, None].double()
        out += each * case.active[RANK][:, k, None]
    return out if shared is None else out + shared.double()


def compute(case: Case, rows: torch.Tensor, per_expert: torch.Tensor) -> torch.Tensor:
    factors = torch.arange(RANK * case.local + 1, (RANK + 1) * case.local + 1).repeat_interleave(
        per_expert.cpu()
    )
    result = rows.clone()
    result[: len(factors)] *= factors.to(case.dtype).npu()[:, None]
    return result


def near(got: torch.Tensor, want: torch.Tensor) -> None:
    """Rounded once from a float32 sum: half a unit in the last place, and the sum's own error where terms cancel."""
    relative = {torch.float16: 2**-11, torch.bfloat16: 2**-8}[got.dtype]
    torch.testing.assert_close(got.cpu().double(), want, rtol=1.01 * relative, atol=1e-5)


def round_trip(version: int) -> None:
    for number, options in enumerate(CASES):
        case = Case(**options)
        cumulative = number % 2 == 1
        sent = dispatch(case, version, expert_token_nums_type=int(not cumulative))
        expect_rows(case, sent, cumulative)
        per_expert = sent[3].diff(prepend=sent[3].new_zeros(1)) if cumulative else sent[3]
        got = combine(case, version, compute(case, sent[0], per_expert), sent)
        assert got.dtype == case.dtype
        near(got, combined(case))


def check_there_and_back() -> None:
    round_trip(1)


def check_there_and_back_v2() -> None:
    round_trip(2)


def check_a_shared_experts_rows() -> None:
    case = Case([7] * WORLD, 2)
    shared = torch.randn(7, case.hidden, generator=torch.Generator().manual_seed(RANK)).to(case.dtype)
    sent = dispatch(case, 2)
    got = combine(case, 2, compute(case, sent[0], sent[3]), sent, shared_expert_x=shared.npu())
    near(got, combined(case, shared))


def expect_norm(
    case: Case, got: Sequence[torch.Tensor], want: torch.Tensor, gamma: torch.Tensor, eps: float
) -> None:
    """The sum, rounded once; its norm is of what was rounded."""
    y, scale, x = (t.cpu() for t in got)
    assert x.shape == y.shape == (case.tokens[RANK], 1, case.hidden) and y.dtype == x.dtype == case.dtype
    assert scale.shape == (case.tokens[RANK], 1, 1) and scale.dtype == torch.float32
    near(x[:, 0], want)
    inverse = 1 / (x.double().square().mean(-1, keepdim=True) + eps).sqrt()
    torch.testing.assert_close(scale.double(), inverse, rtol=1e-6, atol=0.0)
    near(y, x.double() * inverse * gamma.double())


def check_a_norm_behind_the_way_back() -> None:
    call = torch_npu.npu_moe_distribute_combine_add_rms_norm
    eps = 1e-3
    for number, options in enumerate(CASES):
        case = Case(**options)
        make = torch.Generator().manual_seed(RANK)
        residual, shared = (
            torch.randn(case.tokens[RANK], 1, case.hidden, generator=make).to(case.dtype) for _ in range(2)
        )
        gamma = torch.randn(case.hidden, generator=make).to(case.dtype)
        sent, mask, more = dispatch(case, 2), case.mask_of(), {}
        if number % 2:
            more = {"shared_expert_x": shared[:, 0].npu()}
        got = call(
            compute(case, sent[0], sent[3]), case.ids[RANK].npu(), sent[2], sent[4], case.weights[RANK].npu(),
            residual.npu(), gamma.npu(), communicator(), WORLD, RANK, case.experts,
            x_active_mask=None if mask is None else mask.npu(), global_bs=case.global_bs, norm_eps=eps, **more,
        )  # fmt: skip
        want = combined(case, shared[:, 0] if more else None) + residual[:, 0].double()
        expect_norm(case, got, want, gamma, eps)


def check_experts_that_compute_nothing() -> None:
    """Behind the others: two of zeros, then three that copy; a token may be all theirs."""
    for mask in ("", "tokens", "choices"):
        case = Case([11 + r for r in range(WORLD)], 3, local=3, mask=mask)
        free = torch.Generator().manual_seed(5)
        for rank in range(WORLD):
            own = torch.rand(case.tokens[rank], case.experts + 5, generator=free).argsort(1)
            case.ids[rank] = own[:, :3].int()
            case.ids[rank][0] = torch.arange(case.experts, case.experts + 3)
        special = {"zero_expert_num": 2, "copy_expert_num": 3}
        sent = dispatch(case, 2, **special)
        shared = torch.ones(case.tokens[RANK], case.hidden, dtype=case.dtype)
        for more in ({}, {"shared_expert_x": shared.npu()}):
            got = combine(
                case, 2, compute(case, sent[0], sent[3]), sent, ori_x=case.x[RANK].npu(), **special, **more
            )
            want = torch.zeros(case.tokens[RANK], case.hidden, dtype=torch.float64) + len(more)
            for k in range(3):
                ids = case.ids[RANK][:, k, None]
                row = (case.x[RANK] * (ids + 1).to(case.dtype)).double()
                row = torch.where(ids < case.experts, row, (ids >= case.experts + 2) * case.x[RANK].double())
                want += row * case.weights[RANK][:, k, None].double() * case.active[RANK][:, k, None]
            near(got, want)
            residual, gamma = torch.ones(case.tokens[RANK], 1, case.hidden), torch.ones(case.hidden)
            active = case.mask_of()
            normed = torch_npu.npu_moe_distribute_combine_add_rms_norm(
                compute(case, sent[0], sent[3]), case.ids[RANK].npu(), sent[2], sent[4],
                case.weights[RANK].npu(), residual.to(case.dtype).npu(), gamma.to(case.dtype).npu(),
                communicator(), WORLD, RANK, case.experts, global_bs=case.global_bs,
                x_active_mask=None if active is None else active.npu(), ori_x=case.x[RANK].npu(),
                norm_eps=1e-6, **special, **more,
            )  # fmt: skip
            expect_norm(case, normed, want + 1, gamma, 1e-6)


def check_strides_and_specials() -> None:
    """Operands with gaps; NaN and infinities go where their row goes, and to no other."""
    case = Case([7] * WORLD, 2)
    case.x[RANK][0, 0], case.x[RANK][1, 1] = float("nan"), float("inf")
    wide = torch.zeros(7, 2 * case.hidden, dtype=case.dtype).npu()
    wide[:, ::2] = case.x[RANK].npu()
    ids = case.ids[RANK].t().contiguous().npu().t()
    args = communicator(), WORLD, RANK, case.experts
    sent = torch_npu.npu_moe_distribute_dispatch_v2(wide[:, ::2], ids, *args)
    rows = compute(case, sent[0], sent[3])
    gaps = torch.zeros(len(rows), 2 * case.hidden, dtype=case.dtype).npu()
    gaps[:, ::2] = rows
    weights = case.weights[RANK].t().contiguous().npu().t()
    got = torch_npu.npu_moe_distribute_combine_v2(gaps[:, ::2], ids, sent[2], sent[4], weights, *args)
    want = combined(case)
    assert torch.equal(got.cpu().isnan(), want.isnan()) and torch.equal(got.cpu().isinf(), want.isinf())
    finite = want.isfinite()
    near(got.cpu()[finite], want[finite])


def check_weights_travel() -> None:
    case = Case([5 + r for r in range(WORLD)], 2)
    for version in (1, 2):
        sent = dispatch(case, version, expert_scales=case.weights[RANK].npu())
        want = [float(case.weights[r][i, k]) for r, i, k in case.received()]
        assert sent[6][: len(want)].tolist() == want


def check_int8() -> None:
    """A scale of each row's own, after the expert's scales: the same bits as npu_dynamic_quant's, within half a step."""
    for smooth in (False, True):
        for dtype in HALVES:
            case = Case([6 + r for r in range(WORLD)], 2, dtype=dtype)
            scales = torch.rand(case.experts, case.hidden, generator=torch.Generator().manual_seed(3)) + 0.5
            for version in (1, 2):
                sent = dispatch(case, version, quant_mode=2, scales=scales.npu() if smooth else None)
                expect_rows(case, sent, False)
                assert sent[0].dtype == torch.int8
                for at, (r, i, k) in enumerate(case.received()):
                    x = case.x[r][i].double()
                    if smooth:
                        x = x * scales[case.ids[r][i, k]].double()
                    scale = x.abs().max() / 127
                    torch.testing.assert_close(sent[1][at].cpu().double(), scale, rtol=1e-6, atol=0.0)
                    assert (sent[0][at].cpu().double() - x / scale).abs().max() <= 0.5 + 1e-4


def refused(text: str, call: Callable[[], object]) -> None:
    try:
        call()
        torch.npu.synchronize()
    except Exception as error:
        assert text in str(error), (text, str(error))
    else:
        raise AssertionError(f"not refused: {text}")


def check_wrong_arguments() -> None:
    """Named before anything is sent, so the group works on."""
    case = Case([4] * WORLD, 2)
    good = dispatch(case, 2)
    smooth = torch.ones(case.experts, case.hidden).npu()
    for options, text in (
        ({"tp_world_size": 2}, "tpWorldSize is 2"),
        (
            {"shared_expert_rank_num": 1},
            "sharedExpertRankNum is 1" if WORLD > 1 else "shared_expert_rank_num",
        ),
        ({"quant_mode": 2, "scales": smooth[:1]}, "scales is"),
        ({"comm_alg": "ring"}, "commAlg is 'ring'"),
        ({"const_expert_num": 1}, "constExpertNum is 1"),
        ({"zero_expert_num": -1}, "zeroExpertNum is -1"),
        ({"expert_shard_type": 1}, "expertShardType is 1"),
        ({"performance_info": torch.zeros(WORLD, dtype=torch.int64).npu()}, "performanceInfo"),
    ):
        refused(text, lambda options=options: dispatch(case, 2, **options))
    for options, text in (
        ({"comm_quant_mode": 2}, "commQuantMode is 2"),
        ({"copy_expert_num": 1}, "oriX is null"),
        ({"copy_expert_num": 1, "ori_x": case.x[RANK][:1].npu()}, "oriX is"),
        ({"const_expert_v": case.x[RANK].npu()}, "constExpertV"),
        ({"shared_expert_x": case.x[RANK][:1].npu()}, "sharedExpertX is"),
    ):
        refused(text, lambda options=options: combine(case, 2, good[0], good, **options))
    args = case.x[RANK].npu(), case.ids[RANK].npu(), communicator()
    v2 = torch_npu.npu_moe_distribute_dispatch_v2
    if WORLD > 1:
        refused("moeExpertNum is", lambda: v2(*args, WORLD, RANK, case.experts + 1))
    refused("epWorldSize is", lambda: v2(*args, 2 * WORLD, RANK, 2 * case.experts))
    refused("globalBs is", lambda: v2(*args, WORLD, RANK, case.experts, global_bs=WORLD))
    refused("no communicator called 'nobody'", lambda: v2(*args[:2], "nobody", WORLD, RANK, case.experts))
    near(combine(case, 2, compute(case, good[0], good[3]), good), combined(case))


# What only the data tells: every rank is wrong in the same way, and its process ends with the text.


def fault_range() -> None:
    case = Case([4] * WORLD, 2, to=lambda case, rank, make: spread(case, rank, make) + case.experts)
    dispatch(case, 1)
    torch.npu.synchronize()


def fault_twice() -> None:
    dispatch(Case([4] * WORLD, 2, to=lambda case, rank, make: torch.ones(4, 2)), 2)
    torch.npu.synchronize()


def fault_counts() -> None:
    case = Case([4] * WORLD, 2)
    sent = list(dispatch(case, 2))
    sent[4] = sent[4].flip(0)
    combine(case, 2, sent[0], sent)
    torch.npu.synchronize()


def fault_places() -> None:
    """Another dispatch's."""
    case = Case([4] * WORLD, 2)
    sent = list(dispatch(case, 1))
    sent[2] = sent[2] + 1
    combine(case, 1, sent[0], sent)
    torch.npu.synchronize()


def main() -> None:
    report, names = sys.argv[1], sys.argv[2:]
    torch.npu.set_device(RANK)
    dist.init_process_group("hccl", timeout=timedelta(seconds=200), device_id=torch.device("npu", RANK))
    if report == "fault":
        globals()[f"fault_{names[0]}"]()
        return
    store = dist.distributed_c10d._get_default_store()
    results = {}
    for name in names:
        mine = "ok"
        try:
            globals()[f"check_{name}"]()
            torch.npu.synchronize()
        except Exception:
            mine = f"rank {RANK}: {traceback.format_exc()}"
        store.set(f"{name}/{RANK}", mine)
        all_of_them = [store.get(f"{name}/{r}").decode() for r in range(WORLD)]
        results[name] = next((text for text in all_of_them if text != "ok"), "ok")
        if results[name] != "ok":
            break  # ranks may be anywhere now
    if RANK == 0:
        with open(report, "w") as file:
            json.dump(results, file)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
