# SPDX-License-Identifier: Apache-2.0
"""Listens to the modules of a model for a step, and writes what they computed as statistics.

Statistics are computed on the device, in float32, and fetched once at the end of the step. Nothing of the run changes: no
tensor is kept, no random number drawn. What a checkpoint computes again in the backward pass is not recorded twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from mindspeed.dumping.records import STATISTICS, Key, Record, file_of, write


def statistics(tensor: Tensor) -> Tensor:
    """records.STATISTICS as five float32 of the tensor's device; zeros if it has no element."""
    if tensor.numel() == 0:
        return torch.zeros(len(STATISTICS), device=tensor.device)
    x = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    x = x.detach().float()
    return torch.stack(
        [x.amin(), x.amax(), x.mean(), torch.linalg.vector_norm(x), (~x.isfinite()).sum().float()]
    )


def tensors_of(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and dictionaries, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_of(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_of(item)


def plain_name(name: str) -> str:
    """Without the wrappers (data parallelism, half precision), which one run has and another has not."""
    while name == "module" or name.startswith("module."):
        name = name[len("module.") :]
    return name


def computes_again() -> bool:
    """Whether a backward pass is going on: what runs forward in it was computed before."""
    return bool(torch._C._current_graph_task_id() != -1)


@dataclass(frozen=True, slots=True)
class Found:
    """A record whose numbers are still on the device."""

    key: Key
    dtype: str
    shape: tuple[int, ...]
    values: Tensor


class Recorder:
    """`with Recorder(chunks, folder, step=3, rank=0, world_size=1): train_step()` writes the file of a step.

    chunks  the parts of the model on this rank; the names of all but the first begin with "chunk1.", "chunk2.", ...
    Nothing is written if the step fails.
    """

    def __init__(
        self, chunks: Sequence[nn.Module], folder: Path, *, step: int, rank: int, world_size: int
    ) -> None:
        self._chunks = chunks
        self._file = file_of(folder, step, rank)
        self._header = {"step": step, "rank": rank, "world_size": world_size}
        self._calls: Counter[tuple[str, str, int]] = Counter()
        self._found: list[Found] = []
        self._hooks = ExitStack()

    def __enter__(self) -> Recorder:
        for name, module, is_root in self._modules():
            self._listen(name, module, is_root)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._hooks.close()
        if kind is not None:
            return
        for number, chunk in enumerate(self._chunks):
            for name, parameter in chunk.named_parameters():
                self._note(_prefixed(number, name), "parameter", [parameter])
        write(self._file, self._header, self._records())

    def _modules(self) -> Iterator[tuple[str, nn.Module, bool]]:
        """(name, module, whether it is the first of its chunk), wrappers left out."""
        for number, chunk in enumerate(self._chunks):
            seen: set[str] = set()
            for name, module in chunk.named_modules():
                plain = _prefixed(number, name)
                wraps = isinstance(getattr(module, "module", None), nn.Module)
                if not wraps and plain not in seen:
                    yield plain, module, not seen
                    seen.add(plain)

    def _listen(self, name: str, module: nn.Module, is_root: bool) -> None:
        def before(_: nn.Module, args: Any, kwargs: Any) -> None:
            if not computes_again():
                self._note(name, "input", [*tensors_of(args), *tensors_of(kwargs)])

        def after(_: nn.Module, args: Any, output: Any) -> None:
            found = list(tensors_of(output))
            if not computes_again():
                self._note(name, "forward", found)
            for index, tensor in enumerate(found):
                if tensor.requires_grad:
                    tensor.register_hook(partial(self._add, name, "backward", index))

        if is_root:
            self._hooks.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
        self._hooks.callback(module.register_forward_hook(after).remove)

    def _note(self, name: str, direction: str, tensors: Sequence[Tensor]) -> None:
        for index, tensor in enumerate(tensors):
            self._add(name, direction, index, tensor)

    def _add(self, name: str, direction: str, index: int, tensor: Tensor) -> None:
        call = self._calls[name, direction, index]
        self._calls[name, direction, index] += 1
        kind = str(tensor.dtype).removeprefix("torch.")
        with torch.no_grad():
            values = statistics(tensor)
        self._found.append(Found((name, direction, call, index), kind, tuple(tensor.shape), values))

    def _records(self) -> Iterator[Record]:
        if not self._found:
            return
        device = self._found[0].values.device
        fetched = torch.stack([found.values.to(device) for found in self._found]).cpu().tolist()
        for found, values in zip(self._found, fetched, strict=True):
            name, direction, call, index = found.key
            yield Record(
                name=name, direction=direction, call=call, index=index,
                dtype=found.dtype, shape=found.shape, statistics=tuple(values),
            )  # fmt: skip


def _prefixed(chunk: int, name: str) -> str:
    plain = plain_name(name) or "model"
    return f"chunk{chunk}.{plain}" if chunk else plain
