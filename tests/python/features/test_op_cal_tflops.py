# SPDX-License-Identifier: Apache-2.0
"""--op-cal-tflops: what is counted of whole steps, forward, backward and recomputed, and what is logged."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from mindspeed.features.tooling import op_cal_tflops
from mindspeed.features.tooling._flops import FlopCount, _pairs, attention_sizes


@pytest.fixture(autouse=True)
def anew() -> None:
    op_cal_tflops._COUNT.take()
    op_cal_tflops._seconds = 0.0


def expected(size: Any, *, attention_products: int) -> int:
    """Of a step: linear layers three times (forward, two gradients), attention's products as many as are given."""
    tokens, h = size.batch * size.sequence, size.hidden
    ffn = 4 * h * (3 if size.llama else 2)
    projection = h * h * (2 if size.llama else 3) + h * h  # half of the heads are groups
    linear = 2 * tokens * (size.layers * (projection + h * ffn) + h * size.vocab)
    attention = 2 * size.batch * size.sequence**2 * h * size.layers
    return 3 * linear + attention_products * attention


@pytest.mark.parametrize("llama", [False, True], ids=["gpt", "llama"])
@pytest.mark.parametrize("flash", [False, True], ids=["written out", "flash"])
def test_a_step(switch: Any, llama: bool, flash: bool) -> None:
    """Fused attention computes its scores again in the backward pass: seven products instead of six."""
    import megatron_gpt

    size = megatron_gpt.Size(llama=llama)
    switch(use_flash_attn=flash)
    model, optimizer = megatron_gpt.trainer(megatron_gpt.build(size), size)
    with FlopCount() as count:
        megatron_gpt.train_step(model, optimizer, megatron_gpt.batches(size, 1)[0])
    want = expected(size, attention_products=7 if flash else 6)
    assert count.take() == (want, want) and count.total == 0


@pytest.mark.parametrize("te", [False, True], ids=["local", "te"])
def test_experts_count_what_they_compute(switch: Any, te: bool) -> None:
    """All experts together have two rows for each token, and three matrices of hidden x hidden for a row."""
    import megatron_gpt

    size = megatron_gpt.Size(experts=4, te=te)
    switch()
    model, optimizer = megatron_gpt.trainer(megatron_gpt.build(size), size)
    with FlopCount() as count:
        megatron_gpt.train_step(model, optimizer, megatron_gpt.batches(size, 1)[0])
    tokens, h = size.batch * size.sequence, size.hidden
    # Attention, two experts, the router's scores; the logits.
    per_token = 3 * 2 * (size.layers * (4 * h * h + 2 * 3 * h * h + h * size.experts) + h * size.vocab)
    # Transformer Engine's attention is fused at every level.
    attention = (7 if te else 6) * 2 * size.batch * size.sequence**2 * h * size.layers
    assert count.total == tokens * per_token + attention


def test_recomputed_layers_are_told_apart(switch: Any) -> None:
    import megatron_gpt

    size = megatron_gpt.Size()
    switch(optimization_level=2, op_cal_tflops=True, use_flash_attn=False)
    try:
        more = {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1}
        model, optimizer = megatron_gpt.trainer(megatron_gpt.build(size, **more), size)
        text = megatron_gpt.batches(size, 1)[0]
        op_cal_tflops.counting(megatron_gpt.train_step)(model, optimizer, text)
    finally:
        switch(op_cal_tflops=False)
    want = expected(size, attention_products=6)
    logits = 2 * size.batch * size.sequence * size.hidden * size.vocab
    again = (want - 3 * logits) // 3  # the forward pass of the layers
    assert op_cal_tflops._COUNT.take() == (want, want + again)
    assert op_cal_tflops._seconds > 0


@pytest.mark.parametrize(
    ("layout", "q", "kv"),
    [
        ("BSH", (2, 6, 32), (2, 10, 16)),
        ("SBH", (6, 2, 32), (10, 2, 16)),
        ("BSND", (2, 6, 4, 8), (2, 10, 2, 8)),
        ("BNSD", (2, 4, 6, 8), (2, 2, 10, 8)),
    ],
)
def test_layouts_of_attention(layout: str, q: tuple[int, ...], kv: tuple[int, ...]) -> None:
    shapes = {"query": torch.empty(q), "key": torch.empty(kv), "value": torch.empty(kv)}
    assert attention_sizes({"head_num": 4, "input_layout": layout, **shapes}) == (2 * 4 * 6 * 10, 8, 8)


def test_packed_sequences() -> None:
    assert _pairs([4, 5, 11], [3, 5, 11]) == 4 * 3 + 1 * 2 + 6 * 6
    shapes = {"query": torch.empty(11, 4, 8), "key": torch.empty(11, 4, 8), "value": torch.empty(11, 4, 6)}
    ends = {"actual_seq_qlen": [5, 11], "actual_seq_kvlen": [5, 11]}
    assert attention_sizes({"head_num": 4, "input_layout": "TND", **shapes, **ends}) == (4 * 61, 8, 6)


def test_accumulated_products_count(switch: Any) -> None:
    a, b = torch.randn(5, 7, device="npu"), torch.randn(7, 3, device="npu")
    with FlopCount() as count:
        torch.zeros(5, 3, device="npu").addmm_(a, b)
        torch.zeros(2, 5, 3, device="npu").baddbmm_(a.expand(2, 5, 7), b.expand(2, 7, 3))
        torch.mm(a, b)
    assert count.total == 2 * 5 * 7 * 3 * (1 + 2 + 1)


def test_the_line_of_the_log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As often as Megatron's, and each interval for itself."""
    for name, members in (
        ("megatron.training", {"get_args": lambda: SimpleNamespace(log_interval=2)}),
        ("megatron.training.utils", {"print_rank_last": print}),
    ):
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)

    def training_log(losses: Any, rate: float | None, iteration: int) -> str:
        return "returned"

    log = op_cal_tflops.logging(training_log)
    op_cal_tflops._COUNT.total, op_cal_tflops._COUNT.again, op_cal_tflops._seconds = 3 * 10**12, 10**12, 2.0
    assert log({}, 0.1, 1) == "returned" and capsys.readouterr().out == ""
    assert log({}, 0.1, iteration=2) == "returned"
    line = capsys.readouterr().out
    assert "per NPU (TFLOP/s/NPU): 1.0000" in line and "with recompute (TFLOP/s/NPU): 1.5000" in line
    assert op_cal_tflops._COUNT.total == 0 and op_cal_tflops._seconds == 0.0
