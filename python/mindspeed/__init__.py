# SPDX-License-Identifier: Apache-2.0
"""Megatron-LM on Ascend NPUs, and on any Linux machine without one. Importing this package does no work."""

from __future__ import annotations

from mindspeed import absent

__version__ = "0.1.0"
absent.install()
