# SPDX-License-Identifier: Apache-2.0
"""Captured graphs. Megatron captures its layers itself (--enable-cuda-graph, --cuda-graph-impl local) and only says here
when it does; graphs that Transformer Engine would make are refused."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute, refused_function

CAPTURED_BY_MEGATRON = (
    "Let Megatron capture its layers: --enable-cuda-graph, from Core 0.15 on --cuda-graph-impl local"
)
IN_8_BITS = "Scales are chosen anew in every step: leave out --enable-cuda-graph and --cuda-graph-impl, or --fp8-format"

_capturing = False


def set_capture_start() -> None:
    """What layers run from here on is captured."""
    global _capturing
    _capturing = True


def set_capture_end() -> None:
    global _capturing
    _capturing = False


def is_graph_capturing() -> bool:
    return _capturing


make_graphed_callables = refused_function(f"{__name__}.make_graphed_callables", CAPTURED_BY_MEGATRON)
save_fp8_tensors = refused_function(f"{__name__}.save_fp8_tensors", IN_8_BITS)
restore_fp8_tensors = refused_function(f"{__name__}.restore_fp8_tensors", IN_8_BITS)

__getattr__ = missing_attribute(__name__)
