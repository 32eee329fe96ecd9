# SPDX-License-Identifier: Apache-2.0
"""How products of tensor-parallel layers are computed, under the name that other projects import."""

from __future__ import annotations

from argparse import Namespace

from mindspeed.adaptor import session
from mindspeed.features.communication import ascend_coc, ascend_mc2

__all__ = ["initialize_cfg_from_args"]


def initialize_cfg_from_args(args: Namespace) -> None:
    """As these arguments say, from now on: repatch() with those of --use-ascend-mc2 and --use-ascend-coc."""
    flags = (*ascend_mc2.FEATURE.flags, *ascend_coc.FEATURE.flags)
    names = [flag.dest for flag in flags] + ["sequence_parallel", "tensor_model_parallel_size"]
    session.repatch({name: getattr(args, name) for name in names if hasattr(args, name)})
