# SPDX-License-Identifier: Apache-2.0
"""Small functions that other projects import: lengths and positions of packed sequences, seeds, printing."""

from __future__ import annotations

import ast
import bisect
import functools
import hashlib
import logging
import os
from collections.abc import Sequence
from typing import Any

import torch

from mindspeed import absent
from mindspeed.args_utils import get_full_args

_log = logging.getLogger("mindspeed.utils")
# Of the batch in work: where its packed sequences end (one number each, counted from the start of the batch), and the
# position of each token in its own sequence.
_ends: Any = None
_positions: Any = None

DTYPES = {
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp32": torch.float32,
    "fp64": torch.float64,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
}
_CONSTANTS = {"none": None, "true": True, "false": False}


def get_actual_seq_len() -> Any:
    return _ends


def set_actual_seq_len(actual_seq_len: Any) -> None:
    """Where the packed sequences of the batch in work end."""
    global _ends
    _ends = actual_seq_len


def get_position_ids() -> Any:
    return _positions


def set_position_ids(position_ids: Any) -> None:
    """The positions of the batch in work."""
    global _positions
    _positions = position_ids


def compute_actual_seq_len(seq: torch.Tensor) -> list[int]:
    """Ends of packed sequences from positions, which start again at 0 with each of them."""
    starts = (seq == 0).nonzero().flatten().tolist()
    return [*starts[1:], len(seq)]


def batch_index(seq1d: Sequence[int], seq_len: int) -> list[list[int]]:
    """Ends counted over a whole batch, per row of seq_len tokens and counted from its start."""
    rows = []
    first = 0
    for row in range(seq1d[-1] // seq_len):
        last = bisect.bisect_right(seq1d, (row + 1) * seq_len)
        rows.append([end - row * seq_len for end in seq1d[first:last]])
        first = last
    return rows


def get_ring_degree() -> int:
    """Ranks that a packed sequence is spread over: those of context parallelism."""
    return int(getattr(get_full_args(), "context_parallel_size", 1))


def compute_qkv_index(seq_lens: Sequence[int]) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Indices of the second and of the first half of each packed sequence, for queries and for keys and values.

    A sequence that ends at seq_lens[i] begins where the one before ends. None where nothing is spread over ranks, or the
    mask is a general one.
    """
    if getattr(get_full_args(), "attention_mask_type", "causal") == "general" or get_ring_degree() == 1:
        return None, None
    first, second = [], []
    begin = 0
    for end in seq_lens:
        middle = (begin + end) // 2
        first.append(torch.arange(begin, middle))
        second.append(torch.arange(middle, end))
        begin = end
    return torch.cat(second).to("npu"), torch.cat(first).to("npu")


def get_batch_on_this_cp_rank(batch: dict[str, Any]) -> dict[str, Any]:
    """The chunks of each tensor that this rank of context parallelism has, as Megatron deals them out."""
    from megatron.core.utils import get_batch_on_this_cp_rank as megatrons

    return megatrons(batch)


def _broadcast(item: torch.Tensor | None) -> None:
    """To the ranks of tensor parallelism, from the first of them."""
    from megatron.core import parallel_state

    if item is not None:
        torch.distributed.broadcast(
            item,
            parallel_state.get_tensor_model_parallel_src_rank(),
            group=parallel_state.get_tensor_model_parallel_group(),
        )


def broadcast_dynamic(item: torch.Tensor | None) -> torch.Tensor:
    """A tensor of integers whose length the receivers, which give None, do not know."""
    device = torch.device("npu", torch.npu.current_device())
    count = torch.tensor(-1 if item is None else item.numel(), dtype=torch.int64, device=device)
    _broadcast(count)
    values = torch.empty(int(count), dtype=torch.int64, device=device) if item is None else item.to(device)
    _broadcast(values)
    return values


def _gather_hccl(
    send_tensor: torch.Tensor,
    recv_tensors: list[torch.Tensor] | None,
    data_parallel_group: torch.distributed.ProcessGroup,
) -> None:
    """Tensors of the host, one of each rank, to the first rank of a group of the device, in slices (--hccl-slice-size)."""
    from mindspeed.features.communication.disable_gloo_group import gathering

    first = torch.distributed.get_global_rank(data_parallel_group, 0)
    received = recv_tensors if data_parallel_group.rank() == 0 else None
    gathering(torch.distributed.gather)(send_tensor, received, first, data_parallel_group)


def _scatter_hccl(
    recv_tensor: torch.Tensor,
    send_tensors: list[torch.Tensor] | None,
    source_rank: int,
    data_parallel_group: torch.distributed.ProcessGroup,
) -> None:
    """The other way, from a rank of the job."""
    from mindspeed.features.communication.disable_gloo_group import scattering

    scattering(torch.distributed.scatter)(recv_tensor, send_tensors, source_rank, data_parallel_group)


def check_param_hashes_across_dp_replicas_hccl(model: Sequence[torch.nn.Module]) -> bool:
    """Whether this rank's parameters are those of the first rank of data parallelism, by a hash of each.

    Logs the names of those that are not. Megatron's function of the name without _hccl gathers the hashes over Gloo.
    """
    from megatron.core import parallel_state

    named = [(f"{at}.{name}", p) for at, chunk in enumerate(model) for name, p in chunk.named_parameters()]
    own = torch.stack([_hash_of(parameter) for _, parameter in named]).npu()
    group = parallel_state.get_data_parallel_group()
    every = own.new_empty((group.size(), *own.shape))
    torch.distributed.all_gather_into_tensor(every, own, group=group)
    differ = (every[0] != own).any(1).tolist()
    for (name, _), is_other in zip(named, differ, strict=True):
        if is_other:
            _log.warning("parameter %s is not that of the first rank of data parallelism", name)
    return not any(differ)


def _hash_of(parameter: torch.Tensor) -> torch.Tensor:
    """32 bytes."""
    digest = hashlib.sha256(parameter.detach().float().cpu().contiguous().numpy()).digest()
    return torch.frombuffer(bytearray(digest), dtype=torch.uint8)


def extend_seed_all(seed: int = 1234) -> None:
    """Seed NPUs, and ask for results that are the same in every run."""
    from mindspeed.fsdp.utils.random import set_deterministic_algorithms

    set_deterministic_algorithms()
    os.environ["PYTHONHASHSEED"] = str(seed)
    torch.npu.manual_seed_all(seed)


def _get_dtype(dtype: str) -> torch.dtype:
    if dtype not in DTYPES:
        raise ValueError(f"data type {dtype!r}: wanted one of {', '.join(DTYPES)}")
    return DTYPES[dtype]


def convert_str_dict_to_real_types(config_dict: dict[str, Any], key: str, value: str) -> None:
    """Put a text of a configuration into a dictionary as what it stands for: none, true, a data type, a Python literal."""
    if value.lower() in _CONSTANTS:
        config_dict[key] = _CONSTANTS[value.lower()]
    elif value in DTYPES:
        config_dict[key] = DTYPES[value]
    else:
        config_dict[key] = _literal(value)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def print_rank_0(message: Any) -> None:
    """Once in a job."""
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        print(message, flush=True)


@functools.lru_cache(4096)
def print_rank_0_once(message: Any) -> None:
    print_rank_0(message)


__getattr__ = absent.attributes(
    __name__,
    {
        **dict.fromkeys(
            (
                "_get_batch_on_this_cp_rank_in_hybrid_cp",
                "_get_batch_on_this_cp_rank_in_hybrid_cp_general",
                "_get_batch_on_this_cp_rank_in_megatron_cp",
                "_get_batch_on_this_tp_y_cp_rank_in_megatron_cp",
            ),
            "context parallelism is Megatron's: get_batch_on_this_cp_rank deals out a batch",
        ),
    },
)
