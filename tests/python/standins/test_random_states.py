# SPDX-License-Identifier: Apache-2.0
"""The stand-in's named states of random numbers, and references that do not keep memory."""

from __future__ import annotations

import pytest
import torch

DEVICE = "npu"


@pytest.fixture
def tracker(standins):
    from transformer_engine.pytorch.distributed import CudaRNGStatesTracker

    torch.npu.manual_seed(1)
    made = CudaRNGStatesTracker()
    made.add("one", 5)
    return made


def draw() -> torch.Tensor:
    return torch.rand(8, device=DEVICE).cpu()


def seeded(seed: int) -> torch.Tensor:
    torch.npu.manual_seed(seed)
    return torch.rand(16, device=DEVICE).cpu()


def test_a_state_goes_on_beside_the_devices(tracker) -> None:
    with tracker.fork("one"):
        first = draw()
    outside = draw()
    with tracker.fork("one"):
        second = draw()
    assert torch.equal(outside, seeded(1)[:8])
    torch.npu.manual_seed(5)
    assert torch.equal(first, draw())
    assert torch.equal(second, draw())


@pytest.mark.parametrize("form", ["generators", "bytes"])
def test_states_that_were_kept_come_back(tracker, form: str) -> None:
    kept = tracker.get_states()
    if form == "bytes":  # as in a checkpoint of Megatron's own tracker
        kept = {name: state.get_state() for name, state in kept.items()}
    with tracker.fork("one"):
        first = draw()
    tracker.set_states(kept)
    with tracker.fork("one"):
        assert torch.equal(draw(), first)


def test_an_error_inside_puts_the_old_state_back(tracker) -> None:
    with pytest.raises(ValueError, match="inside"), tracker.fork("one"):
        raise ValueError("inside")
    assert torch.equal(draw(), seeded(1)[:8])


def test_names_and_seeds_are_used_once(tracker) -> None:
    with pytest.raises(RuntimeError, match="seed 5 already exists"):
        tracker.add("two", 5)
    with pytest.raises(RuntimeError, match="'one' already exists"):
        tracker.add("one", 6)
    with pytest.raises(KeyError, match="no random state 'two', only \\['one'\\]"), tracker.fork("two"):
        pass


def test_a_weak_reference_is_the_same_memory_and_keeps_none(standins) -> None:
    from transformer_engine.pytorch.utils import make_weak_ref

    before = torch.npu.memory_allocated()
    kept = torch.arange(6.0, device=DEVICE).view(2, 3).t()
    found = make_weak_ref({"a": [kept, 3], "b": (torch.ones(2), None)})
    weak = found["a"][0]
    assert (weak.data_ptr(), weak.stride()) == (kept.data_ptr(), kept.stride())
    assert torch.equal(weak, kept)
    assert found["a"][1] == 3
    assert found["b"][1] is None
    del kept
    assert torch.npu.memory_allocated() == before
