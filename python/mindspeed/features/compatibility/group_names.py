# SPDX-License-Identifier: Apache-2.0
"""Groups of ranks carry Megatron's names ("tp", "dp_cp") into HCCL, for its errors, traces and profiles."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from mindspeed.adaptor import Feature, Level, Patch


def naming(options_of: Callable[..., Any]) -> Callable[..., Any]:
    """Megatron's options of a group, which are NCCL's if its configuration file has some."""

    @functools.wraps(options_of)
    def named_options(pg_name: str, nccl_comm_cfgs: dict[str, Any]) -> Any:
        if pg_name in nccl_comm_cfgs:
            raise ValueError(
                f"--nccl-communicator-config-path sets options of NCCL for the group {pg_name!r}, and HCCL has none of them: "
                "take the group out of that file, or leave the flag out"
            )
        import torch_npu

        options = torch_npu._C._distributed_c10d.ProcessGroupHCCL.Options()
        options.hccl_config = {"group_name": pg_name}
        return options

    return named_options


FEATURE = Feature(
    name="group-names",
    level=Level.COMPATIBILITY,
    patches=(Patch("megatron.core.parallel_state:get_nccl_options", naming, wraps=True),),
)
