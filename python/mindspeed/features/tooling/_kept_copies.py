# SPDX-License-Identifier: Apache-2.0
"""Copies of a training job while it runs, and the way back to one when its ranks were started again."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

from mindspeed.features.tooling import _kept_peers as peers
from mindspeed.features.tooling._kept_files import Copy, Folder, Slot, job_folder, own_folder
from mindspeed.features.tooling._kept_state import Training, described

# A description's length differs a little from step to step; room is taken in these.
_SPARE, _UNIT = 1 << 16, 1 << 20


def _room(size: int) -> int:
    return -(-(size + _SPARE) // _UNIT) * _UNIT


def say(text: str) -> None:
    print(f"fault recovery: {text}", flush=True)


@dataclass(frozen=True, slots=True)
class Found:
    """A step to go on behind. `data` are the bytes of this rank's state."""

    step: int
    data: torch.Tensor
    told: dict[str, Any]
    copies: list[Copy]

    def close(self) -> None:
        for copy in self.copies:
            copy.close()


@dataclass(slots=True)
class Copies:
    """`layout`: of the job; copies of another one are not taken."""

    folder: Folder
    layout: dict[str, Any]
    interval: int
    device: torch.device
    ring: peers.Ring
    is_restarted: bool
    _slots: dict[tuple[int, int], Slot] = field(default_factory=dict)  # by owner and turn

    def keep(self, training: Training, step: int, counted: dict[str, Any]) -> None:
        """Behind a step: a copy of this rank's state here, and one with its neighbour. All ranks call it."""
        rank, turn = dist.get_rank(), step // self.interval % self.folder.slots
        image = training.image(self.layout, counted)
        if self.ring.source != rank and (self.ring.source, turn) not in self._slots:
            # A second name of this rank's own copy: not of the new one before both are known to be the same.
            self.folder.forget(self.ring.source, turn)
        own = self._slot(rank, turn, image.size)
        own.begin()
        image.write(own.data)
        checksum = own.seal(step, image.size)
        every = peers.sizes_and_sums(image.size, checksum, self.device)
        self._keep_neighbours(step, turn, own, every)
        # The turn before is overwritten next: not until all have this one.
        dist.barrier()

    def _keep_neighbours(self, step: int, turn: int, own: Slot, every: list[tuple[int, int]]) -> None:
        """What has the same bytes is not sent: this rank's own copy is its neighbour's as well."""
        rank, (to, source) = dist.get_rank(), (self.ring.to, self.ring.source)
        if source == rank:
            return
        size = every[source][0]
        if every[source] == every[rank]:
            if (source, turn) in self._slots:
                self._slots.pop((source, turn)).close()
            self.folder.share(rank, source, turn)
            slot = None
        else:
            slot = self._slot(source, turn, size)
            slot.begin()
        out = own.data[: every[rank][0]] if every[to] != every[rank] else None
        peers.exchange(out, to, slot.data[:size] if slot is not None else None, source, self.device)
        if slot is not None and slot.seal(step, size) != every[source][1] % (1 << 64):
            raise RuntimeError(
                f"fault recovery: the copy of rank {source} came to rank {rank} with another checksum: memory or the way "
                "between them is damaged"
            )

    def _slot(self, owner: int, turn: int, size: int) -> Slot:
        known = self._slots.get((owner, turn))
        if known is not None and known.room >= size:
            return known
        if known is not None:
            known.close()
        path = self.folder.path_of(owner, turn)
        try:
            slot = Slot(path, _room(size))
        except OSError as error:
            file = os.statvfs(path.parent)
            raise RuntimeError(
                f"fault recovery: no copy of {_room(size) / 2**20:.0f} MiB in {path} ({error.strerror}; "
                f"{file.f_bavail * file.f_frsize / 2**20:.0f} MiB are free there): make the file system larger "
                "(mount -o remount,size=...), or keep fewer (--ttp-max-dump-ckpt-to-keep)"
            ) from error
        self._slots[owner, turn] = slot
        return slot

    def find(self) -> Found | None:
        """The newest step of which the state of every rank is left, this rank's in its own memory or sent by who has it. All
        ranks call it, at every start: which ranks are new only the others know. They find the same."""
        copies = self._whole()
        offers: list[Any] = [None] * dist.get_world_size()
        mine = [(owner, copy.step, copy.data.numel()) for (owner, _), copy in copies.items()]
        dist.all_gather_object(offers, mine)
        held = [[(owner, step) for owner, step, _ in of_rank] for of_rank in offers]
        choice = peers.newest_of_all(held, len(offers))
        if choice is None:
            for copy in copies.values():
                copy.close()
            if dist.get_rank() == 0 and (self.is_restarted or any(held)):
                lacking = "; ".join(_holds(rank, of_rank) for rank, of_rank in enumerate(held))
                say(f"there is no step of which the copies of all ranks are left ({lacking})")
            return None
        step, givers = choice
        sizes = {owner: size for of_rank in offers for owner, at, size in of_rank if at == step}
        here = {owner: copy.data for (owner, at), copy in copies.items() if at == step}
        data = peers.hand_over(givers, here, sizes, self.device)
        if dist.get_rank() == 0:
            say(f"goes on behind step {step} from copies in memory, reads no checkpoint: {_givers(givers)}")
        return Found(step, data, described(data), list(copies.values()))

    def _whole(self) -> dict[tuple[int, int], Copy]:
        """By owner and step; says what of the rest is wrong."""
        found: dict[tuple[int, int], Copy] = {}
        for owner, copy in self.folder.copies():
            if isinstance(copy, str):
                say(f"rank {dist.get_rank()} does not take {copy}")
                continue
            layout = described(copy.data)["layout"]
            if layout != self.layout:
                say(f"rank {dist.get_rank()} does not take {copy.path}: {_difference(layout, self.layout)}")
                copy.close()
            else:
                found[owner, copy.step] = copy
        return found


def _difference(there: dict[str, Any], here: dict[str, Any]) -> str:
    parts = [f"{name} is {here.get(name)} and was {there.get(name)}" for name in here if here[name] != there.get(name)]  # fmt: skip
    return f"it is of another layout ({', '.join(parts)})"


def _holds(rank: int, held: list[peers.Offer]) -> str:
    what = ", ".join(f"step {step} of rank {owner}" for owner, step in held)
    return f"rank {rank} has {what or 'nothing'}"


def _givers(givers: list[int]) -> str:
    moved = [f"rank {owner}'s is from rank {giver}" for owner, giver in enumerate(givers) if owner != giver]
    return "; ".join(moved) or "each rank has its own"


def _restarts() -> int:
    """How often ranks were started again by torchrun; RuntimeError where they never would be."""
    if int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) == 0:
        raise RuntimeError(
            "--ttp-enabled: nobody would start the ranks again when one dies; start the program with torchrun "
            "--max-restarts N, N at least 1"
        )
    return int(os.environ["TORCHELASTIC_RESTART_COUNT"])


def open_copies(place: str, keep: int, interval: int, layout: dict[str, Any]) -> Copies:
    """Of this job, those of ranks that were there before included. `keep`: how many are whole at any time."""
    restarts = _restarts()
    folder = own_folder(job_folder(place), int(os.environ["LOCAL_RANK"]), keep + 1)
    device = torch.device("npu", torch.npu.current_device())
    return Copies(folder, layout, interval, device, peers.ring(), restarts > 0)
