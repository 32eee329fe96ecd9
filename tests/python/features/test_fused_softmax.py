# SPDX-License-Identifier: Apache-2.0
"""Scaled and masked softmax as one operator against Megatron's own, forward and backward, and in a whole model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from mindspeed.features.fusion import softmax as feature
from test_fused_functions import DTYPES, compare, normal
from torch import Tensor

FLAG = "use_fused_softmax"


def layer(dtype: torch.dtype, causal: bool = False, scale: float | None = None, **more: Any) -> Any:
    from megatron.core.fusions.fused_softmax import FusedScaleMaskSoftmax
    from megatron.core.transformer.enums import AttnMaskType
    from megatron.core.transformer.utils import attention_mask_func

    return FusedScaleMaskSoftmax(
        input_in_fp16=False, input_in_bf16=dtype is torch.bfloat16, softmax_in_fp32=True, scale=scale,
        attn_mask_type=AttnMaskType.causal if causal else AttnMaskType.padding,
        **({"scaled_masked_softmax_fusion": True, "mask_func": attention_mask_func} | more),
    )  # fmt: skip


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each call of the operator, whether it made the causal mask itself."""
    calls: list[bool] = []
    real = torch.ops.npu.npu_scaled_masked_softmax

    def counted(x: Tensor, mask: Tensor, scale: float, fixed: bool) -> Tensor:
        calls.append(fixed)
        return real(x, mask, scale, fixed)

    monkeypatch.setattr(feature.torch_npu, "npu_scaled_masked_softmax", counted)
    return calls


def probabilities(module: Any, mask: Tensor | None) -> Callable[[Tensor], Tensor]:
    return lambda scores: module(scores, mask)


@DTYPES
@pytest.mark.parametrize("scale", [None, 0.25])
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (7, 7), (48, 48), (130, 130)])
def test_causal(switch: Any, called: list[bool], dtype: torch.dtype, scale: float | None, queries: int, keys: int) -> None:  # fmt: skip
    module = layer(dtype, causal=True, scale=scale)
    compare(switch, FLAG, probabilities(module, None), [normal(2, 3, queries, keys, dtype=dtype)])
    assert called == [queries > 1]


@DTYPES
@pytest.mark.parametrize("shape", [(2, 1, 9, 21), (1, 1, 9, 21), (2, 1, 1, 21)], ids=str)
def test_masks_of_any_kind(switch: Any, called: list[bool], dtype: torch.dtype, shape: tuple[int, ...]) -> None:  # fmt: skip
    """A query that sees no key as well: its probabilities are all the same."""
    mask = torch.rand(shape, device="npu:0") > 0.5
    mask[:, :, 0] = True
    module = layer(dtype, scale=0.5)
    compare(switch, FLAG, probabilities(module, mask), [normal(2, 3, 9, 21, dtype=dtype)])
    assert called == [False]


@DTYPES
def test_without_a_mask(switch: Any, called: list[bool], dtype: torch.dtype) -> None:
    compare(switch, FLAG, probabilities(layer(dtype), None), [normal(2, 3, 9, 21, dtype=dtype)])
    assert called == [False]


def test_a_causal_layer_for_other_keys_is_refused_as_by_megatron(switch: Any) -> None:
    switch(**{FLAG: True})
    with pytest.raises(AssertionError, match="causal mask is only for self attention"):
        layer(torch.float32, causal=True)(normal(1, 1, 4, 6), None)


def minus_infinity(scores: Tensor, mask: Tensor) -> Tensor:
    return scores.masked_fill(mask, -torch.inf)


@pytest.mark.parametrize("more", [{"scaled_masked_softmax_fusion": False}, {"mask_func": minus_infinity}], ids=["--no-masked-softmax-fusion", "another mask"])  # fmt: skip
def test_what_takes_megatrons_way(switch: Any, called: list[bool], more: dict[str, Any]) -> None:
    mask = torch.ones(9, 9, dtype=torch.bool, device="npu:0").triu(1).view(1, 1, 9, 9)
    compare(switch, FLAG, probabilities(layer(torch.float32, **more), mask), [normal(2, 3, 9, 9)])
    assert called == []


@pytest.mark.parametrize("llama", [False, True], ids=["gpt", "llama"])
def test_losses(switch: Any, called: list[bool], llama: bool) -> None:
    import megatron_gpt

    size = megatron_gpt.Size(llama=llama)
    more = {"masked_softmax_fusion": True}
    theirs = megatron_gpt.losses(size, **more)
    assert not called
    switch(**{FLAG: True})
    assert megatron_gpt.losses(size, **more) == pytest.approx(theirs, rel=1e-5)
    assert called
