# SPDX-License-Identifier: Apache-2.0
"""Groups of ranks whose buffers in HCCL have a size of their own, in MB; the others have HCCL_BUFFSIZE."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from mindspeed.adaptor import Patch

# What Megatron calls its groups, and earlier ones or the original called the same.
ALIASES = {"exp": "ep", "tp_exp": "ep_tp", "mp_exp": "tp_ep_mp", "dp_modulo_exp": "ep_dp"}
GROUPS = (
    "cp", "dp", "dp_cp", "embd", "ep", "ep_dp", "ep_tp", "hcp", "inter_dp_cp", "inter_ep_dp", "intra_dist_opt_instance",
    "intra_dp_cp", "intra_ep_dp", "mp", "pos_embd", "pp", "tp", "tp_cp", "tp_dp", "tp_dp_cp", "tp_ep_mp", "tp_ep_pp",
)  # fmt: skip
LEAST, MOST = 1, 65536  # as HCCL_BUFFSIZE
MEGABYTE = 2**20


def sized(sizes_of: Callable[[], Mapping[str, int]]) -> tuple[Patch, ...]:
    """Options of groups as Megatron makes them, with the sizes of those that have one."""

    def wrapping(options_of: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(options_of)
        def with_size(pg_name: str, *args: Any) -> Any:
            options, size = options_of(pg_name, *args), sizes_of().get(pg_name)
            if size is not None:
                options.hccl_config = {**options.hccl_config, "hccl_buffer_size": size}
            return options

        return with_size

    return (Patch("megatron.core.parallel_state:get_nccl_options", wrapping, wraps=True),)
