# SPDX-License-Identifier: Apache-2.0
"""The norm that Megatron builds without Apex, under the name that other projects import."""

from __future__ import annotations

from typing import Any

from mindspeed import absent

__all__ = ["PTNorm"]


class PTNorm:
    """Megatron's norm of PyTorch: `config.normalization` says which one."""

    def __new__(cls, config: Any, hidden_size: int, eps: float = 1e-5) -> Any:
        from megatron.core.transformer.torch_norm import WrappedTorchNorm

        return WrappedTorchNorm(config, hidden_size, eps)


__getattr__ = absent.attributes(
    __name__,
    dict.fromkeys(
        ("_compile_dependencies", "_set_cuda_rng_state", "get_device_arch_version", "get_device_wrapper"),
        "the import of mindspeed.megatron_adaptor does this, there is nothing to register",
    ),
)
