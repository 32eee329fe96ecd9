# SPDX-License-Identifier: Apache-2.0
"""Saved tensors go to the host's memory and come back, as many and as early as a limit of device memory asks for.

The first step has everything away, so has the second one, which is recorded; a plan then says what goes when. A step unlike
the recorded one goes on with everything away, and the next one is recorded.
"""

from __future__ import annotations

import contextlib
import functools
import math
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import torch

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Patch, session
from mindspeed.features.memory._own_weight import own_weight
from mindspeed.features.memory._swap_plan import Record, SwapPlan
from mindspeed.features.memory._swapped_step import CHUNK, SwappedStep, Use

_FLAG = "--smart-swap"
_SIZE = "--smart-swap-device-size"
_MIB = 1 << 20
# Of the device's memory: for what torch's allocator does not count, such as buffers of communicators and workspaces.
_OTHERS = 1 / 16
REFINEMENTS = 3  # steps after a plan which show how much of the limit the allocator has left
WORTHWHILE = 0.01  # of the limit: room for a better plan


class Run:
    """The training of one model: its steps until now, and the plan."""

    now: ClassVar[Run | None] = None  # whose step is under way
    _runs: ClassVar[weakref.WeakKeyDictionary[torch.nn.Module, Run]] = weakref.WeakKeyDictionary()

    def __init__(self, size: int | None) -> None:
        torch.npu.empty_cache()
        torch.npu.reset_peak_memory_stats()  # of what was before
        free, self.total = torch.npu.mem_get_info()
        use = Use.look()
        device = min(self.total, free + use.taken)
        self.is_given = size is not None
        self.limit = min(size * _MIB, device) if size is not None else int(device * (1 - _OTHERS))
        # The allocator takes a chunk for each of two kinds of tensors, and fills neither.
        self.margin = 2 * CHUNK
        self.refinements = REFINEMENTS
        self.retries = use.retries
        self.steps = 0
        self.most_taken = 0  # by the allocator
        self.record: Record | None = None
        self.plan: SwapPlan | None = None
        self.has_warned = False
        self.is_held = (
            not self.is_given
        )  # to the limit, by the allocator: not until it is known what a step needs
        if self.is_given:
            self._let_take(self.total)

    @classmethod
    def of(cls, first: torch.nn.Module) -> Run:
        if first not in cls._runs:
            cls._runs[first] = cls(session.current_arguments().smart_swap_device_size)
        return cls._runs[first]

    @contextlib.contextmanager
    def one_step(self, chunks: Iterable[torch.nn.Module]) -> Iterator[None]:
        self.steps += 1
        planned = self.plan is not None
        # In the first step the optimizer's states are not there yet.
        step = SwappedStep(
            _places(chunks),
            self.plan,
            limit=self.limit if self.is_held else 0,  # not yet held to it: the least is looked for
            slack=self.margin // 2,
            is_recorded=not planned and self.steps > 1,
        )
        Run.now = self
        if planned and self.refinements:
            torch.npu.reset_peak_memory_stats()
        try:
            with step.running():
                yield
        except torch.OutOfMemoryError as error:
            raise torch.OutOfMemoryError(self._too_little(step)) from error
        finally:
            Run.now = None
        self._end(step)

    def _end(self, step: SwappedStep) -> None:
        retries, self.retries = self.retries, Use.look().retries
        self.most_taken = max(self.most_taken, step.most_taken)
        if step.recording is not None:
            self._check_need()
            record = step.recording.finish()
            if self.record is not None:
                record.most_of(self.record)
            self.record = record
            self._make_plan()
        elif step.failure and not step.is_tight:
            self._warn(step.failure)
            self.plan = None
        elif self.plan is not None and self.retries > retries:
            self.margin, self.refinements = 2 * self.margin, 0
            self._make_plan()
        elif self.plan is not None and self.plan.leave and self.refinements:
            self._refine(step.most_taken)

    def _refine(self, taken: int) -> None:
        """A chunk stays free; what is left besides is for tensors that need not go then."""
        assert self.plan is not None
        self.refinements -= 1
        left = self.limit - CHUNK - taken
        if left > WORTHWHILE * self.limit:
            self.margin = self.limit - (self.plan.peak + left)
            self._make_plan()

    @property
    def _ceiling(self) -> int:
        """Bytes in use that a plan may come to: what was seen with everything away fits in any case."""
        assert self.record is not None
        return max(self.limit - self.margin, *self.record.peaks)

    def _make_plan(self) -> None:
        assert self.record is not None
        self.plan = self.record.plan(self._ceiling)
        torch.npu.empty_cache()  # whose sizes are those of the steps before
        if not self.is_held:
            self._let_take(self.limit)
            self.is_held = True

    def _let_take(self, size: int) -> None:
        torch.npu.set_per_process_memory_fraction(size / self.total)

    def _warn(self, why: str) -> None:
        if not self.has_warned:
            warnings.warn(
                f"{_FLAG}: step {self.steps} was unlike the recorded one ({why}). It went on with everything away, and the "
                "next one is recorded; so it is with every such step",
                stacklevel=2,
            )
        self.has_warned = True

    # Too little memory

    def _check_need(self) -> None:
        if self.is_given and self.most_taken > self.limit:
            size = math.ceil(self.most_taken / _MIB)
            raise RuntimeError(
                f"{self._given}: a step takes {size} MiB of the device with everything away that can go; give {_SIZE} {size} "
                f"or more, {_REMEDY}"
            )

    def _too_little(self, step: SwappedStep) -> str:
        use = Use.look()
        how = "as planned" if step.plan is not None else "with everything away that can go"
        return (
            f"{self._given}: a step ran out of memory {how}: {use.most / _MIB:.0f} MiB were in use at most, the allocator had "
            f"taken {use.taken / _MIB:.0f} MiB, and more was asked for (the error above says how much); "
            f"give more memory, {_REMEDY}"
        )

    @property
    def _given(self) -> str:
        return f"{_SIZE if self.is_given else _FLAG} ({self.limit // _MIB} MiB)"


_REMEDY = "recompute layers (--recompute-granularity), or spread the model over more ranks"


def _places(chunks: Iterable[torch.nn.Module]) -> set[int]:
    """Where parameters and buffers are. (Megatron's data parallel wrapper calls something else `buffers`.)"""
    return {
        tensor.untyped_storage().data_ptr()
        for chunk in chunks
        for tensor in (*chunk.parameters(), *torch.nn.Module.buffers(chunk))
    }


def following(schedule: Callable[..., Any]) -> Callable[..., Any]:
    """forward_backward_*: the forward and backward passes of a step."""

    @functools.wraps(schedule)
    def followed(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("forward_only") or "model" not in kwargs or Run.now is not None:
            return schedule(*args, **kwargs)
        model = kwargs["model"]
        chunks = model if isinstance(model, (list, tuple)) else [model]
        with Run.of(chunks[0]).one_step(chunks):
            return schedule(*args, **kwargs)

    return followed


_REFUSED = {
    "use_torch_fsdp2": "parameters are gathered for a layer at a time, and would go as what it saves; leave out --use-torch-fsdp2",
    "use_custom_fsdp": "parameters are gathered for a layer at a time, and would go as what it saves; leave out --use-custom-fsdp",
    "use_megatron_fsdp": "parameters are gathered for a layer at a time, and would go as what it saves; leave out --use-megatron-fsdp",
    "enable_cuda_graph": "a graph has its tensors in places of its own; leave out --enable-cuda-graph",
}


def check(args: Any) -> Iterator[str]:
    size = args.smart_swap_device_size
    if size is not None and size < 1:
        yield f"{_SIZE} is {size}, wanted the MiB of device memory that training may take, 1 or more"
    for name, why in _REFUSED.items():
        if getattr(args, name, None):
            yield why


_TOO = "both decide what a layer keeps"
_SCHEDULES = "megatron.core.pipeline_parallel.schedules"
FEATURE = Feature(
    name="smart-swap",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            _FLAG,
            "Keep what backward passes need in the host's memory, as much of it as does not fit into the device's.",
            in_config=False,
        ),
        Flag(
            _SIZE,
            "MiB of device memory that training may take; by default what the device has.",
            type=int,
            default=None,
            metavar="MIB",
            in_config=False,
        ),
    ),
    conflicts=(
        Conflict(
            feature="adaptive-recompute",
            why="both plan for a limit, and each would move what the other has measured",
        ),
        Conflict(feature="swap-attention", why=_TOO),
        Conflict(feature="swap-layer-input", why=_TOO),
        Conflict(feature="compress-activation", why=_TOO),
        Conflict(
            feature="layerzero",
            why="its parameters are gathered for a layer at a time, and would go as what it saves",
        ),
    ),
    check=check,
    is_outermost=True,
    patches=(
        *(
            Patch(f"{_SCHEDULES}:forward_backward_{name}", following, wraps=True)
            for name in ("no_pipelining", "pipelining_without_interleaving", "pipelining_with_interleaving")
        ),
        *own_weight(),
    ),
)
