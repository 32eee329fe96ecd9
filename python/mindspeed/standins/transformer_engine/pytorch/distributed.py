# SPDX-License-Identifier: Apache-2.0
"""Random numbers of parallel ranks, and recomputation of activations."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from mindspeed.standins.refusal import missing_attribute

__getattr__ = missing_attribute(__name__)

_MODEL_PARALLEL = "model-parallel-rng"
_all_states: dict[str, torch.Generator] = {}
_recomputing = False


def get_all_rng_states() -> dict[str, torch.Generator]:
    """The states of the tracker in use, themselves."""
    return _all_states


def set_all_rng_states(states: dict[str, torch.Generator]) -> None:
    """Remembered for get_all_rng_states()."""
    global _all_states
    _all_states = states


def graph_safe_rng_available() -> bool:
    """States are generators that take the place of the device's, from which a captured graph goes on to draw."""
    return True


def activation_recompute_forward(*args: Any, **kwargs: Any) -> Any:
    """Transformer Engine keeps fp8 scales through a recomputation; there are none."""
    return contextlib.nullcontext()


def is_fp8_activation_recompute_enabled() -> bool:
    return False


def in_fp8_activation_recompute_phase() -> bool:
    return _recomputing


def _device_generator() -> torch.Generator:
    torch.npu.init()  # the generators exist only then
    return torch.npu.default_generators[torch.npu.current_device()]


def _generator_of(state: torch.Tensor | torch.Generator) -> torch.Generator:
    """Checkpoints of Megatron's own tracker have states as bytes."""
    if isinstance(state, torch.Generator):
        return state
    generator = _device_generator().clone_state()
    generator.set_state(state)
    return generator


class CudaRNGStatesTracker:
    """Named states of the device's random numbers; fork(name) draws from one and puts the old state back."""

    def __init__(self) -> None:
        self.states_: dict[str, torch.Generator] = {}
        self.seeds_: set[int] = set()

    def reset(self) -> None:
        self.states_ = {}
        self.seeds_ = set()

    def get_states(self) -> dict[str, torch.Generator]:
        """Copies, to return to by set_states()."""
        return {name: state.clone_state() for name, state in self.states_.items()}

    def set_states(self, states: dict[str, torch.Tensor | torch.Generator]) -> None:
        self.states_ = {name: _generator_of(state) for name, state in states.items()}
        set_all_rng_states(self.states_)

    def add(self, name: str, seed: int) -> None:
        """A new state, which begins with a seed."""
        if seed in self.seeds_:
            raise RuntimeError(f"seed {seed} already exists")
        if name in self.states_:
            raise RuntimeError(f"random state {name!r} already exists")
        self.seeds_.add(seed)
        state = _device_generator().clone_state()
        state.manual_seed(seed)
        self.states_[name] = state
        set_all_rng_states(self.states_)

    @contextlib.contextmanager
    def fork(self, name: str = _MODEL_PARALLEL) -> Iterator[None]:
        """Draw from a named state inside."""
        if name not in self.states_:
            raise KeyError(f"there is no random state {name!r}, only {sorted(self.states_)}")
        generator = _device_generator()
        before = generator.graphsafe_get_state()
        generator.graphsafe_set_state(self.states_[name])
        try:
            yield
        finally:
            self.states_[name] = generator.graphsafe_get_state()
            generator.graphsafe_set_state(before)


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    distribute_saved_activations: bool = False,
    get_rng_state_tracker: Callable[[], Any] | None = None,
    tp_group: Any = None,
    use_reentrant: bool = True,
    **kwargs: Any,
) -> Any:
    """Keep the inputs, compute again in backward, with the same random numbers.

    distribute_saved_activations would cut the kept input over the tensor-parallel ranks: it saves memory, not results, and
    the input is kept whole here.
    """
    saved: dict[str, torch.Generator] | None = None

    def run(*inputs: Any) -> Any:
        nonlocal saved
        tracker = get_rng_state_tracker() if get_rng_state_tracker is not None else None
        if tracker is None:
            return function(*inputs, **kwargs)
        if saved is None:
            saved = tracker.get_states()
            return function(*inputs, **kwargs)
        now = tracker.get_states()
        tracker.set_states(saved)
        try:
            return function(*inputs, **kwargs)
        finally:
            tracker.set_states(now)

    return torch.utils.checkpoint.checkpoint(run, *args, use_reentrant=use_reentrant)
