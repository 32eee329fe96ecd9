# SPDX-License-Identifier: Apache-2.0
"""The version each stand-in reports: Megatron switches on it, so it follows from Megatron's own version."""

from __future__ import annotations

from packaging.version import Version

from mindspeed.adaptor.versions import installed_version

# (Megatron Core from, Transformer Engine): the paths which that Megatron takes for it are all there.
TRANSFORMER_ENGINE = (("0.16", "2.8.0"), ("0.13", "2.4.0"), ("0", "2.2.0"))
FIXED = {
    "apex": "0.1",
    "flash_attn": "2.7.4",
    "grouped_gemm": "1.1.4",
    "mamba_ssm": "2.2.4",
    "triton": "3.3.0",
}


def reported_version(distribution: str) -> str:
    """The version of a stand-in, by the distribution's name with underscores."""
    if distribution != "transformer_engine":
        return FIXED[distribution]
    megatron = Version(installed_version("megatron-core") or "0")
    return next(
        version for start, version in TRANSFORMER_ENGINE if megatron.release >= Version(start).release
    )
