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
_all_states: dict[str, torch.Tensor] = {}
_recomputing = False


def get_all_rng_states() -> dict[str, torch.Tensor]:
    """The states of the tracker in use."""
    return _all_states


def set_all_rng_states(states: dict[str, torch.Tensor]) -> None:
    """Remembered for get_all_rng_states()."""
    global _all_states
    _all_states = states


def graph_safe_rng_available() -> bool:
    """States are tensors that are copied in and out, which a captured graph would not repeat."""
    return False


def activation_recompute_forward(*args: Any, **kwargs: Any) -> Any:
    """Transformer Engine keeps fp8 scales through a recomputation; there are none."""
    return contextlib.nullcontext()


def is_fp8_activation_recompute_enabled() -> bool:
    return False


def in_fp8_activation_recompute_phase() -> bool:
    return _recomputing


class CudaRNGStatesTracker:
    """Named states of the device's random numbers; fork(name) draws from one and puts the old state back."""

    def __init__(self) -> None:
        self.states_: dict[str, torch.Tensor] = {}
        self.seeds_: set[int] = set()

    def reset(self) -> None:
        self.states_ = {}
        self.seeds_ = set()

    def get_states(self) -> dict[str, torch.Tensor]:
        return dict(self.states_)

    def set_states(self, states: dict[str, torch.Tensor]) -> None:
        self.states_ = states
        set_all_rng_states(states)

    def add(self, name: str, seed: int) -> None:
        """A new state, which begins with a seed."""
        if seed in self.seeds_:
            raise RuntimeError(f"seed {seed} already exists")
        if name in self.states_:
            raise RuntimeError(f"random state {name!r} already exists")
        self.seeds_.add(seed)
        before = torch.cuda.get_rng_state()
        torch.cuda.manual_seed(seed)
        self.states_[name] = torch.cuda.get_rng_state()
        torch.cuda.set_rng_state(before)
        set_all_rng_states(self.states_)

    @contextlib.contextmanager
    def fork(self, name: str = _MODEL_PARALLEL) -> Iterator[None]:
        """Draw from a named state inside."""
        if name not in self.states_:
            raise KeyError(f"there is no random state {name!r}, only {sorted(self.states_)}")
        before = torch.cuda.get_rng_state()
        torch.cuda.set_rng_state(self.states_[name])
        try:
            yield
        finally:
            self.states_[name] = torch.cuda.get_rng_state()
            torch.cuda.set_rng_state(before)


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
    saved: dict[str, torch.Tensor] | None = None

    def run(*inputs: Any) -> Any:
        nonlocal saved
        tracker = get_rng_state_tracker() if get_rng_state_tracker is not None else None
        if tracker is None:
            return function(*inputs, **kwargs)
        if saved is None:
            saved = tracker.get_states()
            return function(*inputs, **kwargs)
        now = tracker.get_states()
        tracker.set_states(dict(saved))
        try:
            return function(*inputs, **kwargs)
        finally:
            tracker.set_states(now)

    return torch.utils.checkpoint.checkpoint(run, *args, use_reentrant=use_reentrant)
