# SPDX-License-Identifier: Apache-2.0
"""Messages of any number of tensors between neighbours of a pipeline.

Each is announced by a header of fixed size: how many tensors, and of each its type, shape and whether it wants a gradient. Who
receives waits for the header on the host, on a stream of its own, and asks for the tensors then. Headers and tensors have groups of ranks
of their own for either direction and for the way between the last rank and the first: in each one rank only sends and the
other only receives, so nobody waits for a message whose receiver waits as well.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from mindspeed.features.pipeline._directions import DOWN, UP, lanes
from mindspeed.features.pipeline._several import FLAG, Message, as_list

DTYPES = (
    torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
)  # fmt: skip
MOST, DIMENSIONS = 16, 8
_ROW = 3 + DIMENSIONS  # type, whether it wants a gradient, number of dimensions, shape
_WORDS = 2 + MOST * _ROW
_NOTHING = -1  # in place of a type
HEADER, DATA = "header", "data"
_KEYS = tuple(itertools.product((HEADER, DATA), (DOWN, UP), (False, True)))
_SENT_DOWN = {"send_next": True, "send_prev": False, "recv_prev": True, "recv_next": False}


def header_of(message: Message) -> list[int]:
    """What _WORDS numbers say of a message."""
    if len(message.tensors) > MOST:
        raise ValueError(
            f"{FLAG}: a stage returned {len(message.tensors)} tensors, wanted at most {MOST}: put some together, by torch.cat or "
            "torch.stack"
        )
    words = [len(message.tensors), int(message.is_alone)]
    for place, tensor in enumerate(message.tensors):
        if tensor is None:
            words += [_NOTHING] + [0] * (_ROW - 1)
            continue
        if tensor.dtype not in DTYPES or tensor.dim() > DIMENSIONS:
            known = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
            raise ValueError(
                f"{FLAG}: tensor {place} of a stage is {tensor.dtype} with {tensor.dim()} dimensions, wanted one of {known} with at "
                f"most {DIMENSIONS}"
            )
        shape = [*tensor.shape] + [0] * (DIMENSIONS - tensor.dim())
        words += [DTYPES.index(tensor.dtype), int(tensor.requires_grad), tensor.dim(), *shape]
    return words + [0] * (_WORDS - len(words))


def rows_of(words: list[int]) -> list[tuple[torch.dtype, bool, list[int]] | None]:
    """Type, whether it wants a gradient, and shape of each tensor of a message."""
    rows: list[tuple[torch.dtype, bool, list[int]] | None] = []
    for begin in range(2, 2 + words[0] * _ROW, _ROW):
        kind, wants, dimensions, *shape = words[begin : begin + _ROW]
        rows.append(None if kind == _NOTHING else (DTYPES[kind], bool(wants), shape[:dimensions]))
    return rows


class Sent:
    """Handle of a message that leaves; keeps it until it has."""

    def __init__(self, kept: list[Tensor], works: list[Any]) -> None:
        self._kept, self._works = kept, works

    def is_completed(self) -> bool:
        return all(work.is_completed() for work in self._works)

    def wait(self) -> None:
        for work in self._works:
            work.wait()


class Coming:
    """Handle of a message that arrives: it is there after `wait`."""

    def __init__(self, lines: Lines, name: str) -> None:
        self.message = Message()
        self._lines, self._name, self._is_here = lines, name, False
        with torch.npu.stream(lines.side):
            self._header = torch.empty(_WORDS, dtype=torch.int64, device="npu")
            self._work = torch.distributed.irecv(self._header, *lines.where(name, HEADER))

    def wait(self) -> None:
        if self._is_here:
            return
        self._is_here = True
        with torch.npu.stream(self._lines.side):
            self._work.wait()
            words = self._header.tolist()
        tensors: list[Tensor | None] = []
        works = []
        for row in rows_of(words):
            if row is None:
                tensors.append(None)
                continue
            tensor = torch.empty(row[2], dtype=row[0], device="npu")
            tensors.append(tensor)
            if tensor.numel():
                works.append(torch.distributed.irecv(tensor, *self._lines.where(self._name, DATA)))
        for work in works:
            work.wait()
        for tensor, row in zip(tensors, rows_of(words), strict=True):
            if tensor is not None and row is not None:
                tensor.requires_grad_(row[1])
        self.message.tensors, self.message.is_alone = tuple(tensors), bool(words[1])


class Lines:
    """Of this rank to its neighbours."""

    _now: Lines | None = None

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.side = torch.npu.Stream()
        self._groups = lanes(pipeline, _KEYS)
        self._ranks = torch.distributed.get_process_group_ranks(pipeline)
        self._rank = torch.distributed.get_rank(pipeline)
        self._leaving: list[Sent] = []

    @classmethod
    def now(cls) -> Lines:
        from megatron.core import parallel_state

        pipeline = parallel_state.get_pipeline_model_parallel_group()
        if cls._now is None or cls._now.pipeline is not pipeline:
            cls._now = Lines(pipeline)
        return cls._now

    def where(self, name: str, kind: str) -> tuple[int, Any]:
        """The other rank, and the group; `name` is one of Megatron's for what it begins."""
        step = 1 if name.endswith("next") else -1
        other = (self._rank + step) % len(self._ranks)
        is_around = abs(other - self._rank) != 1 or self._is_around_of_two(step)
        direction = DOWN if _SENT_DOWN[name] else UP
        return self._ranks[other], self._groups[kind, direction, is_around]

    def _is_around_of_two(self, step: int) -> bool:
        """Of two ranks each is the other's next and previous one."""
        return len(self._ranks) == 2 and (step == 1) == (self._rank == 1)

    def send(self, name: str, given: Message | Tensor) -> Sent:
        message = given if isinstance(given, Message) else Message(as_list(given), is_alone=True)
        header = torch.tensor(header_of(message), dtype=torch.int64, device="npu")
        data = [t.detach().contiguous() for t in message.tensors if t is not None and t.numel()]
        works = [torch.distributed.isend(header, *self.where(name, HEADER))]
        works += [torch.distributed.isend(tensor, *self.where(name, DATA)) for tensor in data]
        self._leaving = [sent for sent in self._leaving if not sent.is_completed()]
        self._leaving.append(Sent([header, *data], works))
        return self._leaving[-1]


def communicate(
    *,
    tensor_send_next: Message | Tensor | None,
    tensor_send_prev: Message | Tensor | None,
    recv_prev: bool,
    recv_next: bool,
    tensor_shape: Any,
    config: Any,
    wait_on_reqs: bool = True,
) -> tuple[Any, Any, dict[str, Any] | None]:
    """In place of Megatron's _communicate, with its arguments: what comes from the rank before and the next one, and handles.

    Without `wait_on_reqs` what comes is there when its handle has been waited for.
    """
    lines = Lines.now()
    handles: dict[str, Any] = {}
    for name, sent in (("send_next", tensor_send_next), ("send_prev", tensor_send_prev)):
        if sent is not None:
            handles[name] = lines.send(name, sent)
    coming = {
        name: Coming(lines, name)
        for name, is_wanted in (("recv_prev", recv_prev), ("recv_next", recv_next))
        if is_wanted
    }
    if wait_on_reqs:
        for handle in coming.values():
            handle.wait()
    messages = [coming[name].message if name in coming else None for name in ("recv_prev", "recv_next")]
    return messages[0], messages[1], None if wait_on_reqs else handles | coming
