# SPDX-License-Identifier: Apache-2.0
"""The ways to lay a training job out over ranks that the parity tests try, each a row of a table."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

MODELS = ("dense", "moe")
STEPS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One training job. What data parallelism is left with is world / (tp pp cp)."""

    model: str  # one of MODELS, or gated
    dtype: str = "fp32"
    layers: int = 4
    world: int = 1
    tp: int = 1
    sp: bool = False  # sequence parallel
    pp: int = 1
    vp: int = 1  # model chunks of a pipeline stage
    cp: int = 1
    ep: int = 1
    etp: int = 0  # tensor parallel size of experts; 0: tp
    dispatcher: str = "allgather"  # of tokens to experts
    grouped: bool = False  # products of all experts of a rank in one
    # plain, distributed, overlap (distributed, with its communication overlapped), fsdp2 (PyTorch's fully_shard), or
    # Megatron's own FSDP: zero2 shards gradients and the optimizer's state, zero3 parameters as well
    optimizer: str = "plain"
    # Of an interleaved pipeline; Megatron demands it of one with two stages, whose neighbours are the same rank.
    overlap_p2p: bool = False
    recompute: str = ""  # full, block (the first layer of each chunk) or selective
    per_token_loss: bool = False
    untied: bool = False  # embedding and output layer of a dense model have weights of their own
    adds: bool = False  # products of weight gradients are added to main_grad
    fast: bool = False  # part of every test run

    @property
    def dp(self) -> int:
        return self.world // (self.tp * self.pp * self.cp)

    @property
    def name(self) -> str:
        sizes = [
            f"{axis}{getattr(self, axis)}"
            for axis in ("tp", "pp", "vp", "cp", "ep", "etp")
            if getattr(self, axis) > 1 or (axis == "etp" and self.etp > 0)
        ]
        if self.dp > 1:
            sizes.append(f"dp{self.dp}")
        words = [self.dispatcher] if self.model == "moe" and self.dispatcher != "allgather" else []
        words += [self.optimizer] if self.optimizer != "plain" else []
        words += [f"recompute-{self.recompute}"] if self.recompute else []
        flags = (
            ("sp", self.sp),
            ("grouped", self.grouped),
            ("p2p", self.overlap_p2p),
            ("tokens", self.per_token_loss),
            ("adds", self.adds),
        )
        words += [word for word, is_on in flags if is_on]
        model = self.model if self.layers == 4 else f"{self.model}{self.layers}"
        return "-".join([model, self.dtype, f"w{self.world}", *sizes, *words])

    @property
    def reference(self) -> Layout:
        """The same model and numbers in one rank."""
        return Layout(model=self.model, dtype=self.dtype, layers=self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Steps `first` to `last` of a layout, from a checkpoint and to a checkpoint where one is named."""

    layout: Layout
    first: int = 0
    last: int = STEPS
    load: str = ""
    save: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Run:
        fields = json.loads(text)
        return Run(**fields | {"layout": Layout(**fields["layout"])})


def dense(**sizes: object) -> Layout:
    return Layout(model="dense", **sizes)


def moe(**sizes: object) -> Layout:
    return Layout(model="moe", **sizes)


_FP32 = (
    # One rank: what may not change results there either.
    dense(recompute="full", optimizer="distributed", fast=True),
    moe(dispatcher="alltoall", recompute="selective", optimizer="distributed"),
    # Two ranks: one thing at a time.
    dense(world=2, tp=2),
    dense(world=2, tp=2, sp=True, fast=True),
    dense(world=2, pp=2, fast=True),
    dense(world=2, pp=2, vp=2, overlap_p2p=True),
    dense(world=2, cp=2),
    dense(world=2),
    dense(world=2, optimizer="distributed"),
    dense(world=2, optimizer="overlap"),
    dense(world=2, per_token_loss=True),
    dense(world=2, optimizer="zero3"),
    moe(world=2, optimizer="fsdp2"),
    moe(world=2, ep=2),
    moe(world=2, ep=2, dispatcher="alltoall"),
    moe(world=2, pp=2),
    moe(world=2, cp=2, dispatcher="alltoall"),
    moe(world=2, tp=2, sp=True),
    # Four ranks: two things at a time.
    dense(world=4, tp=2, pp=2, optimizer="distributed"),
    dense(world=4, tp=2, pp=2, sp=True, recompute="selective"),
    dense(world=4, tp=4, sp=True, recompute="full"),
    dense(world=4, pp=4),
    dense(world=4, pp=4, vp=2, layers=8),
    dense(world=4, pp=2, vp=2, overlap_p2p=True, optimizer="distributed"),
    dense(world=4, tp=2, cp=2, sp=True),
    dense(world=4, cp=4, optimizer="distributed"),
    dense(world=4, cp=2, pp=2),
    dense(world=4, optimizer="overlap"),
    dense(world=4, tp=2, optimizer="zero3"),
    moe(world=4, optimizer="fsdp2"),
    moe(world=4, tp=2, sp=True, ep=2, dispatcher="alltoall", optimizer="distributed"),
    moe(world=4, tp=2, sp=True, ep=2),
    moe(world=4, tp=2, sp=True, ep=4, etp=1, dispatcher="alltoall", optimizer="distributed"),
    moe(world=4, ep=4, dispatcher="alltoall", optimizer="overlap"),
    moe(world=4, ep=2, pp=2, dispatcher="alltoall", optimizer="distributed"),
    moe(world=4, ep=2, cp=2, dispatcher="alltoall"),
    # Eight ranks: three.
    dense(world=8, tp=2, pp=2, optimizer="distributed"),
    dense(world=8, tp=2, pp=2, vp=2, overlap_p2p=True, sp=True, optimizer="overlap"),
    dense(world=8, tp=2, pp=2, cp=2, sp=True),
    dense(world=8, tp=8, sp=True),
    dense(world=8, optimizer="overlap"),
    moe(world=8, ep=8, dispatcher="alltoall", optimizer="distributed"),
    moe(world=8, tp=2, pp=2, ep=2, sp=True, dispatcher="alltoall", optimizer="distributed"),
    moe(world=8, tp=2, cp=2, ep=2, sp=True, optimizer="distributed"),
)
_BF16 = tuple(
    replace(layout, dtype="bf16", fast=False)
    for layout in (
        dense(world=2, tp=2, sp=True),
        dense(world=2, cp=2),
        dense(world=2, pp=2, vp=2, overlap_p2p=True),
        # In fp32 Megatron's own attention changes in place what its FSDP passes through.
        dense(world=2, optimizer="zero2"),
        dense(world=4, tp=2, pp=2, optimizer="distributed"),
        dense(world=8, tp=2, pp=2, optimizer="overlap", sp=True),
        moe(world=2, ep=2, dispatcher="alltoall"),
        moe(world=4, tp=2, sp=True, ep=2, optimizer="distributed"),
    )
)
LAYOUTS: tuple[Layout, ...] = (*_FP32, *_BF16)
