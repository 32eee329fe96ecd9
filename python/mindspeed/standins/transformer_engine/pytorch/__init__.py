# SPDX-License-Identifier: Apache-2.0
"""The PyTorch side of the stand-in for Transformer Engine."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute

from . import (
    attention,
    constants,
    cpp_extensions,
    cpu_offload,
    cross_entropy,
    distributed,
    float8_tensor,
    fp8,
    graph,
    module,
    ops,
    optimizers,
    permutation,
    router,
    tensor,
    utils,
)
from .attention import DotProductAttention
from .cpu_offload import get_cpu_offload_context
from .cross_entropy import parallel_cross_entropy
from .distributed import CudaRNGStatesTracker, checkpoint
from .fp8 import fp8_autocast, fp8_model_init
from .graph import make_graphed_callables
from .module import (
    Fp8Padding,
    Fp8Unpadding,
    GroupedLinear,
    LayerNorm,
    LayerNormLinear,
    Linear,
    RMSNorm,
    destroy_ub,
    initialize_ub,
)
from .permutation import (
    moe_permute,
    moe_permute_with_probs,
    moe_sort_chunks_by_index,
    moe_sort_chunks_by_index_with_probs,
    moe_unpermute,
)

__all__ = [
    "CudaRNGStatesTracker",
    "DotProductAttention",
    "Fp8Padding",
    "Fp8Unpadding",
    "GroupedLinear",
    "LayerNorm",
    "LayerNormLinear",
    "Linear",
    "RMSNorm",
    "attention",
    "checkpoint",
    "constants",
    "cpp_extensions",
    "cpu_offload",
    "cross_entropy",
    "destroy_ub",
    "distributed",
    "float8_tensor",
    "fp8",
    "fp8_autocast",
    "fp8_model_init",
    "get_cpu_offload_context",
    "graph",
    "initialize_ub",
    "make_graphed_callables",
    "module",
    "moe_permute",
    "moe_permute_with_probs",
    "moe_sort_chunks_by_index",
    "moe_sort_chunks_by_index_with_probs",
    "moe_unpermute",
    "ops",
    "optimizers",
    "parallel_cross_entropy",
    "permutation",
    "router",
    "tensor",
    "utils",
]

__getattr__ = missing_attribute(__name__)
