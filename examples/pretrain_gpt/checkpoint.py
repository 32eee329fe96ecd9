# SPDX-License-Identifier: Apache-2.0
"""Checkpoints with megatron.core.dist_checkpointing: <out>/checkpoints/iter_0000200/ and the file `latest`.

A checkpoint is written under a temporary name and renamed when it is complete; only then `latest` is replaced. So a
process killed at any moment leaves the previous checkpoint in place and named. The last two are kept.

All ranks write; names and folders are the first one's. Tensors are stored as those of the whole model, so any layout
can load what another one saved. Only the states of random number generators belong to ranks: another layout starts
them anew, which is seen in dropout alone.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from errors import UserError
from files import check_folder, new_folder, read_about, remove_leftovers, temporary_of, write_atomically
from layout import layout_of
from megatron.core import dist_checkpointing, parallel_state, tensor_parallel
from megatron.core.dist_checkpointing import ShardedObject
from megatron.core.transformer.module import MegatronModule
from model import Job
from ranks import barrier, is_first, on_first

LATEST = "latest"
KEPT = 2
# What must be equal for weights to fit.
SHAPE_OPTIONS = ("layers", "hidden", "heads", "experts")


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


def _random_object() -> ShardedObject:
    rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    return ShardedObject("random", _random_state(), (size,), (rank,), replica_id=0)


def _models(job: Job) -> dict[str, Any]:
    """Per chunk of the model that this rank holds; the numbers of its layers depend on which one is current."""
    states = {}
    for index, module in enumerate(job.bare()):
        if job.layout.vp > 1:
            parallel_state.set_virtual_pipeline_model_parallel_rank(index)
        states[f"model{index}"] = module.sharded_state_dict()
    return states


def _state(job: Job, *, is_loading: bool) -> dict[str, Any]:
    """What goes to disk; when loading, the pattern that is filled in. Without the random states."""
    models = _models(job)
    return models | {
        "optimizer": job.optimizer.sharded_state_dict(models, is_loading=is_loading),
        "scheduler": job.scheduler.state_dict(),
    }


@contextmanager
def _folder_of_all(target: Path, about: dict[str, Any]) -> Iterator[Path]:
    """new_folder for all ranks."""
    with new_folder(target, about) if is_first() else nullcontext():
        barrier()
        yield temporary_of(target)
        barrier()
    barrier()


def _name_latest(target: Path, iteration: int) -> None:
    write_atomically(target.parent / LATEST, f"{iteration}\n")
    for old in sorted(target.parent.glob("iter_*"))[:-KEPT]:
        if old != target:
            shutil.rmtree(old)


def save(job: Job, out: Path, iteration: int, options: argparse.Namespace) -> None:
    target = folder_of(out, iteration)
    about = {"iteration": iteration, "dtype": options.dtype, "layout": asdict(job.layout)}
    about |= {name: getattr(options, name) for name in SHAPE_OPTIONS}
    on_first(lambda: remove_leftovers(target.parent))
    if options.overlap:  # parameters that other ranks have updated come with the next step only
        for chunk in job.chunks:
            chunk.start_param_sync(force_sync=True)
    with _folder_of_all(target, about) as folder:
        state = _state(job, is_loading=False) | {"random": _random_object()}
        dist_checkpointing.save(state, str(folder))
    on_first(lambda: _name_latest(target, iteration))


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


def _find(out: Path, options: argparse.Namespace) -> tuple[int, Path, bool]:
    """Iteration (0: none), folder, and whether it was saved in the same layout."""
    iteration = latest_iteration(out)
    if iteration == 0:
        return 0, out, False
    folder = _check(out, iteration, options)
    saved, layout = (read_about(folder) or {}).get("layout", {}), layout_of(options)
    if (saved.get("ep", 1) > 1) != (layout.ep > 1):
        raise UserError(
            f"the checkpoint {folder} was trained with --ep {saved.get('ep', 1)}, this run has --ep {layout.ep}; "
            "Megatron names the optimizer's state otherwise where experts are spread: keep --ep 1, or any --ep above 1"
        )
    return iteration, folder, saved == asdict(layout)


def load(job: Job, out: Path, options: argparse.Namespace) -> int:
    """Restore the newest checkpoint, if there is one; returns its iteration or 0."""
    iteration, folder, is_same_layout = on_first(lambda: _find(out, options))
    if iteration == 0:
        return 0
    pattern = _state(job, is_loading=True)
    if is_same_layout:
        pattern["random"] = _random_object()
    state = dist_checkpointing.load(pattern, str(folder))
    for index, module in enumerate(job.bare()):
        module.load_state_dict(state[f"model{index}"])
    job.optimizer.load_state_dict(state["optimizer"])
    job.scheduler.load_state_dict(state["scheduler"])
    if is_same_layout:
        random = state["random"]
        torch.set_rng_state(random["torch"])
        torch.npu.set_rng_state(random["npu"])
        tensor_parallel.get_cuda_rng_tracker().set_states(random["tracker"])
    return iteration


def load_weights(model: MegatronModule, out: Path, options: argparse.Namespace) -> int:
    """Only the weights, into a bare model on one rank."""
    iteration = latest_iteration(out)
    if iteration == 0:
        raise UserError(f"there is no checkpoint below {out / 'checkpoints'}")
    folder = _check(out, iteration, options)
    state = dist_checkpointing.load({"model": model.sharded_state_dict()}, str(folder))
    model.load_state_dict(state["model"])
    return iteration
