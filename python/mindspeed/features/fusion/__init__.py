# SPDX-License-Identifier: Apache-2.0
"""Level 1: one operator where Megatron writes several. Results keep their meaning; each can be switched off."""
