# SPDX-License-Identifier: Apache-2.0
"""Level 2: how the ranks of a context-parallel group share the sequence."""
