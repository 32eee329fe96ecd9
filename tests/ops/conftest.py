"""Operator tests call the C libraries directly: torch must not load torch_npu by itself."""

from __future__ import annotations

import os

os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")
