# SPDX-License-Identifier: Apache-2.0
"""Captured graphs: an NPU of this kind runs every operator when it is called."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute, refused_function

ADVICE = "Leave out --enable-cuda-graph, --external-cuda-graph and --cuda-graph-impl"

make_graphed_callables = refused_function(f"{__name__}.make_graphed_callables", ADVICE)
save_fp8_tensors = refused_function(f"{__name__}.save_fp8_tensors", ADVICE)
restore_fp8_tensors = refused_function(f"{__name__}.restore_fp8_tensors", ADVICE)
set_capture_start = refused_function(f"{__name__}.set_capture_start", ADVICE)
set_capture_end = refused_function(f"{__name__}.set_capture_end", ADVICE)

__getattr__ = missing_attribute(__name__)
