# SPDX-License-Identifier: Apache-2.0
"""What the vendor's `msprof` does, for profiles of virtual NPUs: turns what src/runtime/prof.c wrote into the tables and the
timeline from which torch_npu.profiler makes its views (docs/profiling.md)."""
