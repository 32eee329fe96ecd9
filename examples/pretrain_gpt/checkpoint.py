# SPDX-License-Identifier: Apache-2.0
"""Checkpoints with megatron.core.dist_checkpointing: <out>/checkpoints/iter_0000200/ and the file `latest`.

A checkpoint is written under a temporary name and renamed when it is complete; only then `latest` is replaced. So a
process killed at any moment leaves the previous checkpoint in place and named. The last two are kept.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import torch
from errors import UserError
from files import check_folder, new_folder, read_about, remove_leftovers, write_atomically
from megatron.core import dist_checkpointing, tensor_parallel
from megatron.core.dist_checkpointing import ShardedObject
from megatron.core.transformer.module import MegatronModule
from model import Job

LATEST = "latest"
KEPT = 2
# What must be equal for weights to fit.
SHAPE_OPTIONS = ("layers", "hidden", "heads")


def folder_of(out: Path, iteration: int) -> Path:
    return out / "checkpoints" / f"iter_{iteration:07d}"


def latest_iteration(out: Path) -> int:
    """The iteration of the newest complete checkpoint, 0 if there is none."""
    path = out / "checkpoints" / LATEST
    if not path.is_file():
        return 0
    text = path.read_text(encoding="utf-8").strip()
    if not text.isdigit():
        raise UserError(
            f"{path} contains {text[:40]!r}, wanted the number of an iteration; write one of the iter_* "
            "numbers beside it into it, or remove the folder to start again"
        )
    return int(text)


def _random_state() -> dict[str, Any]:
    return {
        "torch": torch.get_rng_state(),
        "npu": torch.npu.get_rng_state(),
        "tracker": tensor_parallel.get_cuda_rng_tracker().get_states(),
    }


def _bare(job: Job) -> torch.nn.Module:
    """The model without the data-parallel wrapper, whose name must not get into the keys."""
    return job.model.module


def _state(job: Job, *, is_loading: bool) -> dict[str, Any]:
    """What goes to disk; when loading, the pattern that is filled in."""
    module = _bare(job).sharded_state_dict()
    return {
        "model": module,
        "optimizer": job.optimizer.sharded_state_dict(module, is_loading=is_loading),
        "scheduler": job.scheduler.state_dict(),
        "random": ShardedObject("random", _random_state(), (1,), (0,), replica_id=0),
    }


def save(job: Job, out: Path, iteration: int, options: argparse.Namespace) -> Path:
    target = folder_of(out, iteration)
    about = {"iteration": iteration, "dtype": options.dtype} | {
        name: getattr(options, name) for name in SHAPE_OPTIONS
    }
    remove_leftovers(target.parent)
    with new_folder(target, about) as folder:
        dist_checkpointing.save(_state(job, is_loading=False), str(folder))
    write_atomically(target.parent / LATEST, f"{iteration}\n")
    for old in sorted(target.parent.glob("iter_*"))[:-KEPT]:
        if old != target:
            shutil.rmtree(old)
    return target


def _check(out: Path, iteration: int, options: argparse.Namespace) -> Path:
    folder = folder_of(out, iteration)
    others = sorted(path.name for path in folder.parent.glob("iter_*") if path != folder)
    remedy = (
        f"write the number of another checkpoint ({', '.join(others)}) into {folder.parent / LATEST}"
        if others
        else f"remove {folder.parent} to start again"
    )
    check_folder(folder, remedy)
    about = read_about(folder) or {}
    for name in (*SHAPE_OPTIONS, "dtype"):
        wanted = getattr(options, name)
        if about.get(name) != wanted:
            raise UserError(
                f"the checkpoint {folder} was trained with --{name} {about.get(name)}, this run has --{name} "
                f"{wanted}; use the same, or another --out"
            )
    return folder


def load(job: Job, out: Path, options: argparse.Namespace) -> int:
    """Restore the newest checkpoint, if there is one; returns its iteration or 0."""
    iteration = latest_iteration(out)
    if iteration == 0:
        return 0
    folder = _check(out, iteration, options)
    state = dist_checkpointing.load(_state(job, is_loading=True), str(folder))
    _bare(job).load_state_dict(state["model"])
    job.optimizer.load_state_dict(state["optimizer"])
    job.scheduler.load_state_dict(state["scheduler"])
    random = state["random"]
    torch.set_rng_state(random["torch"])
    torch.npu.set_rng_state(random["npu"])
    tensor_parallel.get_cuda_rng_tracker().set_states(random["tracker"])
    return iteration


def load_weights(model: MegatronModule, out: Path, options: argparse.Namespace) -> int:
    """Only the weights, into a bare model."""
    iteration = latest_iteration(out)
    if iteration == 0:
        raise UserError(f"there is no checkpoint below {out / 'checkpoints'}")
    folder = _check(out, iteration, options)
    state = dist_checkpointing.load({"model": model.sharded_state_dict()}, str(folder))
    model.load_state_dict(state["model"])
    return iteration
