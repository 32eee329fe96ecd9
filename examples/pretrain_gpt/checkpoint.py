# SPDX-License-Identifier: Apache-2.0
"""Checkpoints with megatron.core.dist_checkpointing: <out>/checkpoints/iter_0000200/ and the file `latest`.

A checkpoint is written under a temporary name and renamed when it is complete; only then `latest` is replaced. So a
process killed at any moment leaves the previous checkpoint in place and named. What a run keeps: class Saver. Loading
runs no code of the files (docs/security.md).

All ranks write; names and folders are the first one's. Tensors are stored as those of the whole model, so any layout
can load what another one saved. Only the states of random number generators belong to ranks: another layout starts
them anew, which is seen in dropout alone.
"""

from __future__ import annotations

import argparse
import pickle
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from errors import UserError
from files import (
    CONTENTS,
    check_folder,
    free_space,
    is_there,
    new_folder,
    read_small,
    remove,
    remove_leftovers,
    temporary_of,
    write_atomically,
)
from layout import Layout, layout_of
from megatron.core import dist_checkpointing, parallel_state, tensor_parallel
from megatron.core.dist_checkpointing import ShardedObject
from megatron.core.transformer.module import MegatronModule
from model import Job
from ranks import barrier, is_first, on_first
from torch.distributed.checkpoint.api import CheckpointException

LATEST = "latest"
KEPT = 2
# As this program writes them: no other digits than 0 to 9, no number that no run saves.
NUMBER = re.compile(r"[1-9][0-9]{0,11}")
NAME = re.compile(r"iter_([0-9]{7}|[1-9][0-9]{7,11})")
# CheckpointException holds what ranks raised, and is no Exception.
ANY_ERROR = (Exception, CheckpointException)
PROBE_BYTES = 1 << 20
NEEDED = (".metadata", "common.pt", "metadata.json")
# What must be equal for weights to fit.
SHAPE_OPTIONS = ("layers", "hidden", "heads", "experts")


def folder_of(out: Path, iteration: int) -> Path:
    return out / "checkpoints" / f"iter_{iteration:07d}"


def _iterations(out: Path) -> list[int]:
    """Of the checkpoints that are there."""
    names = (path.name for path in (out / "checkpoints").glob("iter_*"))
    return sorted(int(name[5:]) for name in names if NAME.fullmatch(name))


def latest_iteration(out: Path) -> int:
    """The iteration of the newest complete checkpoint, 0 if there is none.

    A run that ends between its first checkpoint and `latest` leaves none; and what is lost with the file is that it was
    set back, not the checkpoints: all that are there are complete.
    """
    path = out / "checkpoints" / LATEST
    if not is_there(path):
        return max(_iterations(out), default=0)
    remedy = "write one of the iter_* numbers beside it into it, or remove the folder to start again"
    try:
        text = read_small(path).strip()
    except UserError as error:
        raise UserError(f"{error}; {remedy}") from None
    if not NUMBER.fullmatch(text):
        raise UserError(f"{path} contains {text[:40]!r}, wanted the number of an iteration; {remedy}")
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


class Saver:
    """Saves the checkpoints of one run, and knows which of those in the folder may go.

    The last KEPT of this run stay, and the one that it resumed from. Older ones go with the first save. Newer ones are
    there when `latest` was set back: they stay until this run comes to their numbers.
    """

    def __init__(self, out: Path, resumed: int) -> None:
        self._out, self._resumed = out, resumed
        self._saved: list[int] = []

    def _old(self) -> list[int]:
        kept = [self._resumed, *self._saved[-KEPT:]]
        return [
            number
            for number in _iterations(self._out)
            if number not in kept and (number < self._resumed or number in self._saved)
        ]

    def _name_latest(self, iteration: int) -> None:
        write_atomically(self._out / "checkpoints" / LATEST, f"{iteration}\n")
        self._saved.append(iteration)
        for number in self._old():
            remove(folder_of(self._out, number))

    def _announce(self, iteration: int) -> None:
        if iteration not in self._saved and is_there(folder_of(self._out, iteration)):
            print(f"Replacing {folder_of(self._out, iteration)}, of a run before this one", flush=True)

    def save(self, job: Job, iteration: int, options: argparse.Namespace) -> None:
        target = folder_of(self._out, iteration)
        about = {"iteration": iteration, "dtype": options.dtype, "layout": asdict(job.layout)}
        about |= {name: getattr(options, name) for name in SHAPE_OPTIONS}
        try:
            on_first(lambda: remove_leftovers(target.parent))
            on_first(lambda: self._announce(iteration))
            _write(job, target, about, options)
            on_first(lambda: self._name_latest(iteration))
        except UserError:
            raise
        except ANY_ERROR as error:
            raise UserError(
                f"the checkpoint {target} cannot be written: {_reason(error)} ({free_space(self._out)}); earlier ones are "
                "untouched, run again to go on from the last"
            ) from error


def _ask_disk(folder: Path) -> None:
    """torch's writer of archives says that a stream has failed, the disk says why: OSError if it takes no more."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"\0" * PROBE_BYTES)
        file.flush()


def _write(job: Job, target: Path, about: dict[str, Any], options: argparse.Namespace) -> None:
    if options.overlap:  # parameters that other ranks have updated come with the next step only
        for chunk in job.chunks:
            chunk.start_param_sync(force_sync=True)
    with _folder_of_all(target, about) as folder:
        state = _state(job, is_loading=False) | {"random": _random_object()}
        try:
            dist_checkpointing.save(state, str(folder))
        except ANY_ERROR:
            _ask_disk(folder)
            raise


def _reason(error: BaseException) -> str:
    """One sentence, of the innermost cause that says something."""
    for _ in range(20):
        failures = getattr(error, "failures", None)  # of torch.distributed.checkpoint: by rank
        inner = next(iter(failures.values()))[0] if failures else error.__cause__
        if inner is None:
            break
        error = inner
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = " ".join(str(error).split())
    kind = "" if isinstance(error, pickle.UnpicklingError) else f"{type(error).__name__}: "
    return f"{kind}{text[:300]}" if text else type(error).__name__


def _remedy(out: Path, iteration: int) -> str:
    others = [number for number in _iterations(out) if number != iteration]
    latest = out / "checkpoints" / LATEST
    if others:
        return f"write the number of another checkpoint ({', '.join(map(str, others))}) into {latest}"
    return f"remove {latest.parent} to start again"


def _check_about(folder: Path, about: dict[str, Any], iteration: int, remedy: str) -> None:
    """That what the list says of the checkpoint has the types that a run writes."""
    layout = about.get("layout")
    wanted = asdict(Layout())
    fits = isinstance(layout, dict) and layout.keys() == wanted.keys()
    if not (fits and all(type(layout[name]) is type(value) for name, value in wanted.items())):
        raise UserError(f"{folder / CONTENTS} is damaged: it does not tell the layout; {remedy}")
    if about.get("iteration") != iteration:
        raise UserError(
            f"{folder} holds the checkpoint of iteration {str(about.get('iteration'))[:40]}, wanted that of {iteration}; {remedy}"
        )


def _check(out: Path, iteration: int, options: argparse.Namespace) -> tuple[Path, dict[str, Any]]:
    folder, remedy = folder_of(out, iteration), _remedy(out, iteration)
    about = check_folder(folder, remedy, NEEDED)
    _check_about(folder, about, iteration, remedy)
    for name in (*SHAPE_OPTIONS, "dtype"):
        wanted = getattr(options, name)
        if about.get(name) != wanted:
            raise UserError(
                f"the checkpoint {folder} was trained with --{name} {str(about.get(name))[:40]}, this run has --{name} "
                f"{wanted}; use the same, or another --out"
            )
    return folder, about["layout"]


def _find(out: Path, options: argparse.Namespace) -> tuple[int, Path, bool]:
    """Iteration (0: none), folder, and whether it was saved in the same layout."""
    iteration = latest_iteration(out)
    if iteration == 0:
        return 0, out, False
    folder, saved = _check(out, iteration, options)
    layout = layout_of(options)
    if (saved["ep"] > 1) != (layout.ep > 1):
        raise UserError(
            f"the checkpoint {folder} was trained with --ep {saved['ep']}, this run has --ep {layout.ep}; "
            "Megatron names the optimizer's state otherwise where experts are spread: keep --ep 1, or any --ep above 1"
        )
    return iteration, folder, saved == asdict(layout)


@contextmanager
def _reading(out: Path, iteration: int) -> Iterator[None]:
    """What a damaged or foreign checkpoint may raise has no end; files are whole, so it is what they hold."""
    try:
        yield
    except UserError:
        raise
    except ANY_ERROR as error:
        raise UserError(
            f"the checkpoint {folder_of(out, iteration)} cannot be loaded: {_reason(error)}; {_remedy(out, iteration)}"
        ) from error


def _restore(job: Job, state: dict[str, Any]) -> None:
    for index, module in enumerate(job.bare()):
        module.load_state_dict(state[f"model{index}"])
    job.optimizer.load_state_dict(state["optimizer"])
    job.scheduler.load_state_dict(state["scheduler"])
    if "random" in state:
        random = state["random"]
        torch.set_rng_state(random["torch"])
        torch.npu.set_rng_state(random["npu"])
        tensor_parallel.get_cuda_rng_tracker().set_states(random["tracker"])


def load(job: Job, out: Path, options: argparse.Namespace) -> int:
    """Restore the newest checkpoint, if there is one; returns its iteration or 0."""
    iteration, folder, is_same_layout = on_first(lambda: _find(out, options))
    if iteration == 0:
        return 0
    pattern = _state(job, is_loading=True)
    if is_same_layout:
        pattern["random"] = _random_object()
    with _reading(out, iteration):
        _restore(job, dist_checkpointing.load(pattern, str(folder)))
    return iteration


def newer_than(out: Path, iteration: int) -> list[int]:
    """Checkpoints that are there though the run resumes from an earlier one."""
    return [number for number in _iterations(out) if number > iteration]


def load_weights(model: MegatronModule, out: Path, options: argparse.Namespace) -> int:
    """Only the weights, into a bare model on one rank."""
    iteration = latest_iteration(out)
    if iteration == 0:
        raise UserError(f"there is no checkpoint below {out / 'checkpoints'}")
    folder, _ = _check(out, iteration, options)
    with _reading(out, iteration):
        state = dist_checkpointing.load({"model": model.sharded_state_dict()}, str(folder))
        model.load_state_dict(state["model"])
    return iteration
