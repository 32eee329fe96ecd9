# SPDX-License-Identifier: Apache-2.0
"""Weights of the stand-in's layers in 8 bits: their memory, products, new values of the whole and of parts, and use as tensors."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch_npu
from mindspeed.standins.refusal import RefusedError

RECIPES = (
    "DelayedScaling",
    "Float8CurrentScaling",
    "Float8BlockScaling",
    "MXFP8BlockScaling",
    "MXFP832x32BlockScaling",
)
OUT, IN = 136, 192  # no multiple of 128
# Next to the largest value of the weight: e4m3 has steps of 1/16 of a number, and MX scales cut off up to an eighth.
NEAR = {name: 0.13 if name.startswith("MX") else 0.04 for name in RECIPES}


@pytest.fixture(params=RECIPES)
def recipe(request: Any, standins: Any) -> Any:
    import transformer_engine.common.recipe

    torch.manual_seed(3)
    return getattr(transformer_engine.common.recipe, request.param)()


def layer(recipe: Any, *, quantised: bool = True, shape: tuple[int, int] = (IN, OUT)) -> Any:
    import transformer_engine.pytorch as te

    with te.fp8_model_init(quantised, recipe=recipe, preserve_high_precision_init_val=True):
        return te.Linear(*shape, params_dtype=torch.bfloat16, device="npu", bias=False)


def differs(found: torch.Tensor, wanted: torch.Tensor) -> float:
    found, wanted = found.detach().cpu().double(), wanted.detach().cpu().double()
    return ((found - wanted).abs().max() / wanted.abs().max()).item()


def step(module: Any, recipe: Any, x: torch.Tensor, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
    import transformer_engine.pytorch as te

    x = x.clone().requires_grad_()
    with te.fp8_autocast(True, fp8_recipe=recipe):
        y = module(x)
    y.backward(grad)
    return y.detach().cpu(), x.grad.cpu(), module.weight.grad.cpu()


def test_products_are_those_of_a_weight_that_is_quantised_for_each(recipe: Any) -> None:
    ours, other = layer(recipe), layer(recipe, quantised=False)
    with torch.no_grad():
        other.weight.copy_(ours.weight.get_high_precision_init_val())
    x, grad = (torch.randn(64, n).bfloat16().npu() for n in (IN, OUT))
    (y, of_x, of_w), wanted = step(ours, recipe, x, grad), step(other, recipe, x, grad)
    assert torch.equal(y, wanted[0]) and torch.equal(of_w, wanted[2])
    if (
        type(recipe).__name__ == "MXFP8BlockScaling"
    ):  # turned, it is made of its numbers: two roundings of 1/16
        assert differs(of_x, wanted[1]) < 0.1
    else:
        assert torch.equal(of_x, wanted[1])


def test_memory_is_half(recipe: Any) -> None:
    def held(quantised: bool) -> int:
        before = torch.npu.memory_stats()["requested_bytes.all.current"]
        module = layer(recipe, quantised=quantised, shape=(2048, 1024))
        torch.npu.synchronize()
        after = torch.npu.memory_stats()["requested_bytes.all.current"]
        assert module.weight.shape == (1024, 2048)
        return after - before

    held(True)  # what operators keep
    assert held(True) < 0.54 * held(False)


def test_new_values(recipe: Any) -> None:
    module = layer(recipe)
    weight, first = module.weight, module.weight.get_high_precision_init_val()
    near = NEAR[type(recipe).__name__]
    assert differs(weight.dequantize(), first) < near
    numbers = weight._data.data_ptr()
    weight.data.copy_(first.npu() * 3)
    assert differs(weight, first * 3) < near and weight._data.data_ptr() == numbers
    with torch.no_grad():
        weight.mul_(2)
    assert differs(weight, first * 6) < 2 * near
    weight.clear_high_precision_init_val()
    assert weight.get_high_precision_init_val() is None


def test_parts_of_ranks_make_the_numbers_of_the_whole(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of three ranks has a run of new values, the cuts where no block ends; what the others find comes by the reduction."""
    from transformer_engine.pytorch.tensor import utils

    values = torch.randn(OUT * IN)
    cuts = (0, 7001, 7001, OUT * IN)  # one has nothing
    parts = [values[a:b] for a, b in itertools.pairwise(cuts)]
    whole = layer(recipe)
    whole.weight.data.copy_(values.view(OUT, IN).npu())
    ranks = [layer(recipe) for _ in parts]
    if type(recipe).__name__ == "DelayedScaling":  # no history yet, as for values that are new
        for module in ranks:
            module.weight._numbers.form.history.values.clear()
    found = []
    for module, part, first in zip(ranks, parts, cuts, strict=False):
        given = part.bfloat16().npu()
        found.append(module.weight._numbers.form.largest(given, first, module.weight.shape))
    largest = torch.stack(found).amax(0)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda _: len(ranks))
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda t, **_: t.copy_(largest.reshape(-1)))
    numbers = torch.zeros(OUT * IN, dtype=torch.uint8)
    for module, part, first in zip(ranks, parts, cuts, strict=False):
        master = None if part.numel() == 0 else part.npu()
        utils.cast_master_weights_to_fp8([module.weight], [master], [None if master is None else first], None)
        numbers[first : first + part.numel()] = module.weight._data.cpu().view(-1)[
            first : first + part.numel()
        ]
        for a, b in zip(module.weight._numbers.scales, whole.weight._numbers.scales, strict=True):
            assert torch.equal(a.cpu(), b.cpu())
    assert torch.equal(numbers.view(OUT, IN), whole.weight._data.cpu())


def test_a_weight_is_used_as_a_tensor(recipe: Any) -> None:
    from transformer_engine.pytorch.tensor import QuantizedTensor, utils

    module = layer(recipe)
    weight = module.weight
    assert isinstance(weight, QuantizedTensor) and isinstance(weight, torch.nn.Parameter)
    assert weight.dtype is torch.bfloat16 and weight.type().endswith(".BFloat16Tensor")
    module.bfloat16()
    module.to("npu")
    assert module.weight is weight
    run = weight.detach().view(-1)[10:20]
    assert torch.equal(run.clone().cpu(), weight.dequantize().view(-1)[10:20].cpu())
    with pytest.raises(RefusedError, match="of a part of a quantised weight"):
        run.add_(1)
    assert weight.expand_as(weight).grad_fn.next_functions[0][0] is not None
    buffer = torch.zeros(OUT, IN, dtype=torch.uint8, device="npu")
    before = weight.dequantize()
    utils.replace_raw_data(weight, buffer)
    assert weight.data._data is buffer and torch.equal(weight.dequantize(), before)
    with pytest.raises(ValueError, match="wanted torch.uint8"):
        utils.replace_raw_data(weight, buffer.float())
    other = layer(recipe)
    other.load_state_dict(module.state_dict())
    assert differs(other.weight, weight) < NEAR[type(recipe).__name__]


@pytest.fixture
def alone() -> Any:
    """A group of this rank."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield torch.distributed.group.WORLD
    torch.distributed.destroy_process_group()


def test_delayed_scales_follow_steps_before(standins: Any, alone: Any) -> None:
    from transformer_engine.common.recipe import DelayedScaling
    from transformer_engine.pytorch.tensor import utils

    weight = layer(DelayedScaling()).weight
    first = weight.get_high_precision_init_val().float().npu()
    scale = weight._scale_inv.item()
    for factor, wanted in ((2.0, 1.0), (1.0, 2.0), (1.0, 2.0)):  # the largest of the steps before
        utils.cast_master_weights_to_fp8([weight], [first.view(-1) * factor], [0], alone)
        assert weight._scale_inv.item() == pytest.approx(scale * wanted, rel=1e-2)


def test_what_is_refused(standins: Any) -> None:
    from transformer_engine.common.recipe import Float8CurrentScaling, Format
    from transformer_engine.pytorch import fp8_model_init
    from transformer_engine.pytorch.tensor import utils

    weight = layer(Float8CurrentScaling()).weight
    with pytest.raises(RefusedError, match="shards of weights.*leave out --fp8-param-gather|Leave out"):
        utils.cast_master_weights_to_fp8([weight], [None], [None], None, [None])
    with pytest.raises(RefusedError, match="HIF8"), fp8_model_init(recipe=Float8CurrentScaling(Format.HIF8)):
        pass


@pytest.mark.parametrize("kept", [False, True])
def test_weights_are_quantised_once_in_a_step(
    recipe: Any, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--fp8-reuse-quantized-weight: three micro-batches, the same bits, and one quantisation of the weight."""
    import transformer_engine.pytorch as te
    from mindspeed.adaptor import session

    monkeypatch.setattr(session, "is_on", lambda name: kept and name == "fp8-reuse-quantized-weight")
    counted = []
    for name in (
        "npu_dynamic_quant", "npu_quantize", "npu_dynamic_block_quant", "npu_dynamic_mx_quant", "npu_dynamic_block_mx_quant"
    ):  # fmt: skip
        monkeypatch.setattr(torch_npu, name, _counting(getattr(torch_npu, name), counted))
    module, other = layer(recipe, quantised=False), layer(recipe, quantised=False)
    other.load_state_dict(module.state_dict())
    for number in range(2):  # steps
        for batch in range(3):
            x = torch.randn(64, IN).bfloat16().npu().requires_grad_()
            with te.fp8_autocast(True, fp8_recipe=recipe):
                found = module(x, is_first_microbatch=batch == 0)
                wanted = other(x)  # nobody says which it is
            if type(recipe).__name__ != "DelayedScaling":  # whose scale moves within a step
                assert torch.equal(found.detach().cpu(), wanted.detach().cpu()), (number, batch)
            (found + wanted).sum().backward()
        with torch.no_grad():
            module.weight.mul_(1.5)
            other.weight.mul_(1.5)
    assert differs(module.weight.grad, other.weight.grad) == 0 or type(recipe).__name__ == "DelayedScaling"
    ways = 2 if type(recipe).__name__ == "MXFP8BlockScaling" else 1
    assert counted.count((OUT, IN)) == ways * (2 * (1 if kept else 3) + 6)


def _counting(function: Any, counted: list[tuple[int, ...]]) -> Any:
    def count(t: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        counted.append(tuple(t.shape))
        return function(t, *args, **kwargs)

    return count
