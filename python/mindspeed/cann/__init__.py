# SPDX-License-Identifier: Apache-2.0
"""The host implementation of CANN: its libraries are below lib64/, its headers below include/."""

from __future__ import annotations
