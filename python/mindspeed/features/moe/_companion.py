# SPDX-License-Identifier: Apache-2.0
"""What a layer of experts computes while its tokens, or their gradients, travel.

Forward the shared experts, which need no token of another rank. Backward the gradients of the experts' weights: a product's
weight comes through an anchor that is older than the message of the dispatch, and autograd runs what is younger first, so
the gradients of the tokens leave, and then the anchor computes.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor

from mindspeed.adaptor import Need, Patch
from mindspeed.features.fusion.moe_grouped_gemm import accumulating
from mindspeed.ops._groups import COUNTS, ROWS, product
from mindspeed.ops.gmm import weight_gradient

FIRST = 2**31 - 1  # for autograd: before all that is ready


class Promise:
    """The gradient of one weight, which is computed when autograd comes to its anchor."""

    def __init__(self) -> None:
        self.compute: Callable[[], Tensor | None] | None = None

    def keep(self, shape: torch.Size) -> Tensor | None:
        compute, self.compute = self.compute, None
        assert compute is not None
        gradient = compute()
        return None if gradient is None else gradient.view(shape)


class Anchor(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, promise: Promise) -> Tensor:
        ctx.promise, ctx.shape = promise, weight.shape
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, _placeholder: Tensor) -> tuple[Tensor | None, None]:
        return ctx.promise.keep(ctx.shape), None


class LateProduct(torch.autograd.Function):
    """Rows of group i times matrix i; the gradient of the matrices is left to their anchor."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        anchored: Tensor,
        matrices: Tensor,
        groups: Tensor,
        promise: Promise,
        original: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(x, matrices, groups)
        ctx.promise, ctx.original, ctx.shape = promise, original, anchored.shape
        return product(x, [matrices], None, groups, COUNTS, ROWS)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, matrices, groups = ctx.saved_tensors
        original = ctx.original
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = product(grad, [matrices.transpose(1, 2)], None, groups, COUNTS, ROWS)
        ctx.promise.compute = lambda: weight_gradient(x, grad, matrices, groups, COUNTS, original)
        # Autograd wants something of the weight's shape on the way to the anchor: one number that stands for all.
        return of_x, grad.new_zeros(()).expand(ctx.shape), None, None, None, None


class Companion:
    """Of one forward pass of a layer."""

    now: ClassVar[Companion | None] = None

    def __init__(self, layer: Any, tokens: Tensor) -> None:
        self._layer, self._tokens = layer, tokens
        self._anchors: dict[int, tuple[Tensor, Promise]] | None = None
        self._is_computing = False
        self._shared: Tensor | None = None

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        before, Companion.now = Companion.now, self
        try:
            yield
        finally:
            Companion.now = before

    def departs(self) -> None:
        """Tokens are about to leave."""
        if self._anchors is not None or not torch.is_grad_enabled():
            return
        self._anchors = {}
        for weight in self._layer.experts.parameters(recurse=False):
            if weight.requires_grad:
                promise = Promise()
                self._anchors[id(weight)] = Anchor.apply(weight, promise), promise

    @staticmethod
    def returning_first(arriving: Tensor) -> Tensor:
        """In the backward pass gradients leave as soon as they are there."""
        if arriving.grad_fn is not None:
            arriving.grad_fn._set_sequence_nr(FIRST)
        return arriving

    def travels(self) -> None:
        """Tokens are on their way, and nothing can be computed without them but this."""
        layer = self._layer
        if self._shared is None and layer.use_shared_expert and not layer.shared_expert_overlap:
            self._is_computing = True
            try:
                self._shared = layer.shared_experts(self._tokens)
            finally:
                self._is_computing = False

    def shared(self, module: Any, tokens: Tensor) -> Tensor | None:
        """What the shared experts have computed already."""
        if self._is_computing or module is not self._layer.shared_experts or tokens is not self._tokens:
            return None
        early, self._shared = self._shared, None
        return early

    def product(self, x: Tensor, matrices: Tensor, sizes: Tensor) -> Tensor | None:
        """By a weight that has an anchor."""
        found = (self._anchors or {}).get(id(matrices._base))
        if found is None or not torch.is_grad_enabled():
            return None
        adds = getattr(self._layer.config, "gemm_gradient_accumulation_fusion", False)
        original = accumulating(matrices) if adds else None
        groups = sizes.to(device=x.device, dtype=torch.int64)
        result: Tensor = LateProduct.apply(x, found[0], matrices.detach(), groups, found[1], original)
        return result


def accompanied(forward: Callable[..., Any]) -> Callable[..., Any]:
    """MoELayer.forward."""

    @functools.wraps(forward)
    def accompanied_forward(self: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        with Companion(self, hidden_states).going_on():
            return forward(self, hidden_states, *args, **kwargs)

    return accompanied_forward


def early(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """SharedExpertMLP.forward."""

    @functools.wraps(forward)
    def early_forward(self: Any, hidden_states: Tensor) -> Tensor:
        result = None if Companion.now is None else Companion.now.shared(self, hidden_states)
        return forward(self, hidden_states) if result is None else result

    return early_forward


def anchored(ops: Any) -> Any:
    """grouped_gemm.ops as Megatron's experts see it."""

    def gmm(a: Tensor, b: Tensor, batch_sizes: Tensor, trans_b: bool = False) -> Tensor:
        result = None if Companion.now is None or trans_b else Companion.now.product(a, b, batch_sizes)
        if result is None:
            result = ops.gmm(a, b, batch_sizes, trans_b=trans_b)
        return result

    return SimpleNamespace(gmm=gmm)


_MOE = "megatron.core.transformer.moe"
PATCHES = (
    Patch(f"{_MOE}.moe_layer:MoELayer.forward", accompanied, wraps=True),
    Patch(f"{_MOE}.shared_experts:SharedExpertMLP.forward", early, wraps=True),
    Patch(f"{_MOE}.grouped_gemm_util:ops", anchored, wraps=True),
)
# What the features whose layers have a companion are to the user, too.
HELP = "Compute shared experts and gradients of experts' weights while tokens and their gradients travel."
NEEDS = (
    Need(flag="--num-experts", why="a model without experts dispatches no tokens"),
    Need(flag="--moe-grouped-gemm", why="a weight for all experts of a rank is what has its gradient later"),
)


def problems(args: Any, flag: str) -> Iterator[str]:
    """Of the features whose layers have a companion."""
    if getattr(args, "moe_use_legacy_grouped_gemm", False):
        return
    if getattr(args, "transformer_impl", "local") == "transformer_engine":
        yield (
            "--transformer-impl transformer_engine has experts with a weight each; give --moe-use-legacy-grouped-gemm or "
            f"--transformer-impl local, or leave out {flag}"
        )
