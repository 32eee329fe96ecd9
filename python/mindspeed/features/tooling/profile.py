# SPDX-License-Identifier: Apache-2.0
"""Profile some steps of some ranks with `torch_npu.profiler`, whose files the usual tools for NPUs read.

Megatron's own `--profile` starts a profiler of CUDA, which an NPU has not; its flags say which steps and ranks. Its
`--use-pytorch-profiler` is left to it: that one is of the host alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from mindspeed.adaptor import Feature, Flag, Level, Patch
from mindspeed.adaptor.session import current_arguments

_TRAINING = "megatron.training.training"
_LEVELS = {"level0": "Level0", "level1": "Level1", "level2": "Level2"}
ALL_RANKS = -1


class Window:
    """The steps that are profiled: `first` and those after it, before `end`. Counted by whoever runs them."""

    def __init__(self, first: int, end: int, start: Callable[[int], Any]) -> None:
        self._first, self._end, self._start = first, end, start
        self._profile: Any = None

    def enter(self, step: int) -> None:
        if self._profile is None and self._first <= step < self._end:
            self._profile = self._start(self._end - step)
            self._profile.start()

    def leave(self, step: int) -> None:
        if self._profile is None:
            return
        torch.npu.synchronize()  # what the step launched belongs to it
        self._profile.step()
        if step + 1 >= self._end:
            self.close()

    def close(self) -> None:
        """Writes what was profiled, also where training ends within the window."""
        if self._profile is not None:
            profile, self._profile = self._profile, None
            profile.stop()


def profiler(args: Any, steps: int) -> Any:
    """Of so many steps, as the flags say; not started."""
    import torch_npu.profiler as npu

    kinds = npu.ProfilerActivity
    return npu.profile(
        activities=[kinds.NPU, *([kinds.CPU] if args.profile_with_cpu else [])],
        record_shapes=args.profile_record_shapes,
        profile_memory=args.profile_with_memory,
        with_stack=args.profile_with_stack,
        experimental_config=npu._ExperimentalConfig(
            profiler_level=getattr(npu.ProfilerLevel, _LEVELS[args.profile_level]),
            aic_metrics=npu.AiCMetrics.AiCoreNone,  # counters of the vendor's cores, which are asked for by name
        ),
        schedule=npu.schedule(wait=0, warmup=0, active=steps, repeat=1),
        on_trace_ready=npu.tensorboard_trace_handler(args.profile_save_path),
    )


_window: Window | None = None


def training(train: Callable[..., Any]) -> Callable[..., Any]:
    """The loop of all steps. Megatron's profiler is off in it."""

    @functools.wraps(train)
    def profiled(*args: Any, **kwargs: Any) -> Any:
        global _window
        from megatron.training import get_args

        given = get_args()
        ranks = given.profile_ranks
        if ALL_RANKS in ranks or torch.distributed.get_rank() in ranks:
            settings = current_arguments()
            first, end = given.profile_step_start, given.profile_step_end
            _window = Window(first, end, lambda steps: profiler(settings, steps))
        given.profile = False
        try:
            return train(*args, **kwargs)
        finally:
            given.profile = True
            if _window is not None:
                _window.close()
            _window = None

    return profiled


def stepping(train_step: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(train_step)
    def stepped(*args: Any, **kwargs: Any) -> Any:
        if _window is None:
            return train_step(*args, **kwargs)
        from megatron.training import get_args

        step = get_args().curr_iteration
        _window.enter(step)
        result = train_step(*args, **kwargs)
        _window.leave(step)
        return result

    return stepped


def check(args: Any) -> Iterator[str]:
    first, end = getattr(args, "profile_step_start", 0), getattr(args, "profile_step_end", 1)
    if not 0 <= first < end:
        yield f"--profile-step-start {first} and --profile-step-end {end} leave no step to profile; the end is not profiled"
    if args.profile_with_memory and not args.profile_with_cpu:
        yield "--profile-with-memory needs --profile-with-cpu: memory is told by the operators that ask for it"


def is_on(args: Any) -> bool:
    return bool(getattr(args, "profile", False)) and not getattr(args, "use_pytorch_profiler", False)


FEATURE = Feature(
    name="profile",
    level=Level.ACCELERATION,
    switch=is_on,
    flags=(
        Flag(
            "--profile", "Profile the steps from --profile-step-start to --profile-step-end.", megatron=True
        ),
        Flag(
            "--profile-level",
            "level0: time of operators; level1: types, shapes and communication too; level2: more of the runtime.",
            type=str,
            default="level0",
            choices=tuple(_LEVELS),
            in_config=False,
        ),
        Flag("--profile-with-cpu", "Operators on the host too.", in_config=False),
        Flag("--profile-with-stack", "The Python stack of each operator.", in_config=False),
        Flag("--profile-with-memory", "Memory of operators; with --profile-with-cpu.", in_config=False),
        Flag("--profile-record-shapes", "Shapes of what operators on the host take.", in_config=False),
        Flag(
            "--profile-save-path",
            "The folder for profiles.",
            type=str,
            default="./profile_dir",
            metavar="DIR",
            in_config=False,
        ),
    ),
    check=check,
    patches=(
        Patch(f"{_TRAINING}:train", training, wraps=True, requires="megatron.training"),
        Patch(f"{_TRAINING}:train_step", stepping, wraps=True, requires="megatron.training"),
    ),
)
