# SPDX-License-Identifier: Apache-2.0
"""Floating point operations of the products that run, counted as PyTorch dispatches them, in the backward pass too.

A multiplication and an addition are two. Products that a causal mask spares count as if they were computed, and the
gradient of fused attention as its five products, as PyTorch's own flop counter has it; its formulas serve the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

Named = dict[str, Any]
_STEPS = 2  # group type of a grouped product: the shared dimension is in groups


def matmul(named: Named, out: Tensor) -> int:
    return 2 * out.numel() * int(named["self"].shape[-1])


def matmul_backward(named: Named, out: Any) -> int:
    """One product for each gradient that is wanted."""
    per_gradient = 2 * named["grad"].numel() * int(named["self"].shape[-1])
    return per_gradient * sum(bool(wanted) for wanted in named["mask"])


def addmm(named: Named, out: Tensor) -> int:
    first = named.get("mat1", named.get("batch1"))
    assert first is not None
    return 2 * out.numel() * int(first.shape[-1])


def grouped(named: Named, out: Any) -> int:
    """Rows without a group cost nothing, but only the device knows them: they are counted."""
    rows, matrices = named["x"], named["weight"]
    if named.get("group_type") == _STEPS:
        return sum(2 * a.numel() * int(b.shape[-1]) for a, b in zip(rows, matrices, strict=True))
    return sum(2 * a.numel() * int(matrices[0].shape[-1]) for a in rows)


def grouped_add(named: Named, out: Tensor) -> int:
    return 2 * named["x"].numel() * int(named["weight"].shape[-1])


def beside_messages(named: Named, out: Any) -> int:
    """A product that contains its collective: the rows of all ranks that this one multiplies."""
    rows = named["input"] if "input" in named else named["x1"]
    return 2 * rows.numel() * int(named["x2"].shape[-1])


def gathered(named: Named, out: Any) -> int:
    """Rows come from each of the ranks."""
    return beside_messages(named, out) * int(named["world_size"])


def _pairs(ends_q: Sequence[int], ends_k: Sequence[int]) -> int:
    """Of packed sequences: queries times keys of each."""
    lengths = zip(pairwise((0, *ends_q)), pairwise((0, *ends_k)), strict=True)
    return sum((b - a) * (d - c) for (a, b), (c, d) in lengths)


def attention_sizes(named: Named) -> tuple[int, int, int]:
    """Pairs of a query and a key over all heads, numbers of a head of the keys, and of the values."""
    q, k, v = (tuple(named[name].shape) for name in ("query", "key", "value"))
    heads, layout = named["head_num"], named["input_layout"]
    if layout == "TND":
        pairs = _pairs(named["actual_seq_qlen"], named["actual_seq_kvlen"])
        return heads * pairs, q[-1], v[-1]
    if layout in ("BSH", "SBH"):
        batch, length = (0, 1) if layout == "BSH" else (1, 0)
        size = q[2] // heads
        return q[batch] * heads * q[length] * k[length], size, v[2] // max(1, k[2] // size)
    length = layout.index("S")  # BSND or BNSD
    return q[0] * heads * q[length] * k[length], q[-1], v[-1]


def attention(named: Named, out: Any) -> int:
    pairs, size, value_size = attention_sizes(named)
    return 2 * pairs * (size + value_size)


def attention_grad(named: Named, out: Any) -> int:
    """The scores again, and gradients of weights, values, queries and keys."""
    pairs, size, value_size = attention_sizes(named)
    return 2 * pairs * (3 * size + 2 * value_size)


_BY_NAME: dict[str, Callable[[Named, Any], int]] = {
    "aten::matmul": matmul,
    "aten::matmul_backward": matmul_backward,
    "aten::addmm_": addmm,
    "aten::baddbmm_": addmm,
    "npu::npu_all_gather_base_mm": gathered,
    "npu::npu_mm_reduce_scatter_base": beside_messages,
    "npu::npu_mm_all_reduce_base": beside_messages,
    "npu::npu_grouped_matmul": grouped,
    "npu::npu_grouped_matmul_add_": grouped_add,
    "npu::npu_fusion_attention": attention,
    "npu::npu_fusion_attention_v2": attention,
    "npu::npu_fusion_attention_grad": attention_grad,
    "npu::npu_fusion_attention_grad_v2": attention_grad,
}


def flops_of(func: Any, args: Sequence[Any], kwargs: Named, out: Any) -> int:
    formula = _BY_NAME.get(func._schema.name)
    if formula is not None:
        names = [argument.name for argument in func._schema.arguments]
        return formula(dict(zip(names, args, strict=False)) | kwargs, out)
    known = flop_registry.get(func._overloadpacket)
    return 0 if known is None else int(known(*args, **kwargs, out_val=out))


class FlopCount(TorchDispatchMode):
    """While it is entered, operations add up: `total`, and those that compute again what a checkpoint dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.total = self.again = 0
        self._is_again = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Named | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        flops = flops_of(func, args, kwargs, out)
        self.total += flops
        self.again += flops if self._is_again else 0
        return out

    @contextlib.contextmanager
    def recomputing(self) -> Iterator[None]:
        before, self._is_again = self._is_again, True
        try:
            yield
        finally:
            self._is_again = before

    def take(self) -> tuple[int, int]:
        """(without what was computed again, all), and begin anew."""
        found = self.total - self.again, self.total
        self.total = self.again = 0
        return found
