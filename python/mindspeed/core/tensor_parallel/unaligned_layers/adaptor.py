# SPDX-License-Identifier: Apache-2.0
"""Megatron's layers, under the names that other projects import: with --unaligned-linear ranks need not divide their sequences."""

from __future__ import annotations

from megatron.core.tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear

__all__ = ["UnalignedColumnParallelLinearAdaptor", "UnalignedRowParallelLinearAdaptor"]

UnalignedColumnParallelLinearAdaptor = ColumnParallelLinear
UnalignedRowParallelLinearAdaptor = RowParallelLinear
