# SPDX-License-Identifier: Apache-2.0
"""Experts: how tokens get to them, and what is shared."""
