# SPDX-License-Identifier: Apache-2.0
"""What the tests of memory features train: all cases of one world size in one job, started when the first is asked for."""

from __future__ import annotations

import functools
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torchrun
from parallel_layouts import STEPS, Layout, Run

JOB = Path(__file__).parent / "memory_job.py"
SIZES = {"SEQUENCE": 32, "BATCH": 2}
LONG = {"SEQUENCE": 256, "BATCH": 1}  # where activations are most of what is held
WIDE = {"SEQUENCE": 512, "BATCH": 1}  # tensors of 64 Ki elements and more
FLASH = {"use_flash_attn": True}
ATTENTION = {"swap_attention": True, **FLASH}
RECOMPUTE = {"recompute_activation_function": True}
ADVANCE = {
    "recompute_in_advance": True, "recompute_granularity": "full", "recompute_method": "block",
}  # fmt: skip
NORM = {"recompute_norm": True}
SWAP = {"swap_optimizer": True, "use_distributed_optimizer": True}
REUSE = {"reuse_fp32_param": True, "bf16": True}

Case = dict[str, Any]
Result = dict[str, Any]


def case(flags: dict[str, Any], sizes: dict[str, int] = SIZES, **layout: Any) -> Case:
    """STEPS steps, or the half of them up to a checkpoint (`save`) or from one (`load`)."""
    run = {"save": layout.pop("save", ""), "load": layout.pop("load", "")}
    first, last = STEPS // 2 if run["load"] else 0, STEPS // 2 if run["save"] else STEPS
    made = Run(layout=Layout(**{"model": "dense", "dtype": "bf16"} | layout), first=first, last=last, **run)
    return {"run": asdict(made), "flags": flags, "sizes": sizes}


_ZERO1 = {"optimizer": "distributed"}
_EXPERTS = {"model": "moe", "world": 2, "ep": 2, "dispatcher": "alltoall", "optimizer": "distributed"}
_INTERLEAVED = {"world": 2, "pp": 2, "vp": 2, "overlap_p2p": True}
CASES: dict[str, Case] = {
    "distributed": case({}, **_ZERO1),
    "swap-save": case(SWAP, **_ZERO1, save="swap"),
    "swap-load": case(SWAP, **_ZERO1, load="swap"),
    "reuse-load-swap": case(REUSE, **_ZERO1, load="swap"),
    "distributed-load-swap": case({}, **_ZERO1, load="swap"),
    "plain": case({}),
    "reuse-plain-save": case(REUSE, save="reuse"),
    "reuse-plain-load": case(REUSE, load="reuse"),
    "attention": case(ATTENTION, LONG),
    "long": case(FLASH, LONG),
    "recompute": case(FLASH | RECOMPUTE, LONG),
    "norm": case(FLASH | NORM, LONG),
    "activation": case(FLASH | {"compress_activation": "0"}, WIDE, layers=8),
    "first-two": case(FLASH | {"compress_activation": "1-2"}, WIDE, layers=8),
    "dense0": case(FLASH | {"compress_dense": "level0"}, WIDE, layers=8),
    "dense1": case(FLASH | {"compress_dense": "level1"}, WIDE, layers=8),
    "wide": case(FLASH, WIDE, layers=8),
    "all": case(ATTENTION | RECOMPUTE | REUSE, LONG),
    "w2-overlap": case({}, world=2, optimizer="overlap"),
    "w2-reuse": case(REUSE, world=2, optimizer="overlap"),
    "w2-reuse-save": case(REUSE, world=2, optimizer="overlap", save="reuse"),
    "w2-reuse-load": case(REUSE, world=2, optimizer="overlap", load="reuse"),
    "w2-swap": case(SWAP, world=2, optimizer="overlap"),
    "w2-swap-load": case(SWAP, world=2, optimizer="overlap", load="reuse"),
    "w2-tp": case(FLASH, LONG, world=2, tp=2, sp=True),
    "w2-tp-recompute": case(FLASH | RECOMPUTE, LONG, world=2, tp=2, sp=True),
    "w2-tp-norm": case(FLASH | NORM, LONG, world=2, tp=2, sp=True),
    "w2-tp-attention": case(ATTENTION, LONG, world=2, tp=2, sp=True),
    "w2-pp": case(FLASH, LONG | {"BATCH": 4}, world=2, pp=2, vp=2, overlap_p2p=True),
    "w2-pp-bubble": case(FLASH | {"recompute_in_bubble": True}, LONG | {"BATCH": 4}, **_INTERLEAVED),
    "w2-pp-block": case(FLASH, LONG | {"BATCH": 4}, **_INTERLEAVED, recompute="block"),
    "w2-pp-advance": case(FLASH | ADVANCE, LONG | {"BATCH": 4}, **_INTERLEAVED, recompute="block"),
    "w2-pp-attention": case(ATTENTION, LONG | {"BATCH": 4}, world=2, pp=2, vp=2, overlap_p2p=True),
    "w2-moe": case(FLASH, LONG | {"BATCH": 2}, **_EXPERTS),
    "w2-moe-recompute": case(FLASH | RECOMPUTE, LONG | {"BATCH": 2}, **_EXPERTS),
    "w2-moe-attention": case(ATTENTION, LONG | {"BATCH": 2}, **_EXPERTS),
    "w2-moe-reuse": case(FLASH | REUSE, LONG | {"BATCH": 2}, **_EXPERTS),
    "w2-moe-swap": case(FLASH | SWAP, LONG | {"BATCH": 2}, **_EXPERTS),
}


@functools.cache
def _results(world: int) -> dict[str, Result]:
    return run({name: made for name, made in CASES.items() if made["run"]["layout"]["world"] == world})


def run(cases: dict[str, Case]) -> dict[str, Result]:
    """All of one world size in one job."""
    world = next(iter(cases.values()))["run"]["layout"]["world"]
    with tempfile.TemporaryDirectory() as folder:
        arguments = [json.dumps(_in(folder, made)) for made in cases.values()]
        lines = torchrun.rows(world, JOB, arguments, timeout=600)
    return dict(zip(cases, lines, strict=True))


def _in(folder: str, made: Case) -> Case:
    """Checkpoints lie in the folder."""
    run = {key: f"{folder}/{made['run'][key]}" for key in ("save", "load") if made["run"][key]}
    return made | {"run": made["run"] | run}


def result(name: str) -> Result:
    return _results(CASES[name]["run"]["layout"]["world"])[name]


def training(name: str) -> tuple[list[float], list[float], str]:
    """Losses, norms and weights: what has to be the same, bit for bit."""
    found = result(name)
    return found["losses"], found["norms"], found["weights"]


def is_same_after_checkpoint(name: str, wanted: str) -> bool:
    """Of a case that loads: whether it is the second half of another one."""
    (losses, norms, weights), other = training(name), training(wanted)
    return (losses, norms, weights) == (other[0][STEPS // 2 :], other[1][STEPS // 2 :], other[2])


def is_same_until_checkpoint(name: str, wanted: str) -> bool:
    """Of a case that saves: whether it is the first half of another one."""
    (losses, norms, _), other = training(name), training(wanted)
    return (losses, norms) == (other[0][: STEPS // 2], other[1][: STEPS // 2])
