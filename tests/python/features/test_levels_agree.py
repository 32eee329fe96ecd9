# SPDX-License-Identifier: Apache-2.0
"""Five steps of a GPT of two layers have the same losses with a feature on and off."""

from __future__ import annotations

from typing import Any

import megatron_gpt
import pytest

# Relative: float32, sums in another order, carried through five steps of Adam.
TOLERANCE = 1e-5
SWITCHES = (
    "use_flash_attn",
    "use_fused_rmsnorm",
    "use_fused_swiglu",
    "use_fused_gelu",
    "use_fused_rotary_pos_emb",
    "use_fused_cross_entropy",
)
_off: dict[bool, list[float]] = {}


@pytest.mark.parametrize("llama", [False, True], ids=["gpt", "llama"])
@pytest.mark.parametrize("on", [*((name,) for name in SWITCHES), SWITCHES], ids=[*SWITCHES, "all"])
def test_losses(switch: Any, llama: bool, on: tuple[str, ...]) -> None:
    size = megatron_gpt.Size(llama=llama)
    if llama not in _off:
        _off[llama] = megatron_gpt.losses(size)
    switch(**dict.fromkeys(on, True))
    ours = megatron_gpt.losses(size)
    worst = max(abs(a - b) / abs(b) for a, b in zip(ours, _off[llama], strict=True))
    assert worst <= TOLERANCE, f"{worst:.2e}\n{ours}\n{_off[llama]}"
    assert ours[-1] < ours[0]
