# SPDX-License-Identifier: Apache-2.0
"""Layers are recomputed as a whole, in part or not at all, such that a step's memory comes close to a limit and not above it.

In the first steps every layer is recomputed, one at a time, which takes the least memory and shows what each layer would
keep. A plan then says which layers keep it. It is made again where a step takes more than was foreseen.
"""

from __future__ import annotations

import contextlib
import functools
import math
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Patch, session
from mindspeed.features.memory._again import Forward, run_again, running_again
from mindspeed.features.memory._recompute_plan import AGAIN, KEPT, PART, Account, Plan, Span, Unit

_FLAG = "--adaptive-recompute-device-size"
_MIB = 1 << 20
_UNKNOWN = -(1 << 62)
LEAST_STEPS = 4  # one for the states of the optimizer, and one for each way to keep something
CYCLE = (KEPT, *PART)
SIZES_OF_AN_OCTAVE = 8  # inputs whose sizes differ by less are of one kind
REFINEMENTS = 3  # steps after a plan whose peak is compared with what was foreseen
WORTHWHILE = 0.005  # of the limit: room for a better plan
MOST_PROFILES = 8  # again, for inputs larger than all before


def _in_use() -> int:
    return int(torch.npu.memory_allocated())


def _most() -> int:
    return int(torch.npu.max_memory_allocated())


class Run:
    """The training of one model: its steps until now, and the plan."""

    now: Run | None = None  # whose step is under way
    _runs: ClassVar[weakref.WeakKeyDictionary[torch.nn.Module, Run]] = weakref.WeakKeyDictionary()

    def __init__(self, config: Any) -> None:
        args = session.current_arguments()
        self.limit = args.adaptive_recompute_device_size * _MIB
        self.profiled = args.adaptive_recompute_profiling_step
        self.is_uneven = bool(getattr(config, "num_moe_experts", None))  # memory differs from step to step
        self.step = 0
        self.layers: weakref.WeakKeyDictionary[torch.nn.Module, int] = weakref.WeakKeyDictionary()
        self.account = Account()
        self.plan: Plan | None = None
        self.correction = 0  # how much more a step took than was foreseen
        self.refinements = 0
        self.profiles = 0
        self.way: int | None = (
            None  # of the present step: what its layers keep when they run again; None: not measured
        )
        self.times: list[tuple[Unit, int, Any, Any]] = []
        self.sizes: dict[int, int] = {}  # by kind, the size of inputs
        self.too_large = False  # an input that no plan is for has come

    @classmethod
    def of(cls, model: Any) -> Run:
        first = model[0] if isinstance(model, (list, tuple)) else model
        if first not in cls._runs:
            from megatron.core.utils import get_model_config

            cls._runs[first] = cls(get_model_config(first))
        return cls._runs[first]

    # Steps

    @contextlib.contextmanager
    def one_step(self) -> Iterator[None]:
        self.step += 1
        if self.plan is None and self.step > 1:
            self.way = CYCLE[(self.step - 2) % len(CYCLE)]
            torch.npu.reset_peak_memory_stats()
        before = _most()
        Run.now = self
        try:
            yield
        finally:
            Run.now = None
        if self.way is not None:
            self._end_of_profile()
        if self.plan is None:
            if self.step >= self.profiled:
                self._make_plan()
        else:
            self._compare(before)

    def _end_of_profile(self) -> None:
        if self.way == KEPT:
            self._mark()
        torch.npu.synchronize()
        for key, option, begun, ended in self.times:
            table = self.account.unit(key).nanoseconds
            took = max(int(begun.elapsed_time(ended) * 1e6), 1)
            table[option] = min(table.get(option, took), took)
        self.times.clear()
        self.way = None

    def _make_plan(self) -> None:
        self.account.agree(self._group())
        self._solve()
        self.refinements = REFINEMENTS

    def _solve(self) -> None:
        self.plan = self.account.plan(self.limit - self.correction)
        least = max(self.account.segments, default=0)
        if least > self.limit - self.correction:
            warnings.warn(
                f"{_FLAG} {self.limit // _MIB}: with every layer recomputed a step takes {least / _MIB:.0f} MiB; give that "
                "or more, or spread the model over more ranks",
                stacklevel=2,
            )
        torch.npu.reset_peak_memory_stats()

    def _compare(self, before: int) -> None:
        """The step that has just ended with what was foreseen of it."""
        assert self.plan is not None
        peak = _most()
        # If it is not larger the most was in an earlier step, or between steps.
        error = peak - self.plan.peak if peak > before else _UNKNOWN
        error, too_large = self._most_of_all(error, int(self.too_large))
        if too_large and self.profiles < MOST_PROFILES:
            self.profiles += 1
            self.too_large = False
            self.plan, self.profiled = None, self.step + len(CYCLE)
            self.account.segments, self.account.spans = [], []
            return
        if error == _UNKNOWN or error == self.correction:
            return
        is_over = self.plan.peak + error > self.limit
        self.refinements -= 1
        is_varied = self.is_uneven or len(self.sizes) > 1
        has_room = not is_varied and self.refinements >= 0
        has_room &= self.limit - (self.plan.peak + error) > WORTHWHILE * self.limit
        has_room &= any(option != KEPT for option in self.plan.options.values())
        if is_over or has_room:
            self.correction = error
            self._solve()

    def _most_of_all(self, *values: int) -> list[int]:
        group = self._group()
        if group is None or torch.distributed.get_world_size(group) == 1:
            return list(values)
        numbers = torch.tensor(values, dtype=torch.int64, device="npu")
        torch.distributed.all_reduce(numbers, op=torch.distributed.ReduceOp.MAX, group=group)
        return [int(value) for value in numbers.tolist()]

    def _group(self) -> Any:
        """Ranks that compute layers together: what one runs again all run again."""
        if not torch.distributed.is_initialized():
            return None
        from megatron.core import parallel_state

        if self.is_uneven:  # experts are spread over data parallel ranks too
            return parallel_state.get_tensor_and_data_parallel_group(with_context_parallel=True)
        return parallel_state.get_tensor_and_context_parallel_group()

    # Layers

    def key(self, layer: torch.nn.Module, hidden: torch.Tensor) -> Unit:
        if layer not in self.layers:
            self.layers[layer] = len(self.layers)
        kind = 0 if self.is_uneven else math.ceil(SIZES_OF_AN_OCTAVE * math.log2(max(hidden.numel(), 1)))
        self.sizes[kind] = max(self.sizes.get(kind, 0), hidden.numel())
        return self.layers[layer], kind

    def option(self, key: Unit) -> int:
        """Of a size that was not seen, that of the next larger one; nothing is kept of what is larger than all."""
        if self.plan is None:
            return AGAIN
        if key in self.plan.options:
            return self.plan.options[key]
        larger = [kind for number, kind in self.plan.options if number == key[0] and kind > key[1]]
        if not larger:
            self.too_large = True
            return AGAIN
        return self.plan.options[key[0], min(larger)]

    def layer(self, layer: torch.nn.Module, forward: Forward, args: Any, kwargs: Any) -> Any:
        hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        key = self.key(layer, hidden)
        option = self.option(key)
        if option == AGAIN:
            run = forward if self.way is None else self._measured(key, layer, forward)
            return run_again(run, args, kwargs)
        with running_again(_part(layer, option), lambda run: run):
            return forward(*args, **kwargs)

    def _mark(self) -> int:
        """A segment ends here; returns the number of the next one."""
        self.account.segments.append(_most())
        torch.npu.reset_peak_memory_stats()
        return len(self.account.segments)

    def _measured(self, key: Unit, layer: torch.nn.Module, forward: Forward) -> Forward:
        way = self.way
        assert way is not None
        seen = self.account.unit(key)
        span: Span | None = None

        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal span
            before = _in_use()
            if not torch.is_grad_enabled():
                if way != KEPT:
                    return forward(*args, **kwargs)
                place = self._mark()
                found = forward(*args, **kwargs)
                span = Span(key, place, before, _in_use() - before)
                self._mark()
                self.account.spans.append(span)
                return found
            if way == KEPT:
                place = self._mark()
                if span is not None:
                    span.end = place
            else:
                torch.npu.reset_peak_memory_stats()
            with self._timed(key, KEPT) if way == KEPT else contextlib.nullcontext():
                part = _part(layer, way)
                with running_again(part, functools.partial(self._part_timed, key, way)):
                    found = forward(*args, **kwargs)
            if way == KEPT or part is not None:
                held, most = _in_use() - before, _most() - before
                seen.bytes[way] = max(seen.bytes.get(way, 0), held)
                seen.peak[way] = max(seen.peak.get(way, 0), most)
            return found

        return run

    @contextlib.contextmanager
    def _timed(self, key: Unit, option: int) -> Iterator[None]:
        begun, ended = (torch.npu.Event(enable_timing=True) for _ in range(2))
        begun.record()
        yield
        ended.record()
        self.times.append((key, option, begun, ended))

    def _part_timed(self, key: Unit, option: int, run: Forward) -> Forward:
        def timed(*args: Any, **kwargs: Any) -> Any:
            if not torch.is_grad_enabled():
                return run(*args, **kwargs)
            with self._timed(key, option):
                return run(*args, **kwargs)

        return timed


def _part(layer: torch.nn.Module, option: int) -> torch.nn.Module | None:
    part = getattr(layer, PART[option], None) if option in PART else None
    return part if part is not None and any(True for _ in part.parameters()) else None


def following(schedule: Callable[..., Any]) -> Callable[..., Any]:
    """forward_backward_*: the forward and backward passes of a step."""

    @functools.wraps(schedule)
    def followed(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("forward_only") or "model" not in kwargs or Run.now is not None:
            return schedule(*args, **kwargs)
        with Run.of(kwargs["model"]).one_step():
            return schedule(*args, **kwargs)

    return followed


def choosing(forward: Forward) -> Forward:
    """TransformerLayer.forward."""

    @functools.wraps(forward)
    def chosen(self: Any, *args: Any, **kwargs: Any) -> Any:
        run = Run.now
        if run is None or not torch.is_grad_enabled() or torch._C._current_graph_task_id() != -1:
            return forward(self, *args, **kwargs)
        return run.layer(self, functools.partial(forward, self), args, kwargs)

    return chosen


_CHOOSE_TOO = (
    "recompute-in-bubble", "recompute-in-advance", "recompute-layers-per-stage", "recompute-norm",
    "recompute-activation-function", "moe-zero-memory",
)  # fmt: skip
_REFUSED = {
    "use_torch_fsdp2": "parameters are gathered for a whole layer at a time; leave out --use-torch-fsdp2",
    "use_custom_fsdp": "parameters are gathered for a whole layer at a time; leave out --use-custom-fsdp",
    "use_megatron_fsdp": "parameters are gathered for a whole layer at a time; leave out --use-megatron-fsdp",
    "fp8": "scales of fp8 are told of each pass once; leave out --fp8-format",
    "enable_cuda_graph": "a graph has one way through a layer; leave out --enable-cuda-graph",
}


def check(args: Any) -> Iterator[str]:
    if args.adaptive_recompute_device_size < 1:
        yield f"{_FLAG} is {args.adaptive_recompute_device_size}, wanted the MiB that a step may take, 1 or more"
    steps = args.adaptive_recompute_profiling_step
    if steps < LEAST_STEPS:
        yield f"--adaptive-recompute-profiling-step is {steps}, wanted {LEAST_STEPS} or more"
    iterations = getattr(args, "train_iters", None)
    if iterations is not None and steps > iterations:
        yield (
            f"--adaptive-recompute-profiling-step {steps} is more than --train-iters {iterations}: every layer would be "
            "recomputed to the end; give fewer"
        )
    if getattr(args, "recompute_granularity", None) is not None:
        yield f"it chooses what is recomputed; leave out --recompute-granularity {args.recompute_granularity}"
    for name, why in _REFUSED.items():
        if getattr(args, name, None):
            yield why


_SCHEDULES = "megatron.core.pipeline_parallel.schedules"
FEATURE = Feature(
    name="adaptive-recompute",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            _FLAG,
            "MiB of device memory that a step may take: layers are chosen for recomputation such that it does.",
            type=int,
            metavar="MIB",
        ),
        Flag(
            "--adaptive-recompute-profiling-step",
            "In how many steps all layers are recomputed and measured before some are chosen.",
            type=int,
            default=10,
        ),
    ),
    switch=lambda args: getattr(args, "adaptive_recompute_device_size", None) not in (None, -1),
    conflicts=(
        *(Conflict(feature=name, why="both choose what is recomputed") for name in _CHOOSE_TOO),
        Conflict(feature="swap-attention", why="both decide what a layer keeps"),
    ),
    check=check,
    is_outermost=True,
    patches=(
        *(
            Patch(f"{_SCHEDULES}:forward_backward_{name}", following, wraps=True)
            for name in ("no_pipelining", "pipelining_without_interleaving", "pipelining_with_interleaving")
        ),
        Patch("megatron.core.transformer.transformer_layer:TransformerLayer.forward", choosing, wraps=True),
    ),
)
