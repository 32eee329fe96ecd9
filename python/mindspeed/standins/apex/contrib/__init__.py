# SPDX-License-Identifier: Apache-2.0
"""Apex's contributed parts."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute

__getattr__ = missing_attribute(__name__)
