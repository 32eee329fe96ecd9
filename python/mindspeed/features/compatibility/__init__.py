# SPDX-License-Identifier: Apache-2.0
"""Level 0: what Megatron needs to run on an NPU at all."""
