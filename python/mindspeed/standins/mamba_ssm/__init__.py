# SPDX-License-Identifier: Apache-2.0
"""MindSpeed's stand-in for mamba_ssm: the scan and the gated norm of Mamba 2, written in PyTorch's operators."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute
from mindspeed.standins.versions import reported_version

__version__ = reported_version("mamba_ssm")
__getattr__ = missing_attribute(__name__)
