# SPDX-License-Identifier: Apache-2.0
"""PyTorch's fully sharded data parallelism."""
