# SPDX-License-Identifier: Apache-2.0
"""torch.cuda.* does what torch.npu.* does. What torch.npu does not have stays as it is in torch.cuda.

Releases differ in the rarer names (ExternalStream came with torch_npu 2.13, statistics of host memory with 2.10): those are
taken where both sides have them. Of NEEDED each must be there.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

import torch
import torch_npu.npu

from mindspeed.adaptor import Feature, Level, Patch, PatchError
from mindspeed.adaptor.versions import describe_version
from mindspeed.features.compatibility._devices import anywhere, takes_arguments

NEEDED = frozenset(
    "Event Stream StreamContext current_device current_stream default_stream device device_count empty_cache "
    "get_device_capability get_device_name get_device_properties get_rng_state get_rng_state_all init "
    "is_available is_bf16_supported is_initialized manual_seed manual_seed_all max_memory_allocated "
    "max_memory_reserved mem_get_info memory_allocated memory_reserved memory_stats memory_summary "
    "reset_peak_memory_stats set_device set_rng_state set_rng_state_all set_stream stream synchronize "
    "_lazy_call _lazy_init".split()
)
NAMES = (
    "BFloat16Storage BFloat16Tensor BoolStorage BoolTensor ByteStorage ByteTensor CharStorage CharTensor "
    "DoubleStorage DoubleTensor Event ExternalStream FloatStorage FloatTensor HalfStorage HalfTensor "
    "IntStorage IntTensor LongStorage LongTensor MemPool ShortStorage ShortTensor Stream StreamContext "
    "caching_allocator_alloc caching_allocator_delete can_device_access_peer change_current_allocator "
    "current_blas_handle current_device current_stream default_stream device device_count device_of "
    "empty_cache get_allocator_backend get_device_capability get_device_name get_device_properties "
    "get_per_process_memory_fraction get_rng_state get_rng_state_all get_sync_debug_mode graph "
    "graph_pool_handle host_memory_stats host_memory_stats_as_nested_dict init initial_seed ipc_collect "
    "is_available is_bf16_supported is_current_stream_capturing is_initialized make_graphed_callables "
    "manual_seed manual_seed_all max_memory_allocated max_memory_cached max_memory_reserved mem_get_info "
    "memory_allocated memory_cached memory_reserved memory_snapshot memory_stats "
    "memory_stats_as_nested_dict memory_summary reset_accumulated_host_memory_stats "
    "reset_accumulated_memory_stats reset_max_memory_allocated reset_max_memory_cached "
    "reset_peak_host_memory_stats reset_peak_memory_stats seed seed_all set_device "
    "set_per_process_memory_fraction set_rng_state set_rng_state_all set_stream set_sync_debug_mode "
    "stream synchronize use_mem_pool utilization _lazy_call _lazy_init _sleep"
).split()
MEMORY = (
    "MemPool caching_allocator_alloc caching_allocator_delete change_current_allocator empty_cache "
    "get_allocator_backend get_per_process_memory_fraction host_memory_stats "
    "host_memory_stats_as_nested_dict max_memory_allocated max_memory_cached max_memory_reserved "
    "memory_allocated memory_cached memory_reserved memory_snapshot memory_stats "
    "memory_stats_as_nested_dict memory_summary reset_accumulated_host_memory_stats "
    "reset_accumulated_memory_stats reset_max_memory_allocated reset_max_memory_cached "
    "reset_peak_host_memory_stats reset_peak_memory_stats set_per_process_memory_fraction use_mem_pool "
    "_dump_snapshot _record_memory_history _snapshot"
).split()
RANDOM = (
    "get_rng_state get_rng_state_all initial_seed manual_seed manual_seed_all seed seed_all set_rng_state "
    "set_rng_state_all"
).split()
GRAPHS = "graph graph_pool_handle is_current_stream_capturing make_graphed_callables".split()
# Of torch._C and torch_npu._C, by what follows _cuda_ and _npu_: Megatron from 0.19 on fills the pool of its graphs by them.
POOLS = "beginAllocateCurrentThreadToPool endAllocateToPool releasePool".split()
STREAMS = "Event ExternalStream Stream".split()
AMP = "GradScaler autocast custom_bwd custom_fwd".split()


class _DefaultGenerators(Sequence[torch.Generator]):
    """torch.npu replaces its tuple of generators when the device is initialised: always look there."""

    def __getitem__(self, index: Any) -> Any:
        return torch_npu.npu.default_generators[index]

    def __len__(self) -> int:
        return len(torch_npu.npu.default_generators)

    def __iter__(self) -> Iterator[torch.Generator]:
        return iter(torch_npu.npu.default_generators)


def _redirect(target: str, source: ModuleType, names: Iterable[str]) -> Iterator[Patch]:
    goal = importlib.import_module(target)
    for name in names:
        if name not in NEEDED and not (hasattr(source, name) and hasattr(goal, name)):
            continue
        try:
            value = getattr(source, name)
        except AttributeError:
            raise PatchError(
                f"patch target {target}:{name} (feature cuda-module): {source.__name__} has no attribute {name!r} in "
                f"{describe_version('torch_npu')}"
            ) from None
        if inspect.isroutine(value) and takes_arguments(value):
            value = anywhere(value)
        yield Patch(f"{target}:{name}", value)


FEATURE = Feature(
    name="cuda-module",
    level=Level.COMPATIBILITY,
    patches=(
        *_redirect("torch.cuda", torch_npu.npu, NAMES),
        *_redirect("torch.cuda.memory", torch_npu.npu.memory, MEMORY),
        *_redirect("torch.cuda.memory", torch_npu.npu, ["mem_get_info"]),
        *_redirect("torch.cuda.random", torch_npu.npu.random, RANDOM),
        *_redirect("torch.cuda.graphs", torch_npu.npu.graphs, GRAPHS),
        *_redirect("torch.cuda.streams", torch_npu.npu.streams, STREAMS),
        *_redirect("torch.cuda.amp", torch_npu.npu.amp, AMP),
        *(
            Patch(f"torch._C:_cuda_{name}", getattr(torch_npu._C, f"_npu_{name}"))
            for name in POOLS
            if hasattr(torch._C, f"_cuda_{name}") and hasattr(torch_npu._C, f"_npu_{name}")
        ),
        Patch("torch.cuda:CUDAGraph", torch_npu.npu.NPUGraph),
        Patch("torch.cuda.graphs:CUDAGraph", torch_npu.npu.NPUGraph),
        Patch("torch.cuda:default_generators", _DefaultGenerators()),
        # Constructors that take a device; the classes themselves are torch_npu's.
        Patch("torch_npu.npu.streams:Stream.__new__", anywhere, wraps=True),
        Patch("torch_npu.npu:device.__init__", anywhere, wraps=True),
    ),
)
