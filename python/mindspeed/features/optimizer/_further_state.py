# SPDX-License-Identifier: Apache-2.0
"""One more state of a parameter in the checkpoints of Megatron's distributed optimizer, which name Adam's two averages.

Formats that keep a state per parameter (torch_dist) take whatever the inner optimizer has, once a load has made room for it.
The one file of --ckpt-format torch holds a vector per buffer, gathered on the first data-parallel rank: one more is gathered
here in the same way. A checkpoint without the state gives the main parameter in its place.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch

from mindspeed.adaptor import Patch

_DISTRIBUTED = "megatron.core.optimizer.distrib_optimizer:DistributedOptimizer"
Method = Callable[..., Any]
Ranges = dict[Any, Any]  # of a bucket, Megatron's map from parameters to what of them is this rank's


def patches(key: str) -> tuple[Patch, ...]:
    """For states called `key`, of the main parameter's shape and in float32."""
    wrappers = {
        "load_state_dict": _making_room,
        "_set_main_param_and_optimizer_states": _setting,
        "get_parameter_state_dp_zero": _gathering,
        "load_parameter_state_from_dp_zero": _scattering,
    }
    return tuple(
        Patch(f"{_DISTRIBUTED}.{name}", functools.partial(wrap, key=key), wraps=True)
        for name, wrap in wrappers.items()
    )


def main_parameter(optimizer: Any, parameter: torch.Tensor) -> torch.Tensor:
    group, order = optimizer.model_param_group_index_map[parameter]
    found: torch.Tensor = optimizer.optimizer.param_groups[group]["params"][order]
    return found


def shards(optimizer: Any) -> Iterator[tuple[torch.Tensor, Any]]:
    """(parameter of the model, Megatron's ranges of this rank's part of it)."""
    for maps in optimizer.gbuf_ranges:
        for buckets in maps.values():
            for bucket in buckets:
                yield from bucket["param_map"].items()


def _begin(optimizer: Any, parameter: torch.Tensor, key: str) -> dict[str, torch.Tensor]:
    """The inner state of a parameter, with the further one."""
    main = main_parameter(optimizer, parameter)
    state: dict[str, torch.Tensor] = optimizer.optimizer.state[main]
    if key not in state:
        state[key] = state.get("master_param", main).detach().float().clone()
    return state


def _making_room(load: Method, *, key: str) -> Method:
    @functools.wraps(load)
    def load_state_dict(self: Any, state_dict: dict[str, Any]) -> None:
        load(self, state_dict)
        for parameter, _ in shards(self):
            if len(self.optimizer.state[main_parameter(self, parameter)]) > 0:
                _begin(self, parameter, key)

    return load_state_dict


def _setting(set_states: Method, *, key: str) -> Method:
    """Megatron asks the tensors for every state that there is; in a file of vectors the further one comes after."""

    @functools.wraps(set_states)
    def set_all(self: Any, model_param: torch.Tensor, tensors: dict[str, torch.Tensor]) -> None:
        given = dict(tensors)
        further = given.pop(key, None)
        state = self.optimizer.state[main_parameter(self, model_param)]
        kept = state.pop(key, None)
        set_states(self, model_param, given)
        if kept is not None:
            state[key] = kept
        if further is not None:
            _begin(self, model_param, key)[key].copy_(further)

    return set_all


def _buckets(optimizer: Any) -> Iterator[tuple[int, Any, list[tuple[Any, Ranges]]]]:
    """(number of a buffer, its type, its buckets with their ranges)."""
    for index, maps in enumerate(optimizer.gbuf_ranges):
        for dtype, ranges in maps.items():
            yield index, dtype, list(zip(optimizer.buffers[index].buckets, ranges, strict=True))


def _gathering(get: Method, *, key: str) -> Method:
    @functools.wraps(get)
    def get_with_further(self: Any, *args: Any, **kwargs: Any) -> Any:
        state = get(self, *args, **kwargs)
        bound = inspect.signature(get).bind(self, *args, **kwargs)
        bound.apply_defaults()
        everywhere = bound.arguments.get("return_on_all_ranks", False)
        by_gloo = bound.arguments.get("use_gloo_comm", True)
        group = self.data_parallel_group_gloo if by_gloo else self.data_parallel_group
        for index, dtype, buckets in _buckets(self):
            if bound.arguments.get("empty_data", False):
                whole = torch.zeros(self.buffers[index].numel_unpadded)
            else:
                whole = _gathered(self, key, buckets, group, everywhere, "cpu" if by_gloo else "npu")
            if everywhere or group.rank() == 0:
                state[index][dtype][key] = whole
        return state

    return get_with_further


def _gathered(
    optimizer: Any, key: str, buckets: list[tuple[Any, Ranges]], group: Any, everywhere: bool, device: str
) -> torch.Tensor:
    """The vector of a buffer, without the padding of its buckets; on ranks that are not to have it, empty."""
    whole = [torch.empty(0)]
    for bucket, ranges in buckets:
        mine = torch.zeros(bucket.grad_data.numel() // group.size())
        for parameter, cut in ranges["param_map"].items():
            local = cut["gbuf_local"]
            mine[local.start : local.end] = optimizer._get_main_param_and_optimizer_states(parameter)[key]
        mine = mine.to(device)
        has_all = everywhere or group.rank() == 0
        parts = [torch.empty_like(mine) for _ in range(group.size())] if has_all else None
        if everywhere:
            torch.distributed.all_gather(parts, mine, group)
        else:
            torch.distributed.gather(mine, parts, torch.distributed.get_process_group_ranks(group)[0], group)
        if parts is not None:
            whole.append(torch.cat(parts)[: bucket.numel_unpadded].cpu())
    return torch.cat(whole)


def _scattering(load: Method, *, key: str) -> Method:
    @functools.wraps(load)
    def load_with_further(self: Any, state_dict: Any, *args: Any, **kwargs: Any) -> None:
        load(self, state_dict, *args, **kwargs)
        if kwargs.get("update_legacy_format", False):
            return
        for index, dtype, buckets in _buckets(self):
            whole = None
            if self.data_parallel_group_gloo.rank() == 0:
                tensors = state_dict[index][dtype]
                whole = tensors.get(key, tensors["param"])
            _scattered(self, key, buckets, whole)

    return load_with_further


def _scattered(
    optimizer: Any, key: str, buckets: list[tuple[Any, Ranges]], whole: torch.Tensor | None
) -> None:
    group = optimizer.data_parallel_group_gloo
    begin = 0
    for bucket, ranges in buckets:
        numel = bucket.grad_data.numel()
        mine = torch.empty(numel // group.size())
        parts = None
        if whole is not None:
            padded = torch.zeros(numel)
            padded[: bucket.numel_unpadded] = whole[begin : begin + bucket.numel_unpadded]
            parts = list(padded.split(mine.numel()))
            begin += bucket.numel_unpadded
        torch.distributed.scatter(mine, parts, torch.distributed.get_process_group_ranks(group)[0], group)
        for parameter, cut in ranges["param_map"].items():
            local = cut["gbuf_local"]
            _begin(optimizer, parameter, key)[key].copy_(mine[local.start : local.end])
