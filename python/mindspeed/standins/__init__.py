# SPDX-License-Identifier: Apache-2.0
"""Packages of NVIDIA's that Megatron imports, in versions that call the operators of an NPU.

Each folder is one top-level package under its own name; finder.py makes them importable. See docs/standins.md.
"""
