# SPDX-License-Identifier: Apache-2.0
"""Names of the original that are Megatron's own classes here: they can be imported and built, and do their work."""

from __future__ import annotations

import importlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from mindspeed import absent

DEVICE = "npu"
# As projects import them.
IMPORTS = [
    "from mindspeed.core.ssm.gated_delta_net import tensor_a2a_cp2hp, tensor_a2a_hp2cp",
    "from mindspeed.core.tensor_parallel.random import CheckpointWithoutOutput",
    "from mindspeed.core.memory.recompute.recompute_common import CheckpointWithoutOutput",
    "from mindspeed.core.memory.recompute.norm.adaptor import mindspeed_norm_recompute_forward",
    "from mindspeed.core.tensor_parallel.coc_feature.adaptor import MindSpeedCoCColumnParallelLinear, "
    "MindSpeedCoCRowParallelLinear",
    "from mindspeed.core.tensor_parallel.mc2_feature.adaptor import MindSpeedMC2ColumnParallelLinear, "
    "MindSpeedMC2RowParallelLinear",
    "from mindspeed.core.tensor_parallel.unaligned_layers.adaptor import UnalignedColumnParallelLinearAdaptor, "
    "UnalignedRowParallelLinearAdaptor",
    "from mindspeed.core.distill.logits_kl_loss import LogitsKLLoss",
    "from mindspeed.core.transformer.flash_attention.alibi.adaptor import MindSpeedDotProductAttention",
    "import mindspeed.te.pytorch.attention.dot_product_attention.dot_product_attention as ms_te_dpa",
    "import mindspeed.te.pytorch.attention.dot_product_attention.dot_product_attention",
    "import mindspeed.te.pytorch.module.grouped_linear",
    "import mindspeed.te.pytorch.module.layernorm_column_parallel_linear",
    "from mindspeed.te.pytorch.attention.dot_product_attention.dot_product_attention import MindSpeedTEDotProductAttention",
    "from mindspeed.te.pytorch.attention.dot_product_attention.kvallgather_context_parallel import "
    "get_distributed_rank, get_distributed_world_size, get_seq_chunk_ids_for_reordering_before_attn",
    "from mindspeed.te.pytorch.attention.dot_product_attention.utils import get_distributed_world_size",
    "from mindspeed.te.pytorch.fp8.constants import Format, Fp8Recipe",
    "from mindspeed.te.pytorch.fp8.fp8 import fp8_autocast, fp8_model_init",
    "from mindspeed.te.pytorch.fp8.padding import Fp8Padding, Fp8Unpadding",
    "from mindspeed.te.pytorch.module.checkpoint import te_checkpoint, transformer_block_checkpointed_forward",
    "from mindspeed.te.pytorch.module.grouped_linear import MindSpeedTEGroupedLinear, "
    "MindSpeedTEColumnParallelGroupedLinear, MindSpeedTERowParallelGroupedLinear",
    "from mindspeed.te.pytorch.module.layernorm import MindSpeedTELayernorm",
    "from mindspeed.te.pytorch.module.layernorm_column_parallel_linear import MindSpeedTELayerNormColumnParallelLinear",
    "from mindspeed.te.pytorch.module.linear import TEColumnParallelLinear, TERowParallelLinear",
    "from mindspeed.te.pytorch.module.performance_grouped_linear import MindSpeedTEPerformanceGroupedLinear, "
    "MindSpeedTEPerformanceColumnParallelGroupedLinear, MindSpeedTEPerformanceRowParallelGroupedLinear",
    "from mindspeed.te.pytorch.utils import get_tensor_model_parallel_group_if_none",
]
# What is not here, and words of the sentence that says so.
REFUSED = {
    "from mindspeed.te.pytorch.attention.dot_product_attention.context_parallel import KVAllGatherCPStrategy": "by flags",
    "from mindspeed.te.pytorch.fp8.recipes import Float8CurrentScaling": "--fp8-recipe",
    "from mindspeed.te.pytorch.fp8.reuse import set_weight_release_enabled": "--fp8-recipe",
    "from mindspeed.te.pytorch.fp8 import fp8_matmul": "--fp8-recipe",
    "from mindspeed.core.tensor_parallel.random import CheckpointFunctionRipipe": "--recompute-in-bubble",
}


@pytest.mark.parametrize("line", IMPORTS)
def test_a_name_that_a_project_imports_is_there(megatron, line):
    exec(line, {})


@pytest.mark.parametrize("line", REFUSED)
def test_a_name_that_is_not_here_says_what_replaces_it(megatron, line):
    with pytest.raises(ImportError) as error:
        exec(line, {})
    assert REFUSED[line] in str(error.value) and absent.MIGRATING in str(error.value)


def test_fp8_is_switched_on(megatron):
    from mindspeed.te.pytorch.fp8.fp8 import fp8_autocast, fp8_model_init

    for enabled in (False, True):
        with fp8_autocast(enabled=enabled), fp8_model_init(enabled=enabled):
            pass


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_chunks_are_dealt_out_and_put_together(megatron, ranks):
    order = importlib.import_module(
        "mindspeed.te.pytorch.attention.dot_product_attention.kvallgather_context_parallel"
    )
    sequence = torch.arange(2 * ranks)
    dealt = sequence[order.get_seq_chunk_ids_for_reordering_after_attn(ranks, "cpu")]
    assert dealt.view(ranks, 2).sum(1).tolist() == [2 * ranks - 1] * ranks  # even work under a causal mask
    assert torch.equal(dealt[order.get_seq_chunk_ids_for_reordering_before_attn(ranks, "cpu")], sequence)


def test_the_group_is_megatron_s_unless_one_is_given(megatron):
    from megatron.core import parallel_state
    from mindspeed.te.pytorch.utils import get_tensor_model_parallel_group_if_none as group_of

    assert group_of(None) is parallel_state.get_tensor_model_parallel_group()
    assert group_of(None, is_expert=True) is parallel_state.get_expert_tensor_parallel_group()
    assert group_of("mine") == "mine"


def test_slopes_of_the_heads_of_a_rank(megatron):
    from mindspeed.model.alibi_mask import AlibiForFusionAttnSingleton, get_slopes

    found = AlibiForFusionAttnSingleton.get_alibi_slopes_for_fusion_attn(4)
    assert found.device.type == DEVICE and found.tolist() == [2**-2, 2**-4, 2**-6, 2**-8] == get_slopes(4)


@pytest.mark.parametrize("kind", [0, 2])
def test_attention_with_slopes_whatever_the_flags_are(megatron, kind):
    import megatron_gpt
    from megatron.core.transformer.enums import AttnMaskType
    from mindspeed.core.transformer.flash_attention.alibi.adaptor import MindSpeedDotProductAttention

    length, heads, size = 12, 4, 8
    config = megatron_gpt.config_of(megatron_gpt.Size(hidden=heads * size, heads=heads))
    config.alibi_fusion_attn_type = kind
    core = MindSpeedDotProductAttention(
        config=config, layer_number=1, attn_mask_type=AttnMaskType.causal, attention_type="self"
    )
    assert core.pse.tolist() == [2**-2, 2**-4, 2**-6, 2**-8]
    tensors = [torch.randn(length, 2, heads, size, requires_grad=True) for _ in "qkv"]
    found = core(*(t.detach().to(DEVICE) for t in tensors), None)
    q, k, v = (t.detach().double().permute(1, 2, 0, 3) for t in tensors)
    distance = torch.arange(length) - torch.arange(length).unsqueeze(1)
    scores = q @ k.mT / size**0.5 - core.pse.cpu().double().view(-1, 1, 1) * distance.abs()
    want = scores.masked_fill(distance > 0, float("-inf")).softmax(-1) @ v
    torch.testing.assert_close(
        found.cpu().double(), want.permute(2, 0, 1, 3).flatten(2), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_divergence_of_words_as_a_module(megatron, reduction):
    from mindspeed.core.distill.logits_kl_loss import LogitsKLLoss

    student, teacher = (torch.randn(5, 2, 31) for _ in range(2))
    twin = student.double().requires_grad_()
    logs = [torch.log_softmax(t.double() / 2, -1) for t in (twin, teacher)]
    want = 4 * torch.nn.functional.kl_div(*logs, reduction="none", log_target=True).sum(-1)
    want = want if reduction == "none" else getattr(want, reduction)()
    want.sum().backward()
    on_device, of_teacher = student.to(DEVICE).requires_grad_(), teacher.to(DEVICE)
    found = LogitsKLLoss(2.0, reduction)(on_device, of_teacher)
    found.sum().backward()
    torch.testing.assert_close(found.detach().cpu().double(), want.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(on_device.grad.cpu().double(), twin.grad, rtol=1e-5, atol=1e-6)
    assert torch.equal(of_teacher.cpu(), teacher)


def test_a_divergence_of_other_words_is_refused(megatron):
    from mindspeed.core.distill.logits_kl_loss import LogitsKLLoss

    with pytest.raises(ValueError, match=r"same shape, and have \[2, 3\] and \[2, 4\]"):
        LogitsKLLoss()(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(ValueError, match="reduction is 'batchmean', wanted one of mean, sum, none"):
        LogitsKLLoss(reduction="batchmean")
    with pytest.raises(ValueError, match="temperature is 0"):
        LogitsKLLoss(temperature=0)


def test_layers_train_as_pytorch_s(megatron):
    import megatron_gpt
    from mindspeed.te.pytorch.module.layernorm_column_parallel_linear import (
        MindSpeedTELayerNormColumnParallelLinear as Layer,
    )

    config = megatron_gpt.config_of(megatron_gpt.Size())
    layer = Layer(
        16, 24, config=config, init_method=torch.nn.init.normal_, gather_output=False, bias=True,
        skip_bias_add=False, is_expert=False,
    )  # fmt: skip
    x = torch.randn(3, 2, 16, device=DEVICE, requires_grad=True)
    layer.weight.requires_grad_(False)  # as under LoRA
    out, _ = layer(x)
    out.square().sum().backward()
    twin = x.detach().cpu().double().requires_grad_()
    normed = torch.nn.functional.layer_norm(twin, (16,), *(w.cpu().double() for w in (layer.layer_norm_weight, layer.layer_norm_bias)))  # fmt: skip
    want = torch.nn.functional.linear(normed, layer.weight.cpu().double(), layer.bias.detach().cpu().double())
    want.square().sum().backward()
    torch.testing.assert_close(out.detach().cpu().double(), want.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(x.grad.cpu().double(), twin.grad, rtol=1e-4, atol=1e-4)
    assert layer.weight.grad is None and layer.bias.grad is not None


def test_a_block_that_is_recomputed_in_place_of_megatron_s(megatron, monkeypatch):
    import megatron_gpt
    from megatron.core.transformer.transformer_block import TransformerBlock
    from mindspeed.te.pytorch.module.checkpoint import transformer_block_checkpointed_forward

    calls = []

    def counted(*args, **kwargs):
        calls.append(1)
        return transformer_block_checkpointed_forward(*args, **kwargs)

    size = megatron_gpt.Size()
    model = megatron_gpt.build(
        size, recompute_granularity="full", recompute_method="uniform", recompute_num_layers=1
    )
    monkeypatch.setattr(TransformerBlock, "_checkpointed_forward", counted)
    tokens = torch.zeros(size.batch, size.sequence, dtype=torch.int64, device=DEVICE)
    model.train()(tokens, tokens, None, labels=tokens).mean().backward()
    assert calls == [1]


def test_a_layer_whose_norms_are_computed_again(megatron):
    import types

    import megatron_gpt
    from mindspeed.core.memory.recompute.norm.adaptor import mindspeed_norm_recompute_forward

    model = megatron_gpt.build(megatron_gpt.Size())
    layer = model.decoder.layers[0]
    inputs = torch.randn(16, 2, megatron_gpt.Size().hidden, device=DEVICE)
    results, called = [], []
    forward = type(layer.input_layernorm).forward
    for way in ("kept", "again"):
        if way == "again":
            layer.forward = types.MethodType(mindspeed_norm_recompute_forward, layer)
            layer.input_layernorm.forward = lambda x: called.append(1) or forward(layer.input_layernorm, x)
        x = inputs.clone().requires_grad_()
        out, _ = layer(hidden_states=x, attention_mask=None)
        out.square().sum().backward()
        results.append((out.detach(), x.grad))
    for kept, again in zip(*results, strict=True):
        assert torch.equal(kept, again)
    assert len(called) == 2


# Heads of a gated delta net, dealt out


class Rank:
    """One of several threads that exchange tensors."""

    def __init__(self, rank, shared, barrier):
        self.rank, self.shared, self.barrier = rank, shared, barrier

    def size(self):
        return len(self.shared)


def exchanged(group, tensor):
    """As an all-to-all of equal parts."""
    group.shared[group.rank] = tensor
    group.barrier.wait(60)
    parts = [given.chunk(group.size())[group.rank] for given in group.shared]
    group.barrier.wait(60)
    return torch.cat(parts)


@pytest.mark.parametrize("sections", [None, [6, 12]])
def test_a_sequence_is_exchanged_for_heads_and_back(megatron, monkeypatch, sections):
    from megatron.core.tensor_parallel import mappings
    from mindspeed.core.ssm.gated_delta_net import tensor_a2a_cp2hp, tensor_a2a_hp2cp

    monkeypatch.setattr(mappings, "all_to_all", exchanged)
    ranks = 3
    whole = torch.arange(12 * 2 * 18.0).view(12, 2, 18)
    chunks = whole.chunk(2 * ranks)
    local = [torch.cat((chunks[rank], chunks[2 * ranks - 1 - rank])) for rank in range(ranks)]
    shared, barrier = [None] * ranks, threading.Barrier(ranks)

    def there_and_back(rank):
        group = Rank(rank, shared, barrier)
        heads = tensor_a2a_cp2hp(local[rank], 0, -1, group, sections)
        smaller = sections and [size // ranks for size in sections]
        return heads, tensor_a2a_hp2cp(heads, 0, 2, group, smaller)

    with ThreadPoolExecutor(ranks) as pool:
        found = list(pool.map(there_and_back, range(ranks)))
    for rank, (heads, back) in enumerate(found):
        parts = torch.split(whole, sections or [18], dim=-1)
        assert torch.equal(heads, torch.cat([part.chunk(ranks, -1)[rank] for part in parts], -1))
        assert torch.equal(back, local[rank])


def test_other_dimensions_of_a_sequence_are_refused(megatron):
    from mindspeed.core.ssm.gated_delta_net import tensor_a2a_cp2hp

    group = Rank(0, [None, None], None)
    with pytest.raises(ValueError, match=r"seq_dim=1 and head_dim=2; wanted .* with 0 and 2"):
        tensor_a2a_cp2hp(torch.ones(2, 4, 6), 1, 2, group)


# CheckpointWithoutOutput

PARTS, ROWS, HIDDEN, WIDE = 8, 512, 64, 2048


class Part(torch.nn.Module):
    """up -> activation and dropout -> down: the result of the middle is saved by `down` alone."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = torch.nn.Linear(HIDDEN, WIDE), torch.nn.Linear(WIDE, HIDDEN)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(torch.nn.functional.gelu(x), 0.3)

    def forward(self, x: torch.Tensor, way: str) -> torch.Tensor:
        between = self.up(x)
        if way == "plain":
            return self.down(self.middle(between))
        from mindspeed.core.tensor_parallel.random import CheckpointWithoutOutput

        kept = CheckpointWithoutOutput()
        activated = kept.checkpoint(self.middle, False, between)
        out = self.down(activated)
        if way == "discarded":
            kept.discard_output()
            out.register_hook(kept.recompute)
        return out


def train(way: str) -> tuple[list[torch.Tensor], int, int]:
    """Gradients, bytes held between forward and backward, and at the peak."""
    torch.manual_seed(2)
    parts = [Part().to(DEVICE) for _ in range(PARTS)]
    x = torch.randn(ROWS, HIDDEN, device=DEVICE, requires_grad=True)
    torch.npu.synchronize()
    torch.npu.reset_peak_memory_stats()
    before = torch.npu.memory_allocated()
    y = x
    for part in parts:
        y = part(y, way)
    held = torch.npu.memory_allocated() - before
    y.square().sum().backward()
    peak = torch.npu.max_memory_allocated() - before
    return [x.grad.cpu(), *(p.grad.cpu() for part in parts for p in part.parameters())], held, peak


def test_results_are_given_back_and_computed_again(megatron):
    wanted, held, peak = train("plain")
    got, held_without, peak_without = train("discarded")
    for a, b in zip(got, wanted, strict=True):
        assert torch.equal(a, b)  # the same operators on the same numbers, dropout included
    activation = ROWS * WIDE * 4
    # Plain: of each part the inputs of GELU and of `down`, and the mask of the dropout. Without: the first alone.
    assert held - held_without >= PARTS * activation
    assert held_without < (PARTS + 0.5) * activation
    # One part at a time is whole again in the backward pass, its result twice for a moment.
    assert peak - peak_without >= (PARTS - 3) * activation


def test_activations_cannot_be_spread_over_ranks(megatron):
    from mindspeed.core.tensor_parallel.random import CheckpointWithoutOutput

    with pytest.raises(ValueError, match="distribute_saved_activations=True is not supported"):
        CheckpointWithoutOutput().checkpoint(torch.sin, True, torch.ones(2))
