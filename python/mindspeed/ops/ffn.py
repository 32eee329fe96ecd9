# SPDX-License-Identifier: Apache-2.0
"""A feed-forward layer for inference: not supported, and refused by name."""

from __future__ import annotations

from mindspeed.ops._refused import refused

_INSTEAD = "use torch.nn.functional.linear and an activation"
npu_ffn = refused("npu_ffn", _INSTEAD)
