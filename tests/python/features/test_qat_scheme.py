# SPDX-License-Identifier: Apache-2.0
"""--qat-scheme: formats there and back against float64, straight-through gradients, which products, losses next to bfloat16's."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import megatron_gpt
import narrow
import pytest
import torch
from mindspeed.adaptor import arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.precision import _fake_quantisation as quantisation
from mindspeed.features.precision import qat_scheme as feature
from mindspeed.features.precision._fake_quantisation import MXFP4, MXFP8, fake, there_and_back

SIZE = megatron_gpt.Size(dtype=torch.bfloat16)
EXPERTS = megatron_gpt.Size(dtype=torch.bfloat16, experts=4)


@pytest.fixture
def trains_for(switch: Any) -> Any:
    def on(scheme: str | None, block: int | None = None, **more: Any) -> None:
        switch(optimization_level=2, qat_scheme=scheme, qat_quant_block_size=block, **more)

    yield on
    switch(qat_scheme=None, qat_quant_block_size=None, num_experts=None)


# ---- formats ----


def reference(x: torch.Tensor, form: Any, axis: int, block: int) -> torch.Tensor:
    """float64, by the definition."""
    table = narrow.POSITIVE[narrow.E2M1 if form is MXFP4 else narrow.E4M3]
    rows = x.double().movedim(axis, -1)
    length = rows.shape[-1]
    blocks = torch.nn.functional.pad(rows, (0, -length % block)).unflatten(-1, (-1, block))
    largest = blocks.abs().amax(-1, keepdim=True)
    if form is MXFP4:
        scale = torch.exp2(torch.floor(torch.log2(largest)) - 2)
    else:
        scale = torch.exp2(torch.ceil(torch.log2(largest / 448)))
    scale = torch.where(largest == 0, 1.0, scale)
    size = (blocks.abs() / scale).clamp(max=table[-1].item())
    above = torch.searchsorted(table, size)
    below = (above - 1).clamp(min=0)
    up, down = table[above] - size, size - table[below]
    tie = table[above] if form is MXFP4 else table[torch.where(above % 2 == 0, above, below)]
    nearest = torch.where(up == down, tie, torch.where(up < down, table[above], table[below]))
    found = (nearest * scale * blocks.sign()).flatten(-2)[..., :length]
    return found.movedim(-1, axis)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("form", [MXFP4, MXFP8], ids=lambda form: form.name)
def test_there_and_back_is_the_nearest(form: Any, dtype: torch.dtype) -> None:
    for shape, axis in (
        ((4, 64), -1),
        ((3, 70), -1),
        ((70, 6), 0),
        ((2, 96, 8), -2),
        ((1, 2), -1),
        ((5, 33, 4), 1),
    ):
        generator = torch.Generator().manual_seed(sum(shape))
        x = torch.randn(shape, generator=generator) * torch.exp(torch.randn(shape, generator=generator))
        x = (x * 2.0 ** torch.randint(-3, 3, shape, generator=generator)).to(dtype)
        x.view(-1)[:2] = 0
        found = there_and_back(x.npu(), form, axis)
        assert found.dtype is dtype and torch.equal(found.cpu().double(), reference(x, form, axis, 32))
        assert torch.equal(there_and_back(found, form, axis), found)


@pytest.mark.parametrize(
    ("shape", "axis"), [((4, 128), -1), ((3, 256), -1), ((2, 200), -1), ((2, 300, 6), -2), ((5, 33), 1)]
)
def test_longer_blocks(shape: tuple[int, ...], axis: int) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).exp().bfloat16()
    found = there_and_back(x.npu(), MXFP8, axis, 128)
    assert torch.equal(found.cpu().double(), reference(x, MXFP8, axis, 128))


def test_halves_of_e2m1_go_away_from_zero() -> None:
    x = torch.tensor([6.0, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, -0.25, -5.0] + [0.0] * 22, device="npu")
    wanted = [6.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.5, -6.0] + [0.0] * 22
    assert there_and_back(x, MXFP4, -1).tolist() == wanted
    with pytest.raises(ValueError, match="last dimension is 3: wanted an even one"):
        there_and_back(torch.ones(2, 3, device="npu"), MXFP4, -1)


def test_gradients_pass() -> None:
    x = torch.randn(4, 64, device="npu", requires_grad=True)
    grad = torch.randn(4, 64, device="npu")
    fake(x, MXFP4).backward(grad)
    assert torch.equal(x.grad, grad)
    assert fake(x, None) is x and fake(x[:0], MXFP4).shape == (0, 64)


# ---- which products ----


def seen(monkeypatch: pytest.MonkeyPatch, size: Any, **config: Any) -> list[tuple[str, tuple[int, ...]]]:
    """Formats and shapes of what is quantised in a step."""
    found = []

    def noting(x: torch.Tensor, form: Any, axis: int, block: int = 32) -> torch.Tensor:
        found.append((f"{form.name}/{block}", tuple(x.shape)))
        return there_and_back(x, form, axis, block)

    monkeypatch.setattr(quantisation, "there_and_back", noting)
    megatron_gpt.losses(size, 1, **config)
    return found


def test_every_linear_layer_of_a_dense_model(trains_for: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trains_for("w4a16-mxfp4")
    weights = seen(monkeypatch, SIZE)
    # Four products of each layer and the output layer's.
    assert len(weights) == 4 * SIZE.layers + 1 and {form for form, _ in weights} == {"mxfp4/32"}
    trains_for("w4a4-mxfp4")
    assert len(seen(monkeypatch, SIZE)) == 2 * len(weights)
    trains_for("w8a16-mxfp8")
    assert seen(monkeypatch, SIZE) == [("mxfp8/32", shape) for _, shape in weights]


@pytest.mark.parametrize("is_grouped", [True, False])
def test_experts_alone(trains_for: Any, monkeypatch: pytest.MonkeyPatch, is_grouped: bool) -> None:
    trains_for("w8a16-mxfp8-moe-only", num_experts=4)
    size = EXPERTS
    found = seen(monkeypatch, size, moe_grouped_gemm=is_grouped)
    each = 1 if is_grouped else size.experts
    assert len(found) == 2 * each * size.layers
    assert all(len(shape) == (3 if is_grouped else 2) for _, shape in found)
    trains_for("w4a8-moe-only", 128, num_experts=4)
    both = seen(monkeypatch, size, moe_grouped_gemm=is_grouped)
    assert [form for form, _ in both].count("mxfp4/32") == len(found)
    assert {form for form, _ in both} == {"mxfp4/32", "mxfp8/128"}


def test_a_product_and_its_gradients(trains_for: Any) -> None:
    """Of quantised factors; the weight's gradient is that of the quantised one."""
    from megatron.core.tensor_parallel import layers

    trains_for("w4a4-mxfp4")
    x, weight = (torch.randn(8, 1, 64, device="npu"), torch.randn(32, 64, device="npu"))
    x.requires_grad_()
    weight.requires_grad_()
    y = layers.linear_with_grad_accumulation_and_async_allreduce(x, weight, None, False, False, False)
    grad = torch.randn_like(y)
    y.backward(grad)
    qx, qw = reference(x.detach().cpu(), MXFP4, -1, 32), reference(weight.detach().cpu(), MXFP4, -1, 32)
    g = grad.cpu().double()
    torch.testing.assert_close(y.detach().cpu().double(), qx @ qw.t(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(x.grad.cpu().double(), g @ qw, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        weight.grad.cpu().double(), g.flatten(0, 1).t() @ qx.flatten(0, 1), rtol=1e-5, atol=1e-5
    )


# ---- training ----


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "bound"),
    [("w8a16-mxfp8", 0.03), ("w4a16-mxfp4", 0.15), ("w4a4-mxfp4", 0.25), ("w4a8-moe-only", 0.15)],
)
def test_losses_are_next_to_those_of_bfloat16(trains_for: Any, scheme: str, bound: float) -> None:
    size = EXPERTS if "moe" in scheme else SIZE
    experts = size.experts or None
    trains_for(None, num_experts=experts)
    wanted = torch.tensor(megatron_gpt.losses(size, 60))
    trains_for(scheme, num_experts=experts)
    found = torch.tensor(megatron_gpt.losses(size, 60))
    assert not torch.equal(found, wanted) and wanted[-1] < 0.8 * wanted[0]
    assert (found - wanted).abs().mean() < bound * wanted.mean() and found[-5:].mean() < 0.9 * found[0]


# ---- rules ----


def problems(**given: Any) -> list[str]:
    features = tuple(f for f in all_features() if f.name == "qat-scheme")
    args = Namespace(**({"qat_scheme": "w4a16-mxfp4"} | given))
    arguments.complete(args, features)
    return list(rules.problems(features, args, 2))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"qat_scheme": "w4a8-moe-only"}, "give --num-experts"),
        ({"qat_quant_block_size": 32}, "leave out --qat-quant-block-size"),
        ({"gradient_accumulation_fusion": True}, "give --no-gradient-accumulation-fusion"),
        ({"transformer_impl": "transformer_engine"}, "give --transformer-impl local"),
    ],
)
def test_rules(given: dict[str, Any], wanted: str) -> None:
    assert (
        problems() == [] and problems(qat_scheme=feature.W4A8, num_experts=8, qat_quant_block_size=128) == []
    )
    assert wanted in problems(**given)[0]
