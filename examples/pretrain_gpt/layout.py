# SPDX-License-Identifier: Apache-2.0
"""How the job is laid out over NPUs, and what is possible."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields

from errors import require
from vocabulary import PADDED_VOCAB_SIZE

# Samples in one forward pass, if the options do not say: at most.
MICRO_BATCH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Ranks, one per NPU, and what each axis of parallelism has of them. The rest is data parallel."""

    npus: int = 1
    tp: int = 1  # tensor parallel
    sp: bool = False  # and sequence parallel along with it
    pp: int = 1  # pipeline stages
    vp: int = 1  # pieces of the model in each of them
    cp: int = 1  # context parallel: parts of each sequence
    ep: int = 1  # expert parallel

    @property
    def dp(self) -> int:
        return self.npus // (self.tp * self.pp * self.cp)

    def __str__(self) -> str:
        parts = [
            f"tensor {self.tp}{' with sequence' if self.sp else ''}" if self.tp > 1 else "",
            f"context {self.cp}" if self.cp > 1 else "",
            f"pipeline {self.pp}{f' in {self.vp} pieces each' if self.vp > 1 else ''}" if self.pp > 1 else "",
            f"data {self.dp}" if self.dp > 1 else "",
        ]
        experts = f", experts over {self.ep}" if self.ep > 1 else ""
        return f"{self.npus} NPU{'s' if self.npus > 1 else ''}: {' x '.join(filter(None, parts)) or 'one rank'}{experts}"


def layout_of(options: argparse.Namespace) -> Layout:
    return Layout(**{field.name: getattr(options, field.name) for field in fields(Layout)})


def _check_model(options: argparse.Namespace, layout: Layout) -> None:
    for name, size in (("heads", options.heads), ("the padded vocabulary", PADDED_VOCAB_SIZE)):
        require(size % layout.tp == 0, "tp", layout.tp, f"a divisor of {name} ({size})")
    stages = layout.pp * layout.vp
    require(
        options.layers % stages == 0, "layers", options.layers, f"a multiple of --pp times --vp ({stages})"
    )
    pieces = 2 * layout.cp if layout.cp > 1 else 1
    require(
        options.seq % pieces == 0,
        "seq",
        options.seq,
        f"a multiple of twice --cp ({pieces}), as causal work is dealt out",
    )
    if layout.sp:
        require(
            layout.tp > 1, "sp", "on", "--tp 2 or more with it: it cuts sequences among tensor-parallel ranks"
        )
        part = layout.tp * layout.cp
        require(
            options.seq % part == 0, "seq", options.seq, f"a multiple of --tp times --cp ({part}) with --sp"
        )


def _check_experts(options: argparse.Namespace, layout: Layout) -> None:
    if options.experts == 0:
        require(layout.ep == 1, "ep", layout.ep, "1 without experts (--experts)")
        return
    require(options.topk <= options.experts, "topk", options.topk, f"at most --experts ({options.experts})")
    require(options.experts % layout.ep == 0, "experts", options.experts, f"a multiple of --ep ({layout.ep})")
    ranks = layout.dp * layout.cp
    require(
        ranks % layout.ep == 0, "ep", layout.ep, f"a divisor of data times context parallel ranks ({ranks})"
    )
    require(layout.tp == 1 or layout.sp, "sp", "off", "on, as Megatron trains experts with --tp only so")


def _resolve_micro_batch(options: argparse.Namespace, layout: Layout) -> None:
    """The largest that divides, does not exceed MICRO_BATCH and keeps every pipeline stage busy."""
    require(
        options.global_batch % layout.dp == 0,
        "global-batch",
        options.global_batch,
        f"a multiple of the data parallel ranks ({layout.dp})",
    )
    mine = options.global_batch // layout.dp
    if options.micro_batch is None:
        wanted = max(1, min(MICRO_BATCH, mine // layout.pp))
        options.micro_batch = next(size for size in range(wanted, 0, -1) if mine % size == 0)
    samples = options.micro_batch * layout.dp
    names, sizes = "--micro-batch", f"{options.micro_batch}"
    if layout.dp > 1:
        names, sizes = f"{names} times the data parallel ranks", f"{sizes} x {layout.dp}"
    require(
        options.global_batch % samples == 0,
        "global-batch",
        options.global_batch,
        f"a multiple of {names} ({sizes})",
    )
    count = options.global_batch // samples
    require(
        layout.vp == 1 or count % layout.pp == 0,
        "global-batch",
        options.global_batch,
        f"as many micro-batches for each rank (now {count}) as a multiple of --pp ({layout.pp}) with --vp",
    )


def check(options: argparse.Namespace) -> None:
    """Raise UserError for a layout that cannot be; sets --micro-batch where it is left open."""
    layout = layout_of(options)
    ranks = layout.tp * layout.pp * layout.cp
    require(
        layout.npus % ranks == 0,
        "npus",
        layout.npus,
        f"a multiple of --tp x --pp x --cp ({layout.tp} x {layout.pp} x {layout.cp} = {ranks})",
    )
    require(layout.vp == 1 or layout.pp > 1, "vp", layout.vp, "1 without a pipeline (--pp)")
    _check_model(options, layout)
    _check_experts(options, layout)
    _resolve_micro_batch(options, layout)
