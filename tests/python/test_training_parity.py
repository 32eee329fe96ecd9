# SPDX-License-Identifier: Apache-2.0
"""Twenty steps of megatron-core's GPT on a virtual NPU against a GPT written here in plain PyTorch on the CPU."""

from __future__ import annotations

from parity import RELATIVE_TOLERANCE, difference, losses, run


def test_losses_equal_the_independent_ones() -> None:
    ours, theirs = run("megatron"), run("plain")
    worst = difference(ours, theirs)
    assert worst <= RELATIVE_TOLERANCE, f"relative difference {worst:.2e}\n{losses(ours)}\n{losses(theirs)}"


def test_the_model_learns() -> None:
    ours = losses(run("megatron"))
    assert ours[-1] < ours[0] - 0.5, ours


def test_two_runs_are_bit_identical() -> None:
    assert run("megatron") == run("megatron", attempt=1)


def test_thread_counts_are_bit_identical() -> None:
    assert run("megatron", threads=1) == run("megatron")
