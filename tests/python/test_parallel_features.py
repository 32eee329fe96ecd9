# SPDX-License-Identifier: Apache-2.0
"""Features that parallel training needs, by themselves; that they train right is test_parallel_parity.py."""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from mindspeed.features.compatibility import (
    context_parallel,
    latent_attention,
    optimizer_groups,
    router_weight,
    torch_fsdp2,
    torch_norm,
)
from small_megatron import no_megatron

CPU = torch.device("cpu")


class AttnMaskType(enum.Enum):
    padding = enum.auto()
    causal = enum.auto()


@pytest.fixture
def second_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this process were rank 1 of a context-parallel group of two; without Megatron, which would stay loaded."""
    parallel_state = SimpleNamespace(
        get_context_parallel_world_size=lambda: 2, get_context_parallel_rank=lambda: 1
    )
    for name, members in (
        ("megatron", {}),
        ("megatron.core", {"parallel_state": parallel_state}),
        ("megatron.core.transformer", {}),
        ("megatron.core.transformer.enums", {"AttnMaskType": AttnMaskType}),
    ):
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_ranks_hold_every_chunk_once(size: int) -> None:
    held = [chunk for rank in range(size) for chunk in context_parallel.chunks_of(rank, size)]
    assert sorted(held) == list(range(2 * size))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_causal_mask_hides_what_comes_later(size: int) -> None:
    whole = torch.ones(16, 16, dtype=torch.bool).triu(1)
    for rank in range(size):
        pieces = whole.chunk(2 * size)
        wanted = torch.cat([pieces[chunk] for chunk in context_parallel.chunks_of(rank, size)])
        found = context_parallel.causal_mask(16, rank, size, CPU)
        assert torch.equal(found, wanted.view(1, 1, 16 // size, 16))


def test_masks_of_callers_must_be_cut(second_of_two: None) -> None:
    attention = SimpleNamespace(attn_mask_type=AttnMaskType.padding)
    fitting = torch.zeros(2, 1, 8, 16, dtype=torch.bool)
    assert context_parallel._mask(attention, fitting, 16, CPU) is fitting
    assert context_parallel._mask(attention, None, 16, CPU) is None
    causal = SimpleNamespace(attn_mask_type=AttnMaskType.causal)
    made = context_parallel._mask(causal, None, 16, CPU)
    assert torch.equal(made, context_parallel.causal_mask(16, 1, 2, CPU))
    with pytest.raises(ValueError, match=r"attention mask \[2, 1, 16, 16\].*must be \[..., 8, 16\]"):
        context_parallel._mask(attention, torch.zeros(2, 1, 16, 16, dtype=torch.bool), 16, CPU)


def test_other_ways_to_communicate_are_refused() -> None:
    seen: list[Any] = []

    def init(self: Any, config: Any, **kwargs: Any) -> None:
        seen.append((config.context_parallel_size, kwargs))

    build = context_parallel.accept_parts(init)
    config = SimpleNamespace(context_parallel_size=2)
    attention = SimpleNamespace()
    for accepted in ("p2p", "all_gather", None):
        build(attention, config, cp_comm_type=accepted)
    assert [size for size, _ in seen] == [1, 1, 1] and attention.config is config
    with pytest.raises(ValueError, match="cp_comm_type='a2a'.*'all_gather'"):
        build(attention, config, cp_comm_type="a2a")


@pytest.mark.parametrize("sequence_parallel", [False, True])
def test_norms_mark_their_parameters(sequence_parallel: bool) -> None:
    def new(cls: type, config: Any, hidden_size: int) -> torch.nn.Module:
        assert not config.persist_layer_norm and not config.sequence_parallel
        return torch.nn.LayerNorm(hidden_size)

    config = SimpleNamespace(persist_layer_norm=True, sequence_parallel=sequence_parallel)
    norm = torch_norm.accept_more(new)(object, config, 8)
    assert {parameter.sequence_parallel for parameter in norm.parameters()} == {sequence_parallel}
    assert config.persist_layer_norm and config.sequence_parallel == sequence_parallel


class LayerNorm(torch.nn.Module):
    def __init__(
        self, config: Any, hidden_size: int, eps: float = 1e-5, persist_layer_norm: bool = True
    ) -> None:
        super().__init__()
        self.eps = eps


def test_apexs_norm_gives_rms_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrapped(config: Any, hidden_size: int, eps: float) -> torch.nn.Module:
        return torch.nn.RMSNorm(hidden_size, eps=eps)

    for name in ("megatron", "megatron.core", "megatron.core.transformer"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    module = ModuleType("torch_norm")
    vars(module)["WrappedTorchNorm"] = wrapped
    monkeypatch.setitem(sys.modules, "megatron.core.transformer.torch_norm", module)
    norm = torch_norm.rms_norm_too(LayerNorm)
    built = norm(SimpleNamespace(normalization="LayerNorm"), 8, 1e-3, persist_layer_norm=False)
    assert isinstance(built, LayerNorm) and built.eps == 1e-3
    built = norm(config=SimpleNamespace(normalization="RMSNorm"), hidden_size=8, eps=1e-3)
    assert type(built) is torch.nn.RMSNorm and built.eps == 1e-3


@pytest.mark.parametrize("sharded", [False, True])
def test_routers_may_convert_their_weight(sharded: bool) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("sharded")

    def gating(self: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(x.double(), self.weight.to(torch.float64))

    router = torch.nn.Linear(4, 2, bias=False)
    if sharded:
        router.weight.to = refuse
    x = torch.ones(3, 4)
    torch.testing.assert_close(router_weight.with_a_copy(gating)(router, x).float(), router(x))
    assert ("to" in vars(router.weight)) == sharded


@pytest.mark.parametrize("latent", [False, True])
def test_latent_attention_has_no_fused_rope(latent: bool) -> None:
    args = SimpleNamespace(multi_latent_attention=latent, apply_rope_fusion=True)
    latent_attention.without_fusion(args)
    assert args.apply_rope_fusion != latent


def test_values_may_be_narrower_than_keys() -> None:
    class Core:
        @latent_attention.of_two_widths
        def __init__(self, config: Any, softmax_scale: float | None = None) -> None:
            self.softmax_scale, self.num_attention_heads_per_partition = softmax_scale, 2
            self.hidden_size_per_partition = 16

    core = Core(None, k_channels=4, v_channels=3)
    assert core.softmax_scale == 0.5 and core.hidden_size_per_partition == 6
    assert Core(None).hidden_size_per_partition == 16


@pytest.fixture
def alone() -> Iterator[None]:
    """The Megatron that is loaded here, without patches, is not left to other tests."""
    with no_megatron():
        yield


def test_fsdp2_takes_what_megatron_lm_gives(alone: None) -> None:
    class Wrapper:
        @torch_fsdp2.accepting
        def __init__(self, config: Any, ddp_config: Any, module: Any, sub_modules_to_wrap: Any = ()) -> None:
            self.units = sub_modules_to_wrap

    wrapped = Wrapper(1, 2, 3, disable_bucketing=True, sub_modules_to_wrap={torch.nn.Linear})
    assert wrapped.units == {torch.nn.Linear} and wrapped.ddp_config == 2
    # By default linear layers are units where they are in no other.
    from megatron.core.tensor_parallel import ColumnParallelLinear
    from megatron.core.transformer.transformer_layer import TransformerLayer

    model, layer, inner, outer = (
        kind.__new__(kind)
        for kind in (torch.nn.Module, TransformerLayer, ColumnParallelLinear, ColumnParallelLinear)
    )
    for module in (model, layer, inner, outer):
        torch.nn.Module.__init__(module)
    layer.linear, model.layer, model.output = inner, layer, outer
    units = Wrapper(1, 2, model).units
    found = [any(isinstance(module, unit) for unit in units) for module in (model, layer, inner, outer)]
    assert found == [False, True, False, True]


def group(wd_mult: float, **fields: Any) -> dict[str, Any]:
    identity = {"wd_mult": wd_mult, "lr_mult": 1.0, "is_expert_parallel": False, "is_decoupled_lr": False}
    return identity | {"weight_decay": wd_mult} | fields


def test_saved_groups_find_their_own() -> None:
    saved = [group(1.0, lr=3.0, step=7, params=["a"]), group(0.0, lr=4.0, step=7, params=["b"])]
    own = [group(0.0, lr=0.0, step=0, params=[1]), group(1.0, lr=0.0, step=0, params=[2])]
    matched = optimizer_groups.match(saved, own)
    assert [(g["wd_mult"], g["lr"], g["step"]) for g in matched] == [(0.0, 4.0, 7), (1.0, 3.0, 7)]
    assert [g["params"] for g in matched] == [["a"], ["b"]]


def test_a_group_that_was_not_saved_keeps_what_it_has() -> None:
    matched = optimizer_groups.match([group(1.0, lr=3.0, step=7)], [group(1.0), group(0.0, lr=5.0, step=0)])
    assert [(g["wd_mult"], g["lr"], g["step"]) for g in matched] == [(1.0, 3.0, 7), (0.0, 5.0, 7)]
    assert all("params" not in g for g in matched)
