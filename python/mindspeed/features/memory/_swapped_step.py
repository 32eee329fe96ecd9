# SPDX-License-Identifier: Apache-2.0
"""One step under --smart-swap: what it saves for backward passes goes to the host and comes back as a plan says.

A clock counts blocks of memory that are saved and asked for. At each of its beats what is due leaves or is sent for. Without
a plan everything leaves as soon as nobody else holds it and comes back when it is asked for.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from mindspeed.features.memory._swap_plan import UNKNOWN_RATE, Note, Record, SwapPlan
from mindspeed.features.memory.swap_attention import LARGEST_PART, LEAST_BYTES, Block, Streams

CHUNK = 20 << 20  # what torch_npu's allocator takes at a time for tensors of 1 to 10 MiB


@dataclass(frozen=True, slots=True)
class Use:
    """Of the device's memory by torch's allocator, in bytes."""

    now: int  # what was asked for: blocks may be larger, which depends on what was there before
    most: int
    taken: int  # with what is kept for later
    most_taken: int
    retries: int  # how often it had to give all that back

    @staticmethod
    def look() -> Use:
        stats = torch.npu.memory_stats_as_nested_dict()
        used, taken = stats["requested_bytes"]["all"], stats["reserved_bytes"]["all"]
        return Use(used["current"], used["peak"], taken["current"], taken["peak"], stats["num_alloc_retries"])


class Moved(Block):
    """The memory of one or several saved tensors. It lives as long as autograd keeps one of them."""

    def __init__(self, number: int, memory: torch.Tensor) -> None:
        self.number = number
        self.device: torch.Tensor | None = memory
        self.host: torch.Tensor | None = None
        self.bytes = memory.numel() * memory.element_size()
        self.stream = torch.npu.current_stream()
        self.event: Any = None  # of its last copy
        self.is_asked = False
        self._version = memory._version
        self._is_changed = False

    @property
    def copying(self) -> Any:
        return self.event

    def send(self) -> None:
        assert self.device is not None
        self.host = torch.empty(self.device.shape, dtype=self.device.dtype, pin_memory=True)
        super().send()

    def leave(self) -> None:
        """Whatever uses the memory next comes later on the stream it was allocated on."""
        for stream in {torch.npu.current_stream(), self.stream}:
            stream.wait_event(self.event)
        self._look()
        super().leave()

    def room(self) -> torch.Tensor:
        with torch.npu.stream(self.stream):
            return super().room()

    def fetch(self) -> None:
        super().fetch()
        assert self.device is not None
        self._version = self.device._version

    def _look(self) -> None:
        if self.device is not None and not self.is_asked:
            self._is_changed |= self.device._version != self._version

    def check(self) -> None:
        """As autograd does where it keeps tensors itself."""
        self._look()
        if self._is_changed:
            raise RuntimeError(
                "a tensor that a backward pass needs has been modified by an inplace operation after it was saved "
                "(found under --smart-swap, which keeps it)"
            )


@dataclass(frozen=True, slots=True)
class Ticket:
    """In autograd's place of a tensor."""

    step: SwappedStep
    block: Moved
    size: torch.Size
    stride: tuple[int, ...]
    offset: int

    def tensor(self) -> torch.Tensor:
        return self.step.memory_of(self.block).as_strided(self.size, self.stride, self.offset)


class Recording:
    """What a step without a plan shows."""

    def __init__(self) -> None:
        self.record = Record()
        self._marks: list[Any] = []  # beginning and end of each segment
        self._copies: dict[str, list[tuple[int, Any, Any]]] = {"out": [], "back": []}

    def begin(self) -> None:
        torch.npu.reset_peak_memory_stats()
        self._marks.append(self._mark())

    def end(self, use: Use) -> None:
        self._marks.append(self._mark())
        self.record.peaks.append(use.most)
        self.record.in_use.append(use.now)

    @contextmanager
    def copying(self, way: str, block: Moved) -> Iterator[None]:
        begun = self._mark()
        yield
        self._copies[way].append((block.bytes, begun, self._mark()))

    @staticmethod
    def _mark() -> Any:
        event = torch.npu.Event(enable_timing=True)
        event.record()
        return event

    def finish(self) -> Record:
        torch.npu.synchronize()
        begun, ended = self._marks[::2], self._marks[1::2]
        self.record.seconds = [_seconds(*pair) for pair in zip(begun, ended, strict=True)]
        self.record.out_rate, self.record.back_rate = (_rate(self._copies[way]) for way in ("out", "back"))
        return self.record


def _seconds(begun: Any, ended: Any) -> float:
    return max(begun.elapsed_time(ended), 0.0) / 1e3


def _rate(copies: list[tuple[int, Any, Any]]) -> float:
    took = sum(_seconds(begun, ended) for _, begun, ended in copies)
    return sum(size for size, _, _ in copies) / took if took > 0 else UNKNOWN_RATE


class SwappedStep:
    """`still`: places of memory that stays where it is. `limit`: without a plan, bytes that the allocator may take. `slack`:
    how many bytes more than foreseen may be in use under a plan."""

    def __init__(
        self,
        still: set[int],
        plan: SwapPlan | None = None,
        *,
        limit: int = 0,
        slack: int = 0,
        is_recorded: bool = False,
    ) -> None:
        self.plan = plan
        self.failure = ""  # why the plan was given up
        self.is_tight = False  # as the allocator, not the step, was unlike what was foreseen
        self.most_taken = 0
        self._limit, self._slack = limit, slack
        self.recording = Recording() if is_recorded else None
        self._still = still
        self._streams = Streams.of(torch.npu.current_device())
        self._clock = 0  # segments until now
        self._saved: weakref.WeakValueDictionary[tuple[int, torch.dtype, int], Moved] = (
            weakref.WeakValueDictionary()
        )
        self._blocks: weakref.WeakValueDictionary[int, Moved] = weakref.WeakValueDictionary()
        self._count = 0
        self._due: dict[int, None] = {}  # blocks that have been sent and are to leave, in their order
        self._leaving = plan.leaving() if plan else {}
        self._coming = plan.coming() if plan else {}
        self._floor = 0  # what the allocator still had when it had given everything back
        self._retries = Use.look().retries

    @contextmanager
    def running(self) -> Iterator[None]:
        self._look()  # what was taken since the step before
        if self.recording is not None:
            self.recording.begin()
        with saved_tensors_hooks(self._pack, _unpack):
            yield
        use = self._look()
        if self.recording is not None:
            self.recording.end(use)
        elif self.plan is not None and self._clock != len(self.plan.events):
            self._give_up("it ended earlier")

    # Tensors

    def _pack(self, tensor: torch.Tensor) -> Any:
        # In a recomputation, which runs in a backward pass, everything is needed at once.
        if tensor.device.type != "npu" or tensor.layout != torch.strided or _in_backward():
            return tensor
        storage = tensor.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        least = max(LEAST_BYTES, size // LARGEST_PART)
        if place in self._still or tensor.numel() * tensor.element_size() < least:
            return tensor
        key = place, tensor.dtype, tensor._version
        block = self._saved.get(key)
        if block is None or block.device is None:
            block = self._save(tensor, size)
            self._saved[key] = block
        return Ticket(self, block, tensor.size(), tensor.stride(), tensor.storage_offset())

    def _save(self, tensor: torch.Tensor, size: int) -> Moved:
        number, self._count = self._count, self._count + 1
        with torch.no_grad():
            memory = tensor.detach().as_strided((size // tensor.element_size(),), (1,), 0)
        block = self._blocks[number] = Moved(number, memory)
        self._beat(number)
        if self.recording is not None:
            self.recording.record.notes.append(Note(block.bytes, self._clock))
        if self.plan is None or number in self.plan.leave:
            self._send(block)
        return block

    def memory_of(self, block: Moved) -> torch.Tensor:
        """On the device."""
        block.check()
        if not block.is_asked:
            block.is_asked = True
            self._due.pop(block.number, None)
            self._beat(~block.number)
            if self.recording is not None:
                self.recording.record.notes[block.number].asked = self._clock
        if block.device is None:
            self._fetch(block)
        if block.event is not None:
            torch.npu.current_stream().wait_event(block.event)
        assert block.device is not None
        return block.device

    # Copies

    def _send(self, block: Moved) -> None:
        out = self._streams.out
        out.wait_stream(torch.npu.current_stream())
        with torch.no_grad(), torch.npu.stream(out), self._timed("out", block):
            block.send()
        block.event = out.record_event()
        if self.plan is None:
            self._due[block.number] = None

    def _fetch(self, block: Moved) -> None:
        back = self._streams.back
        with torch.no_grad():
            block.device = block.room()
            back.wait_stream(torch.npu.current_stream())
            back.wait_stream(block.stream)
            with torch.npu.stream(back), self._timed("back", block):
                block.fetch()
        block.event = back.record_event()

    def _timed(self, way: str, block: Moved) -> Any:
        return self.recording.copying(way, block) if self.recording is not None else _untimed()

    def _let_go(self) -> None:
        """Of what is due, what nobody else holds."""
        for number in list(self._due):
            block = self._blocks.get(number)
            if block is not None and block.is_held_elsewhere:
                continue
            del self._due[number]
            if block is not None:
                block.leave()
                if self.recording is not None:
                    self.recording.record.notes[number].idle = self._clock

    # The clock

    def _beat(self, event: int) -> None:
        use = self._look()
        if self.recording is not None:
            self.recording.end(use)
            self.recording.record.events.append(event)
        self._clock += 1
        self._check(event, use)
        for number in self._leaving.get(self._clock, ()):
            self._due[number] = None
        self._let_go()
        for number in self._coming.get(self._clock, ()):
            block = self._blocks.get(number)
            if block is not None and block.device is None:
                self._fetch(block)
            self._due.pop(number, None)
        if self.recording is not None:
            self.recording.begin()

    def _look(self) -> Use:
        use = Use.look()
        self.most_taken = max(self.most_taken, use.most_taken)
        if self.plan is None and use.taken > max(self._limit - CHUNK, self._floor):
            torch.npu.empty_cache()
            self._floor = Use.look().taken
        return use

    def _check(self, event: int, use: Use) -> None:
        """Whether the plan is still for this step."""
        if self.plan is None:
            return
        events = self.plan.events
        if self._clock > len(events) or events[self._clock - 1] != event:
            what = "saved" if event >= 0 else "asked for"
            self._give_up(f"at beat {self._clock} of {len(events)} another tensor was {what}")
        elif use.now > self.plan.in_use[self._clock - 1] + self._slack:
            more = (use.now - self.plan.in_use[self._clock - 1]) / 2**20
            self._give_up(f"at beat {self._clock} of {len(events)} it had {more:.0f} MiB more in use")
        elif use.retries > self._retries:
            self.is_tight = True
            self._give_up("the allocator had to give back what it kept")

    def _give_up(self, why: str) -> None:
        """Everything away from here on."""
        self.plan, self.failure = None, why
        self._leaving = self._coming = {}
        for number, block in sorted(self._blocks.items()):
            if block.device is None or block.is_asked:
                continue
            if block.host is None:
                self._send(block)
            elif block.event is not None and number not in self._due:
                self._due[number] = None


def _unpack(packed: Any) -> torch.Tensor:
    return packed.tensor() if isinstance(packed, Ticket) else packed


def _in_backward() -> bool:
    return bool(torch._C._current_graph_task_id() != -1)


@contextmanager
def _untimed() -> Iterator[None]:
    yield
