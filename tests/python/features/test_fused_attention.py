# SPDX-License-Identifier: Apache-2.0
"""Attention by one operator against Megatron's own: masks, grouped queries, scales, windows, packed sequences."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_fused_functions import DTYPES, compare, near, normal, run
from torch import Tensor

SEQUENCE, BATCH, HEADS, HEAD = 12, 2, 4, 8
FLAG = "use_flash_attn"


def layer(kind: str = "causal", number: int = 1, **more: Any) -> torch.nn.Module:
    from megatron.core.transformer.dot_product_attention import DotProductAttention
    from megatron.core.transformer.enums import AttnMaskType
    from megatron_gpt import Size, config_of

    size = Size(hidden=HEADS * HEAD, heads=HEADS, dtype=more.pop("dtype", torch.float32))
    return DotProductAttention(config_of(size, **more), number, AttnMaskType[kind], "self").to("npu:0")


def attention(kind: str = "causal", number: int = 1, **more: Any) -> Callable[..., Tensor]:
    """As a function of q, k, v and the mask; built anew, as its config keeps the flags."""

    def function(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        return layer(kind, number, dtype=q.dtype, **more)(q, k, v, mask)

    return function


def inputs(
    dtype: torch.dtype, queries: int = SEQUENCE, keys: int = SEQUENCE, groups: int = HEADS
) -> list[Tensor]:
    q = normal(queries, BATCH, HEADS, HEAD, dtype=dtype)
    return [q, *(normal(keys, BATCH, groups, HEAD, dtype=dtype) for _ in range(2))]


def hidden_places(batch: int, queries: int = SEQUENCE, keys: int = SEQUENCE) -> Tensor:
    """No row without any key."""
    mask = torch.rand(batch, 1, queries, keys) < 0.5
    mask[..., 0] = False
    return mask.to("npu:0")


@DTYPES
@pytest.mark.parametrize("groups", [HEADS, 2], ids=["", "grouped"])
def test_causal(switch: Any, dtype: torch.dtype, groups: int) -> None:
    compare(switch, FLAG, attention(num_query_groups=groups), inputs(dtype, groups=groups))


@DTYPES
@pytest.mark.parametrize("batch", [1, BATCH])
def test_any_mask(switch: Any, dtype: torch.dtype, batch: int) -> None:
    compare(switch, FLAG, attention("padding"), [*inputs(dtype, keys=20), hidden_places(batch, keys=20)])


def test_a_mask_wins_over_the_type_of_the_layer(switch: Any) -> None:
    """What --reset-attention-mask gives at ends of documents, and any other mask."""
    compare(switch, FLAG, attention("causal"), [*inputs(torch.float32), hidden_places(BATCH)])


def test_a_mask_of_keys_only(switch: Any) -> None:
    mask = hidden_places(BATCH)[:, :, :1]
    compare(switch, FLAG, attention("padding"), [*inputs(torch.float32), mask])


def test_no_mask(switch: Any) -> None:
    compare(switch, FLAG, attention("no_mask"), inputs(torch.float32, keys=20))


def test_one_query_sees_all(switch: Any) -> None:
    """A step of generation, with keys kept from before."""
    compare(switch, FLAG, attention("causal"), inputs(torch.float32, queries=1))


def test_scale_of_the_layer_number(switch: Any) -> None:
    function = attention(number=3, apply_query_key_layer_scaling=True, attention_softmax_in_fp32=True)
    compare(switch, FLAG, function, inputs(torch.float32))


def test_heads_of_values_of_their_own_size(switch: Any) -> None:
    """Multi-latent attention. Megatron's own gives the same numbers, in the shape that the config says."""
    q, k, _ = inputs(torch.float32)
    v = normal(SEQUENCE, BATCH, HEADS, 4)
    switch(**{FLAG: True})
    ours = attention()(q, k, v)
    assert ours.shape == (SEQUENCE, BATCH, HEADS * 4)
    wide = torch.cat((v, torch.zeros_like(v)), -1)
    switch()
    theirs = attention()(q, k, wide).view(SEQUENCE, BATCH, HEADS, HEAD)[..., :4]
    near(ours, theirs.flatten(2), torch.float32)


def test_the_second_version(switch: Any) -> None:
    x = inputs(torch.float32)
    switch(**{FLAG: True})
    first = run(attention(), x)
    switch(**{FLAG: True}, use_fusion_attn_v2=True)
    for one, two in zip(first, run(attention(), x), strict=True):
        torch.testing.assert_close(two, one, rtol=0, atol=0)


def band(queries: int, before: int, behind: int) -> Tensor:
    distance = torch.arange(queries)[None, :] - torch.arange(queries)[:, None]
    return ((distance < -before) | (distance > behind))[None, None].to("npu:0")


@pytest.mark.parametrize(
    ("flags", "seen"),
    [
        ({"sparse_mode": 2}, (SEQUENCE, 0)),
        ({"sparse_mode": 3}, (SEQUENCE, 0)),
        ({"pre_tockens": 3}, (3, 0)),
        ({"sparse_mode": 4, "pre_tockens": 5, "next_tockens": 2}, (5, 2)),
        ({"sparse_mode": 4}, (SEQUENCE, 0)),
    ],
)
def test_flags_say_what_is_seen(switch: Any, flags: dict[str, int], seen: tuple[int, int]) -> None:
    x = inputs(torch.float32)
    theirs = run(lambda *qkv: attention("padding")(*qkv, band(SEQUENCE, *seen)), x)
    switch(**{FLAG: True}, **flags)
    for our, their in zip(run(attention(), x), theirs, strict=True):
        near(our, their, torch.float32)


@pytest.mark.parametrize("mode", [1, 5, 6, 7, 8])
def test_modes_that_megatron_has_no_arguments_for_are_refused(switch: Any, mode: int) -> None:
    from mindspeed.adaptor import ConfigurationError

    with pytest.raises(ConfigurationError, match=f"--sparse-mode {mode}"):
        switch(**{FLAG: True}, sparse_mode=mode)


def packed(lengths: list[int]) -> Any:
    from megatron.core.packed_seq_params import PackedSeqParams

    ends = torch.tensor([0, *lengths]).cumsum(0).to(device="npu:0", dtype=torch.int32)
    return PackedSeqParams(qkv_format="thd", cu_seqlens_q=ends, cu_seqlens_kv=ends)


@DTYPES
@pytest.mark.parametrize("kind", ["causal", "no_mask"])
def test_packed_sequences(switch: Any, dtype: torch.dtype, kind: str) -> None:
    """As the sequences one by one."""
    lengths = [3, 1, 8]
    x = [t[:, 0] for t in inputs(dtype)]

    def one_by_one(*qkv: Tensor) -> Tensor:
        parts = zip(*(t.split(lengths) for t in qkv), strict=True)
        return torch.cat([attention(kind)(*(t.unsqueeze(1) for t in part)).squeeze(1) for part in parts])

    theirs = run(one_by_one, x)
    switch(**{FLAG: True})
    ours = run(lambda *qkv: layer(kind, dtype=dtype)(*qkv, None, packed_seq_params=packed(lengths)), x)
    for our, their in zip(ours, theirs, strict=True):
        near(our, their, dtype)


def test_padding_between_packed_sequences_is_refused(switch: Any) -> None:
    switch(**{FLAG: True})
    params = packed([4, 8])
    params.cu_seqlens_q_padded = params.cu_seqlens_q + 1
    q, k, v = (t[:, 0] for t in inputs(torch.float32))
    with pytest.raises(NotImplementedError, match="cu_seqlens_q_padded"):
        layer()(q, k, v, None, packed_seq_params=params)


def test_windows_of_layers(switch: Any) -> None:
    """Newer versions of Megatron keep them in the softmax."""
    x = inputs(torch.float32)
    theirs = run(lambda *qkv: attention("padding")(*qkv, band(SEQUENCE, 4, 0)), x)
    switch(**{FLAG: True})
    core = layer()
    core.scale_mask_softmax.window_size = (4, 0)
    for our, their in zip(run(lambda *qkv: core(*qkv, None), x), theirs, strict=True):
        near(our, their, torch.float32)


def test_softmax_with_an_offset(switch: Any) -> None:
    """One more weight in the denominator: softmax_type of newer versions, also as a parameter."""
    q, k, v = inputs(torch.float32)
    offset = torch.tensor([0.5, -1.0, 2.0, 0.0], device="npu:0")
    switch(**{FLAG: True})
    core = layer("no_mask")
    core.softmax_offset = torch.nn.Parameter(offset)

    def written_out(q: Tensor, k: Tensor, v: Tensor, offset: Tensor) -> Tensor:
        scores = torch.einsum("sbhd,tbhd->bhst", q, k) / HEAD**0.5
        sink = offset.view(1, -1, 1, 1).expand(BATCH, -1, SEQUENCE, 1)
        weights = torch.cat((scores, sink), -1).softmax(-1)[..., :-1]
        return torch.einsum("bhst,tbhd->sbhd", weights, v).flatten(2)

    theirs = run(written_out, [q, k, v, offset])
    ours = run(lambda *qkv: core(*qkv, None), [q, k, v])
    for our, their in zip([*ours, core.softmax_offset.grad], theirs, strict=True):
        near(our, their, torch.float32)


def test_dropout_keeps_the_mean_and_is_repeatable(switch: Any) -> None:
    from megatron.core import tensor_parallel

    switch(**{FLAG: True})
    core = layer("no_mask", attention_dropout=0.3)
    q, k, _ = inputs(torch.float32)
    v = torch.ones_like(k)
    state = tensor_parallel.get_cuda_rng_tracker().get_states()
    first = core(q, k, v, None)
    assert (first != 1).any() and abs(first.mean().item() - 1) < 0.2
    tensor_parallel.get_cuda_rng_tracker().set_states(state)
    torch.testing.assert_close(core(q, k, v, None), first)
    core.eval()
    torch.testing.assert_close(core(q, k, v, None), torch.ones_like(first))


def test_what_the_operator_has_not_is_megatrons_and_said_once(switch: Any, caplog: Any) -> None:
    from mindspeed.features.fusion import flash_attention

    flash_attention._say_once.cache_clear()
    x = inputs(torch.float32)
    switch(**{FLAG: True})
    with caplog.at_level(logging.WARNING, "mindspeed.fusion"):
        for _ in range(2):
            with pytest.raises(AssertionError, match="Attention bias is not supported"):
                layer()(*x, None, attention_bias=torch.zeros(1))
    assert [record.getMessage() for record in caplog.records if record.name == "mindspeed.fusion"] == [
        "flash-attention: Megatron's own attention is used for attention_bias"
    ]


@pytest.mark.parametrize(
    ("given", "on"),
    [({}, True), ({"use_flash_attn": False}, False), ({"deterministic_mode": True}, False),
     ({"use_legacy_models": True}, False), ({"use_legacy_models": True, "use_flash_attn": True}, True)],
)  # fmt: skip
def test_when_it_is_on(given: dict[str, bool], on: bool) -> None:
    from mindspeed.features.fusion.flash_attention import FEATURE

    assert FEATURE.wants(SimpleNamespace(**given)) is on
