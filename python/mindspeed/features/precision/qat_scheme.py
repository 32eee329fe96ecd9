# SPDX-License-Identifier: Apache-2.0
"""Quantisation-aware training: products of linear layers see weights, and activations, as a low-precision format would hold them.

Weights stay what they are and are updated by gradients as if nothing had been rounded.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Patch
from mindspeed.adaptor.session import current_arguments
from mindspeed.features.precision._fake_quantisation import BLOCK, MXFP4, MXFP8, Format, fake

_FLAG, _SIZE = "--qat-scheme", "--qat-quant-block-size"
_TYPES = (torch.bfloat16, torch.float16, torch.float32)
_among_experts: contextvars.ContextVar[bool] = contextvars.ContextVar("among_experts", default=False)
_is_plain: contextvars.ContextVar[bool] = contextvars.ContextVar("is_plain", default=False)
Function = Callable[..., Any]


@contextlib.contextmanager
def unquantised() -> Iterator[None]:
    """Products in here are of the factors as they are."""
    token = _is_plain.set(True)
    try:
        yield
    finally:
        _is_plain.reset(token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """What products take; `only_experts`: those of experts."""

    weights: Format
    activations: Format | None = None
    only_experts: bool = False


W4A8 = "w4a8-moe-only"
SCHEMES = {
    "w4a16-mxfp4": Scheme(weights=MXFP4),
    "w4a16-mxfp4-moe-only": Scheme(weights=MXFP4, only_experts=True),
    "w8a16-mxfp8": Scheme(weights=MXFP8),
    "w8a16-mxfp8-moe-only": Scheme(weights=MXFP8, only_experts=True),
    "w4a4-mxfp4": Scheme(weights=MXFP4, activations=MXFP4),
    W4A8: Scheme(weights=MXFP4, activations=MXFP8, only_experts=True),
}


def _chosen() -> tuple[Scheme, int]:
    """And the size of activations' blocks."""
    args = current_arguments()
    return SCHEMES[args.qat_scheme], getattr(args, "qat_quant_block_size", None) or BLOCK


def linear(product: Function) -> Function:
    """linear_with_grad_accumulation_and_async_allreduce, of weights [out, in]."""

    @functools.wraps(product)
    def of_quantised(input: torch.Tensor, weight: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        scheme, block = _chosen()
        is_meant = _among_experts.get() or not scheme.only_experts
        if weight.dtype in _TYPES and is_meant and not _is_plain.get():
            input = fake(input, scheme.activations, block=block)
            weight = fake(weight, scheme.weights)
        return product(input, weight, *args, **kwargs)

    return of_quantised


def experts(forward: Function) -> Function:
    """SequentialMLP.forward, whose experts have linear layers."""

    @functools.wraps(forward)
    def forward_of_experts(self: Any, *args: Any, **kwargs: Any) -> Any:
        token = _among_experts.set(True)
        try:
            return forward(self, *args, **kwargs)
        finally:
            _among_experts.reset(token)

    return forward_of_experts


def grouped(ops: Any) -> Any:
    """grouped_gemm.ops as GroupedMLP sees it, with weights [experts, in, out]."""

    def gmm(
        a: torch.Tensor, b: torch.Tensor, batch_sizes: torch.Tensor, trans_b: bool = False
    ) -> torch.Tensor:
        scheme, block = _chosen()
        found: torch.Tensor = ops.gmm(
            fake(a, scheme.activations, block=block), fake(b, scheme.weights, -1 if trans_b else -2), batch_sizes,
            trans_b=trans_b,
        )  # fmt: skip
        return found

    return SimpleNamespace(gmm=gmm)


def check(args: Any) -> Iterator[str]:
    scheme, size = SCHEMES.get(args.qat_scheme), getattr(args, "qat_quant_block_size", None)
    if scheme is None:
        return
    if scheme.only_experts and not getattr(args, "num_experts", None):
        yield f"{_FLAG} {args.qat_scheme} is for experts, and there are none; give --num-experts, or another scheme"
    if size is not None and args.qat_scheme != W4A8:
        yield f"{_SIZE} is of {_FLAG} {W4A8}, and that is {args.qat_scheme}; leave out {_SIZE}"
    if getattr(args, "gradient_accumulation_fusion", False):
        yield (
            "a product that adds to its weight's gradient itself would have to know the weight behind the quantised one; "
            "give --no-gradient-accumulation-fusion"
        )
    if getattr(args, "transformer_impl", "local") == "transformer_engine":
        yield (
            "it is for Megatron's own linear layers, and --transformer-impl is transformer_engine, which has --fp8-format; "
            "give --transformer-impl local"
        )


_OWN = "it has products of its own, which would not see quantised weights"
FEATURE = Feature(
    name="qat-scheme",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            _FLAG,
            "Train for products of this precision: w, bits of weights; a, bits of activations; moe-only, those of experts.",
            type=str,
            default=None,
            choices=tuple(SCHEMES),
            in_config=False,
        ),
        Flag(
            _SIZE,
            f"Of {W4A8}: how many numbers of an activation share a scale.",
            type=int,
            default=None,
            choices=(32, 128),
            in_config=False,
        ),
    ),
    conflicts=(
        Conflict(feature="ascend-mc2", why=_OWN),
        Conflict(feature="ascend-coc", why=_OWN),
        Conflict(feature="unaligned-linear", why=_OWN),
        Conflict(
            feature="moe-grouped-gemm", why="it adds to gradients of weights that it takes for the parameters"
        ),
        Conflict(feature="moe-fb-overlap", why=_OWN),
        Conflict(feature="balanced-moe-experts", why=_OWN),
        Conflict(feature="moe-zero-memory", why=_OWN),
    ),
    check=check,
    patches=(
        Patch(
            "megatron.core.tensor_parallel.layers:linear_with_grad_accumulation_and_async_allreduce",
            linear,
            wraps=True,
        ),
        Patch("megatron.core.transformer.moe.experts:SequentialMLP.forward", experts, wraps=True),
        Patch("megatron.core.transformer.moe.grouped_gemm_util:ops", grouped, wraps=True, until="0.17"),
    ),
)
