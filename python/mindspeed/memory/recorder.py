# SPDX-License-Identifier: Apache-2.0
"""Listens to modules and optimizers of a whole process, beside the history that torch_npu's allocator writes.

The allocator keeps all allocations and frees in order, without stacks. A marker says after how many of them a module began or
ended: what is allocated between two markers is that module's, exactly. In a backward pass it is of the module whose output
has had its gradient last. Nothing of the run changes: no tensor is kept, no graph is wrapped.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from mindspeed.dumping.recorder import plain_name, tensors_of
from mindspeed.memory import records
from mindspeed.memory.records import (
    AGAIN,
    BACKWARD,
    FORWARD,
    GRADIENT,
    KINDS,
    OPTIMIZER,
    OUTSIDE,
    PHASES,
    STATE,
    WEIGHT,
)

_NO_TASK = -1
_TOLD = "_mindspeed_memory_told"  # an attribute of tensors


def _task() -> int:
    """The number of the backward pass that goes on."""
    return int(torch._C._current_graph_task_id())


class Recorder:
    """Recorder(folder, steps=3).start() once torch_npu is there. It ends with the first pass after so many steps, or by stop()."""

    def __init__(self, folder: Path, steps: int) -> None:
        self._folder, self._steps = folder, steps
        self._names: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()
        self._roots: Counter[str] = Counter()
        self._counts: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._modules: dict[str, int] = {"": 0}
        self._markers: list[tuple[int, int, int, int]] = []
        self._stack: list[nn.Module] = []
        self._passes: list[
            tuple[int, str]
        ] = []  # backward passes that go on, one in another, and where each is
        self._is_on, self._base = False, 0
        self._done: list[int] = []
        self._regions: list[tuple[int, int, int, int, int]] = []
        self._handles: list[Any] = []

    def start(self) -> None:
        """Modules are listened to at once, the allocator from its own start on: which device that is, the program says."""
        from torch_npu import npu

        self._handles = [
            hooks.register_module_forward_pre_hook(self._enter),
            hooks.register_module_forward_hook(self._leave, always_call=True),
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._after_step),
        ]
        npu._lazy_call(self._record)

    def _record(self) -> None:
        import torch_npu

        torch_npu._C._npu_record_memory_history("all", None, "python", sys.maxsize)
        self._base, self._is_on = self._allocations(), True
        self._mark(OUTSIDE)

    def stop(self, ended: str = "") -> None:
        """Write what there is; nothing if it has been written, or the device was never used. `ended`: why so early."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if not self._is_on:
            return
        import torch_npu

        self._look()
        self._is_on = False
        traces = torch_npu.npu.memory._snapshot()["device_traces"]
        torch_npu._C._npu_record_memory_history(None, None, "python", 0)
        device = max(range(len(traces)), key=lambda number: len(traces[number]))
        events = list(_events(traces[device]))
        recording = records.Recording(
            rank=int(os.environ.get("RANK", 0)), world=int(os.environ.get("WORLD_SIZE", 1)), device=device,
            capacity=torch_npu.npu.get_device_properties(device).total_memory, events=events,
            markers=self._markers, modules=list(self._modules), regions=self._regions,
            steps=self._done, ended="" if len(self._done) >= self._steps else ended,
        )  # fmt: skip
        if events:
            records.write(self._folder, recording)

    # ---- markers

    def _allocations(self) -> int:
        import torch_npu

        device = torch_npu._C._npu_getDevice()
        return int(torch_npu._C._npu_memoryStats(device)["allocation"]["all"]["allocated"]) - self._base

    def _mark(self, phase: str, module: str = "") -> None:
        if self._is_on:
            now = time.monotonic_ns() // 1000
            self._markers.append((self._allocations(), now, PHASES.index(phase), self._number(module)))

    def _number(self, module: str) -> int:
        return self._modules.setdefault(module, len(self._modules))

    def _mark_present(self) -> None:
        """What is going on: the innermost forward pass, else the innermost backward pass."""
        if self._stack:
            phase = FORWARD if _task() == _NO_TASK else AGAIN
            self._mark(phase, self._name_of(self._stack[-1]))
        elif self._passes:
            self._mark(BACKWARD, self._passes[-1][1])
        else:
            self._mark(OUTSIDE)

    def _name_of(self, module: nn.Module) -> str:
        name = self._names.get(module)
        if name is None:
            self._name_all(module)
            name = self._names[module]
        return name

    def _name_all(self, root: nn.Module) -> None:
        """Names as `named_modules` has them, without wrappers. Of the first model they stand alone, others put theirs in front."""
        inner = root
        while isinstance(getattr(inner, "module", None), nn.Module):
            inner = inner.module
        kind = type(inner).__name__
        self._roots[kind] += 1
        own = kind if self._roots[kind] == 1 else f"{kind}{self._roots[kind]}"
        prefix = f"{own}." if self._names else ""
        for name, module in root.named_modules():
            if module not in self._names:
                plain = plain_name(name)
                plain = "" if plain == "module" else plain
                self._names[module] = f"{prefix}{plain}" if plain else own

    def _enter(self, module: nn.Module, args: Any) -> None:
        if not self._stack and len(self._done) >= self._steps:
            self.stop()
            return
        self._name_of(module)
        self._stack.append(module)
        self._mark_present()

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if module not in self._stack:  # it began before the recording
            return
        while self._stack.pop() is not module:
            pass  # what an exception has left
        for tensor in tensors_of(output):
            # What a module hands on from one in it is told of once: the innermost made it.
            if tensor.requires_grad and not hasattr(tensor, _TOLD):
                setattr(tensor, _TOLD, True)
                tensor.register_hook(partial(self._gradient_of, self._name_of(module)))
        self._mark_present()

    def _gradient_of(self, name: str, gradient: Tensor) -> None:
        """The gradient of a module's output is there: its backward pass begins."""
        if not self._is_on:
            return
        if self._passes and self._passes[-1][0] == _task():
            self._passes[-1] = _task(), name
        else:
            self._passes.append((_task(), name))
            torch.autograd.Variable._execution_engine.queue_callback(partial(self._end_of, _task()))
        self._mark_present()

    def _end_of(self, task: int) -> None:
        self._passes = [one for one in self._passes if one[0] != task]
        self._mark_present()

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._passes = []  # a pass that failed
        self._mark(OPTIMIZER)

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Several optimizers make one step together: it ends with the last one's."""
        self._mark(OUTSIDE)
        count = self._counts[optimizer] = self._counts.get(optimizer, 0) + 1
        if not self._is_on:
            return
        if count > len(self._done):
            self._done.append(self._allocations())
        self._done[-1] = self._allocations()
        self._look()

    # ---- what stays

    def _look(self) -> None:
        """Where weights, gradients and states lie now."""
        look = _Look(self._allocations(), self._number)
        for module, owner in list(self._names.items()):
            look.module(module, owner)
        for optimizer in list(self._counts):
            look.optimizer(optimizer)
        self._regions += look.found


class _Look:
    """Regions of the device, each once: what is found first has it."""

    def __init__(self, allocations: int, number: Callable[[str], int]) -> None:
        self.found: list[tuple[int, int, int, int, int]] = []
        self._allocations, self._number = allocations, number
        self._owners: dict[int, str] = {}  # of parameters, by id and by address
        self._seen: set[int] = set()

    def module(self, module: nn.Module, owner: str) -> None:
        # Not by its methods: Megatron's wrapper has a list `buffers` of its own.
        for parameter in (one for one in module._parameters.values() if one is not None):
            self._owned(parameter, owner)
            self._owned(getattr(parameter, "main_param", None), owner)  # Megatron's copy in float32
            self._note(parameter, WEIGHT, owner)
            self._note(getattr(parameter, "main_grad", None), GRADIENT, owner)
            self._note(parameter.grad, GRADIENT, owner)
        for buffer in module._buffers.values():
            self._note(buffer, WEIGHT, owner)

    def optimizer(self, optimizer: Any) -> None:
        for parameter in (one for group in optimizer.param_groups for one in group["params"]):
            owner = self._owner_of(parameter)
            self._note(parameter, STATE, owner)
            self._note(parameter.grad, GRADIENT, owner)
        for parameter, state in optimizer.state.items():
            for value in state.values() if isinstance(state, dict) else ():
                self._note(value, STATE, self._owner_of(parameter))

    def _owned(self, parameter: Any, owner: str) -> None:
        self._owners[id(parameter)] = owner
        for part in _plain(parameter):
            self._owners[part.data_ptr()] = owner

    def _owner_of(self, parameter: Any) -> str:
        if id(parameter) in self._owners:
            return self._owners[id(parameter)]
        return next((self._owners.get(part.data_ptr(), "") for part in _plain(parameter)), "")

    def _note(self, tensor: Any, kind: str, owner: str) -> None:
        for part in _plain(tensor):
            address = part.data_ptr()
            if part.device.type == "npu" and part.numel() and address not in self._seen:
                self._seen.add(address)
                self.found.append(
                    (address, part.nbytes, KINDS.index(kind), self._number(owner), self._allocations)
                )


def _plain(tensor: Any) -> Iterator[Tensor]:
    """The tensors of this rank that something is made of."""
    if isinstance(tensor, Tensor):
        local = getattr(tensor, "_local_tensor", None)  # of what is spread over ranks
        yield (tensor if local is None else local).detach()


def _events(trace: list[dict[str, Any]]) -> Iterator[tuple[int, int]]:
    for entry in trace:
        if entry["action"] == "alloc":
            yield entry["addr"], entry["size"]
        elif entry["action"] == "free_completed":
            yield entry["addr"], -entry["size"]
