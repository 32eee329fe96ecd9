# SPDX-License-Identifier: Apache-2.0
"""quantization_plan: products of linear layers in MX fp8, and weights that FSDP gathers in 8 bits with the same results."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import pytest
import torch
from mindspeed.fsdp.parallel_engine_config import QuantizeConfig
from mindspeed.fsdp.quantization.config import (
    QuantRecipe,
    ScalingGranularity,
    ScalingGranularityEnum,
    ScalingStrategyEnum,
)
from mindspeed.fsdp.quantization.converter import quantise_modules
from mindspeed.fsdp.quantization.core import cache
from mindspeed.fsdp.quantization.core.post_quant_weight import PostQuantWeight
from mindspeed.fsdp.quantization.core.pre_quant_weight import PreQuantWeight
from mindspeed.fsdp.quantization.module.gmm_mxfp8 import mx_quant_group_gemm
from mindspeed.fsdp.quantization.module.linear_mxfp8 import MXLinear, mx_quant_linear, weight_quant
from mindspeed.ops import fp8_products
from test_parallel_engine import train
from torch import nn

RECIPES = {"mxfp8": fp8_products.MX, "mxfp8-32x32": fp8_products.MXSquares}
TOKENS, INPUTS, OUTPUTS = 96, 128, 64


def plan(recipe: str, **more: Any) -> QuantizeConfig:
    return QuantizeConfig(recipe_name=recipe, quant_converters=["quantize.linear.mx"], **more)


def numbers(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16().npu()


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_products_are_those_of_transformer_engine_s_recipe(recipe: str, dtype: torch.dtype) -> None:
    """Bit by bit where these take the same type, and next to float64."""
    x = numbers(2, TOKENS // 2, INPUTS, seed=1).to(dtype).requires_grad_()
    weight = numbers(OUTPUTS, INPUTS, seed=2).to(dtype).requires_grad_()
    bias = numbers(OUTPUTS, seed=3).requires_grad_()
    gradient = numbers(2, TOKENS // 2, OUTPUTS, seed=4).to(dtype)
    y = mx_quant_linear(x, weight, plan(recipe), True, bias)
    y.backward(gradient)
    assert y.dtype == x.grad.dtype == weight.grad.dtype == dtype
    flat, grads = x.detach().view(-1, INPUTS), gradient.view(-1, OUTPUTS)
    if dtype is torch.bfloat16:
        scheme = RECIPES[recipe](fp8_products.types_of("e4m3"))
        want, kept = scheme.output(flat, weight.detach())
        products = scheme.gradients(grads)
        assert torch.equal(y.detach(), (want + bias.detach()).view(y.shape))
        assert torch.equal(x.grad.view(-1, INPUTS), products.of_input(weight.detach(), kept))
        assert torch.equal(weight.grad, products.of_weight(kept, dtype))
    exact = flat.cpu().double(), weight.detach().cpu().double(), grads.cpu().double()
    pairs = (
        (y.detach().view(-1, OUTPUTS), exact[0] @ exact[1].T + bias.detach().cpu().double()),
        (x.grad.view(-1, INPUTS), exact[2] @ exact[1]),
        (weight.grad, exact[2].T @ exact[0]),
        (bias.grad, exact[2].sum(0)),
    )
    for found, wanted in pairs:
        assert (found.cpu().double() - wanted).norm() < 0.06 * wanted.norm()
    with torch.no_grad():
        without = mx_quant_linear(x, weight, plan("mxfp8"), False, bias)
    if recipe == "mxfp8":
        assert torch.equal(without, y)


def test_a_recipe_and_what_it_is_made_of() -> None:
    recipe = QuantRecipe.from_recipe_name("mxfp8-32x32")()
    assert recipe.scaling_strategy is ScalingStrategyEnum.DYNAMIC
    assert recipe.scaling_granularity.block_size == [1, 32, 32]
    assert plan("mxfp8").get_key_dtype("grads") is torch.float8_e4m3fn
    with pytest.raises(ValueError, match="Unknown recipe name 'int3': there are mxfp8"):
        QuantRecipe.from_recipe_name("int3")
    with pytest.raises(ValueError, match="Unknown key 'states': wanted inputs, weight, grads"):
        recipe.get_key_dtype("states")
    with pytest.raises(ValueError, match=r"Invalid block size \[1, 2, 3\]"):
        ScalingGranularity(ScalingGranularityEnum.MX, [1, 2, 3])
    with pytest.raises(ValueError, match="Unsupported recipe_name 'int3'"):
        weight_quant(torch.ones(64, 64), torch.float8_e4m3fn, QuantizeConfig(recipe_name="int3"))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleDict({"up": nn.Linear(64, 64), "down": nn.Linear(64, 64)}) for _ in range(2)
        )
        self.head = nn.Linear(64, 64)


def test_layers_of_a_plan() -> None:
    model = Model()
    weight = model.layers[0]["up"].weight
    config = plan("mxfp8", apply_modules=["layers.{*}"], ignored_modules=["*.down"])
    quantise_modules(model, config)
    kinds = {name: type(part) for name, part in model.named_modules() if isinstance(part, nn.Linear)}
    assert {name for name, kind in kinds.items() if kind is MXLinear} == {"layers.0.up", "layers.1.up"}
    kept = model.layers[0]["up"].weight
    assert isinstance(kept, PreQuantWeight) and isinstance(kept, nn.Parameter) and kept.requires_grad
    assert kept._tensor.data_ptr() == weight.data_ptr() and kept._name == "layers.0.up"
    assert config.fsdp_low_precision_all_gather_mode == "on-demand"
    quantise_modules(Model(), config, is_recomputed=True)
    assert config.fsdp_low_precision_all_gather_mode == "all"
    with pytest.raises(ValueError, match="there is no nn.Linear"):
        quantise_modules(Model(), plan("mxfp8", apply_modules=["layers.{*}"], ignored_modules=["layers.{*}"]))


def shard(recipe: str, *shape: int) -> PreQuantWeight:
    config = plan(recipe, fsdp_low_precision_all_gather_mode="all")
    quantiser = functools.partial(weight_quant, dst_type=torch.float8_e4m3fn, config=config)
    return PreQuantWeight(numbers(*shape, seed=5), quantiser, config, name="model.up")


class Mesh:
    def __init__(self, ranks: int = 2) -> None:
        self.ranks = ranks

    def size(self) -> int:
        return self.ranks


@pytest.mark.parametrize("recipe", RECIPES)
def test_shards_put_together_are_the_weight_quantised_whole(recipe: str) -> None:
    whole = shard(recipe, 256, 128)
    halves = [whole._like(part) for part in whole._tensor.chunk(2)]
    given = [half.fsdp_pre_all_gather(Mesh(), whole.shape, whole.stride(), None, None) for half in halves]
    together = tuple(torch.cat(parts) for parts in zip(*(tensors for tensors, _ in given), strict=True))
    found, inner = whole.fsdp_post_all_gather(together, given[0][1], torch.bfloat16)
    assert isinstance(found, PostQuantWeight) and inner is together and found.shape == whole.shape
    wanted = weight_quant(whole._tensor, torch.float8_e4m3fn, whole.config)
    for mine, of_whole in zip((*found.forward_operand(), *found.backward_operand()), wanted, strict=True):
        assert torch.equal(mine.view(torch.uint8), of_whole.view(torch.uint8))
    half = sum(tensor.nbytes for tensor in given[0][0])
    assert half < (1.1 if recipe == "mxfp8-32x32" else 2.1) * halves[0]._tensor.numel()
    again, _ = whole.fsdp_post_all_gather(together, given[0][1], torch.bfloat16, out=found)
    assert again is found
    alone = shard(recipe, 256, 128)
    tensors, told = alone.fsdp_pre_all_gather(Mesh(1), whole.shape, whole.stride(), None, None)
    own, _ = alone.fsdp_post_all_gather(tensors[:1], told, torch.bfloat16)
    for mine, of_whole in zip((*own.forward_operand(), *own.backward_operand()), wanted, strict=True):
        assert torch.equal(mine.view(torch.uint8), of_whole.view(torch.uint8))
    with pytest.raises(ValueError, match=f"Unexpected gather outputs length for {recipe} quant: 9"):
        whole.fsdp_post_all_gather((*together, *9 * [together[0]])[:9], given[0][1], torch.bfloat16)


def test_shards_without_whole_blocks_and_weights_without_numbers() -> None:
    with pytest.raises(ValueError, match=r"shard of model.up is \(32, 128\).* multiples of 64"):
        shard("mxfp8", 32, 128).fsdp_pre_all_gather(Mesh(), None, None, None, None)
    weight = PostQuantWeight(torch.ones(2, 2), torch.ones(2), None, None, torch.bfloat16)
    with pytest.raises(RuntimeError, match="not for its backward product"):
        weight.backward_operand()
    with pytest.raises(NotImplementedError, match="enable_fsdp_low_precision_all_gather"):
        weight.add(1)
    with pytest.raises(ValueError, match="one product at least"):
        PostQuantWeight(None, None, None, None, torch.bfloat16)


def test_a_shard_is_quantised_once_for_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_is_hooked", False)
    monkeypatch.setattr(cache, "_kept", {})
    x, calls = torch.ones(3), []

    def quantise(given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        calls.append(given)
        return (given * 2,)

    for _ in range(2):
        cache.cached_quant(x, quantise)
    assert len(calls) == 2
    parameter = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    cache.hook_optimizer_step(optimizer)
    for _ in range(2):
        cache.cached_quant(x, quantise)
    assert len(calls) == 3
    x.add_(1)
    assert cache.cached_quant(x, quantise)[0].tolist() == [4.0, 4.0, 4.0]
    parameter.grad = torch.ones(1)
    optimizer.step()
    assert not cache._kept


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_two_ranks_train_the_same_whatever_is_gathered(recipe: str) -> None:
    """Next to bfloat16, and with fewer bytes of gathers."""
    names = [f"wide {recipe} {way}" for way in ("in bf16", "on-demand", "all")]
    more = ("wide recomputed",) if recipe == "mxfp8" else ()
    found = train(2, ("wide", *names, *more))
    plain, wanted = found["wide"], found[names[0]]
    assert (
        plain["losses"] == pytest.approx(wanted["losses"], rel=0.03) and plain["losses"] != wanted["losses"]
    )
    for name in (*names[1:], *more):
        assert found[name]["losses"] == wanted["losses"] and found[name]["norms"] == wanted["norms"], name
    bytes_of = [found[name]["gathered"] for name in names]
    assert bytes_of[1] < 0.8 * bytes_of[0]
    assert bytes_of[1] < bytes_of[2] if recipe == "mxfp8" else bytes_of[1] == bytes_of[2]


class Experts(nn.Module):
    """As transformers has them: [experts, out, in], or turned."""

    def __init__(self, turned: bool) -> None:
        super().__init__()
        gate_up, down = numbers(3, 2 * 64, INPUTS, seed=6) / 8, numbers(3, INPUTS, 64, seed=7) / 8
        if turned:
            gate_up, down = gate_up.transpose(1, 2).contiguous(), down.transpose(1, 2).contiguous()
        self.gate_up_proj, self.down_proj = nn.Parameter(gate_up), nn.Parameter(down)
        self.act_fn = nn.SiLU()

    def matrices(self, turned: bool) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Of each expert, [out, in]."""
        pairs = zip(self.gate_up_proj, self.down_proj, strict=True)
        return [(a.t(), b.t()) if turned else (a, b) for a, b in pairs]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("recipe", RECIPES)
def test_products_of_experts_are_those_of_a_linear_layer_for_each(recipe: str, dtype: torch.dtype) -> None:
    """One expert has no rows."""
    counts, config = [40, 0, 56], plan(recipe)
    x, gradient = numbers(TOKENS, INPUTS, seed=1).to(dtype), numbers(TOKENS, OUTPUTS, seed=2).to(dtype)
    weight = numbers(3, INPUTS, OUTPUTS, seed=3).to(dtype).requires_grad_()
    x.requires_grad_()
    y = mx_quant_group_gemm(x, weight, None, counts, True, config, [3, INPUTS, -1])
    y.backward(gradient)
    assert y.dtype == x.grad.dtype == weight.grad.dtype == dtype
    parts = zip(x.detach().split(counts), gradient.split(counts), range(3), strict=True)
    for rows, grad, number in parts:
        if len(rows) == 0:
            assert weight.grad[number].abs().max() == 0
            continue
        first = sum(counts[:number])
        own, matrix = rows.clone().requires_grad_(), weight.detach()[number].t().contiguous().requires_grad_()
        wanted = mx_quant_linear(own, matrix, config, True)
        wanted.backward(grad)
        pairs = (
            (y[first : first + len(rows)], wanted),
            (x.grad[first : first + len(rows)], own.grad),
            (weight.grad[number], matrix.grad.t()),
        )
        for found, want in pairs:
            assert (found - want).norm() < 4e-3 * want.norm()  # rounded to bf16


@pytest.mark.parametrize("counts", [[40, 0, 56], [0, 0, 0]])
@pytest.mark.parametrize("is_out_in", [False, True])
@pytest.mark.parametrize("recipe", RECIPES)
def test_products_of_experts_that_were_gathered_in_8_bits(
    recipe: str, is_out_in: bool, counts: list[int]
) -> None:
    """Bit by bit those of the whole weight, from shards of whole experts."""
    config = plan(recipe, fsdp_low_precision_all_gather_mode="all")
    experts = Experts(turned=not is_out_in)
    whole = experts.gate_up_proj.detach().clone().requires_grad_()
    module = nn.ModuleDict({"experts": experts})
    quantise_modules(
        module, dataclasses.replace(config, quant_converters=["quantize.moe.mx"], apply_modules=["*"])
    )
    kept = experts.gate_up_proj
    assert (
        isinstance(kept, PreQuantWeight)
        and isinstance(kept, nn.Parameter)
        and kept._name == "experts.gate_up_proj"
    )
    shards = [kept._like(part) for part in kept._tensor.split(1)]
    given = [shard.fsdp_pre_all_gather(Mesh(3), whole.shape, whole.stride(), None, None) for shard in shards]
    together = tuple(torch.cat(parts) for parts in zip(*(tensors for tensors, _ in given), strict=True))
    gathered, _ = kept.fsdp_post_all_gather(together, given[0][1], torch.bfloat16)
    rows = numbers(sum(counts), INPUTS, seed=1)
    found, wanted = [], []
    for weight, results in ((gathered, found), (whole, wanted), (kept, found)):
        x = rows.clone().requires_grad_()
        y = mx_quant_group_gemm(x, weight, None, counts, True, config, is_out_in=is_out_in)
        y.backward(numbers(*y.shape, seed=2))
        results += [y.detach(), x.grad]
    for mine, of_whole in zip(found, [*wanted, *wanted], strict=True):
        assert mine.dtype is torch.bfloat16 and torch.equal(mine, of_whole)
    assert whole.grad is not None and torch.equal(kept.grad, whole.grad)
    assert bool(whole.grad.abs().max() > 0) == (sum(counts) > 0)
    with pytest.raises(
        ValueError, match=r"shard of experts.gate_up_proj is \(1, .* the same number of whole ones each"
    ):
        shards[0].fsdp_pre_all_gather(Mesh(2), whole.shape, whole.stride(), None, None)


@pytest.mark.parametrize("turned", [False, True])
def test_experts_of_a_plan(turned: bool) -> None:
    model = nn.Sequential(nn.ModuleDict({"experts": Experts(turned)}))
    config = QuantizeConfig(
        recipe_name="mxfp8", quant_converters=["quantize.moe.mx"], apply_modules=["{*}"], ignored_modules=[]
    )
    quantise_modules(model, config)
    experts = model[0]["experts"]
    tokens = numbers(TOKENS, INPUTS, seed=8).requires_grad_()
    index = torch.stack([torch.arange(TOKENS) % 2 * 2, torch.ones(TOKENS, dtype=torch.long)], 1).npu()
    weights = torch.rand(TOKENS, 2, generator=torch.Generator().manual_seed(9)).npu()
    found = experts(tokens, index, weights)
    found.sum().backward()
    wanted = torch.zeros(TOKENS, INPUTS, dtype=torch.float64)
    for number, (both, down) in enumerate(experts.matrices(turned)):
        a, b = (tokens.detach().cpu().double() @ both.detach().cpu().double().t()).chunk(2, -1)
        y = (torch.nn.functional.silu(a) * b) @ down.detach().cpu().double().t()
        wanted += y * ((index.cpu() == number) * weights.cpu().double()).sum(-1, keepdim=True)
    assert (found.detach().cpu().double() - wanted).norm() < 0.1 * wanted.norm()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in experts.parameters())
    assert tokens.grad is not None
    with pytest.raises(ValueError, match="there is no module with gate_up_proj and down_proj"):
        quantise_modules(nn.Sequential(nn.Linear(2, 2)), config)


@pytest.mark.slow
def test_experts_of_two_ranks_train_as_in_float32() -> None:
    """Whoever has them: sharded, or each rank with some."""
    plain = train(1, ("moe", "moe mxfp8"))
    found = train(2, ("moe mxfp8 fsdp2 on-demand", "moe mxfp8 ep2"))
    wanted = plain["moe"]["losses"]
    assert plain["moe mxfp8"]["losses"] != wanted
    for row in (plain["moe mxfp8"], *found.values()):
        assert row["losses"] == pytest.approx(wanted, rel=0.03), row["layout"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["moe", "wide moe"])
def test_experts_of_two_ranks_train_the_same_whatever_is_gathered(kind: str) -> None:
    """Sizes of experts need not be multiples of blocks."""
    ways = [f"{kind} mxfp8 fsdp2 {way}" for way in ("in float32", "on-demand", "all")]
    found = train(2, tuple(ways))
    for way in ways[1:]:
        assert all(found[way][name] == found[ways[0]][name] for name in ("losses", "norms")), way
    plain, on_demand, whole = (found[way]["gathered"] for way in ways)
    assert whole < 0.8 * plain
    assert on_demand < whole if kind == "wide moe" else on_demand == whole


def test_what_experts_refuse() -> None:
    x = numbers(4, INPUTS, seed=1)
    with pytest.raises(NotImplementedError, match="experts have no bias"):
        mx_quant_group_gemm(x, x, bias=x)
    with pytest.raises(ValueError, match="tokens_per_expert is None"):
        mx_quant_group_gemm(x, x)
