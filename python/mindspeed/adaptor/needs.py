# SPDX-License-Identifier: Apache-2.0
"""What the versions that are installed need of each other beyond docs/versions.md's ranges, and do not find."""

from __future__ import annotations

from collections.abc import Iterator

from mindspeed.adaptor import versions
from mindspeed.adaptor.importing import locate

# From this release on torch_npu registers options of the allocator that torch's CUDA build registers as well.
NO_CUDA_BUILD_SINCE = "2.13.0"


def has_cuda() -> bool:
    """Whether torch is a CUDA build; nothing is imported, which would end the process."""
    return any((folder / "lib" / "libc10_cuda.so").exists() for folder in locate("torch"))


def unmet() -> Iterator[str]:
    """A sentence for each, with what to install."""
    megatron, numpy, torch, torch_npu = map(
        versions.installed_version, ("megatron-core", "numpy", "torch", "torch_npu")
    )
    if (
        megatron
        and numpy
        and versions.within(megatron, until="0.13.0")
        and versions.within(numpy, since="2.0.0")
    ):
        yield (
            f"megatron-core {megatron} calls numpy.product, which numpy {numpy} has no more: "
            "pip install numpy==1.26.4"
        )
    if torch_npu and versions.within(torch_npu, since=NO_CUDA_BUILD_SINCE) and has_cuda():
        yield (
            f"torch_npu {torch_npu} needs the CPU build of torch {torch}: this is a CUDA build, which registers the same "
            "options of the allocator, so that `import torch` ends the process (Duplicated key "
            f"'pinned_reserve_segment_size_mb'); install torch=={torch}+cpu from an index that has it, or another pair"
        )
