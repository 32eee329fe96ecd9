# SPDX-License-Identifier: Apache-2.0
"""--optimizer muon trains as an implementation in plain PyTorch does, alone and on ranks that share matrices or states."""

from __future__ import annotations

import ctypes
import itertools
import math
from argparse import Namespace
from pathlib import Path
from typing import Any

import megatron_gpt
import pytest
import torch
import torchrun
from mindspeed import megatron_adaptor
from mindspeed.adaptor import ConfigurationError, Level, rules
from mindspeed.adaptor.native import function
from mindspeed.features.optimizer import _muon
from mindspeed.features.optimizer import muon_optimizer as feature

JOB = Path(__file__).parents[2] / "support" / "muon_job.py"
SIZE = megatron_gpt.Size(llama=True)
RATE, DECAY, CLIP, STEPS = 2e-2, 0.1, 1.0, 5
QUINTIC = [(4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037), (2.8769, -3.1427, 1.2046), (2.8366, -3.0525, 1.2012)]  # fmt: skip
SIMPLE = [(3.4445, -4.7750, 2.0315)] * 5


def newton_schulz(x: torch.Tensor, coefficients: list[tuple[float, float, float]]) -> torch.Tensor:
    """As published: in float64, and of a tall matrix the transposed one's."""
    if x.shape[0] > x.shape[1]:
        return newton_schulz(x.T, coefficients).T
    x = x / max(float(x.norm()), 1e-7)
    for a, b, c in coefficients:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


class Reference:
    """Muon and AdamW on the CPU in float64, for the parameters of a model whose gradients are in main_grad."""

    def __init__(
        self, model: torch.nn.Module, *, nesterov: bool, scale: Any, extra: float, coefficients: Any
    ) -> None:
        self.named = list(model.named_parameters())
        self.values = [p.detach().cpu().double() for _, p in self.named]
        self.first = [torch.zeros_like(v) for v in self.values]
        self.second = [torch.zeros_like(v) for v in self.values]
        self.nesterov, self.scale, self.extra, self.coefficients = nesterov, scale, extra, coefficients
        self.count = 0

    def one(self, direction: torch.Tensor) -> torch.Tensor:
        return newton_schulz(direction, self.coefficients) * self.scale(*direction.shape) * self.extra

    def matrix(self, name: str, direction: torch.Tensor) -> torch.Tensor:
        if not name.endswith("linear_qkv.weight"):
            return self.one(direction)
        size, groups = SIZE.hidden // SIZE.heads, SIZE.heads // 2
        per_group = [2 * size, size, size]
        found = torch.empty_like(direction)
        row = torch.arange(direction.shape[0]).view(groups, -1)
        for rows in row.split(per_group, dim=1):
            found[rows.reshape(-1)] = self.one(direction[rows.reshape(-1)])
        return found

    @torch.no_grad()
    def step(self) -> None:
        self.count += 1
        gradients = [p.main_grad.cpu().double() for _, p in self.named]
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
        shrink = min(1.0, CLIP / (norm + 1e-6))
        for i, (name, parameter) in enumerate(self.named):
            gradient = gradients[i] * shrink
            value, first, second = self.values[i], self.first[i], self.second[i]
            if parameter.ndim > 1:
                value.mul_(1 - RATE * DECAY)
            if parameter.ndim == 2 and "embedding" not in name and "output_layer" not in name:
                first.mul_(0.95).add_(gradient, alpha=0.05)
                direction = 0.05 * gradient + 0.95 * first if self.nesterov else first
                value.sub_(self.matrix(name, direction), alpha=RATE)
            else:
                first.mul_(0.9).add_(gradient, alpha=0.1)
                second.mul_(0.999).add_(gradient.square(), alpha=0.001)
                mean, root = first / (1 - 0.9**self.count), (second / (1 - 0.999**self.count)).sqrt()
                value.sub_(RATE * mean / (root + 1e-8))
            parameter.copy_(value)


def trainer(name: str) -> tuple[torch.nn.Module, Any]:
    from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
    from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
    from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

    gpt = megatron_gpt.build(SIZE)
    model = DistributedDataParallel(gpt.config, DistributedDataParallelConfig(grad_reduce_in_fp32=True), gpt)
    config = OptimizerConfig(optimizer=name, lr=RATE, min_lr=RATE, weight_decay=DECAY, clip_grad=CLIP)
    optimizer = get_megatron_optimizer(config, [model], use_gloo_process_groups=False)
    OptimizerParamScheduler(  # tells the parameter groups their weight decay
        optimizer, init_lr=RATE, max_lr=RATE, min_lr=RATE, lr_warmup_steps=0, lr_decay_steps=STEPS,
        lr_decay_style="constant", start_wd=DECAY, end_wd=DECAY, wd_incr_steps=STEPS, wd_incr_style="constant",
    )  # fmt: skip
    return model, optimizer


class Stepping:
    """The part of Megatron's optimizer that a step of megatron_gpt calls."""

    def __init__(self, reference: Reference) -> None:
        self.step = reference.step

    def zero_grad(self) -> None: ...


@pytest.fixture
def muon(switch: Any) -> Any:
    yield lambda **flags: switch(optimizer="muon", **flags)
    switch(
        optimizer="adam", muon_nesterov=False, muon_scale_mode="spectral", muon_extra_scale_factor=1.0,
        muon_fp32_matmul_prec="medium", muon_coefficient_type="quintic",
    )  # fmt: skip


WAYS: tuple[tuple[dict[str, Any], dict[str, Any], float], ...] = (
    (
        {"muon_fp32_matmul_prec": "high", "muon_extra_scale_factor": 0.2},
        {"nesterov": False, "scale": lambda r, c: max(r, c) ** 0.5, "extra": 0.2, "coefficients": QUINTIC},
        2e-5,
    ),
    (
        {"muon_fp32_matmul_prec": "high", "muon_nesterov": True, "muon_scale_mode": "unit_rms_norm", "muon_coefficient_type": "simple"},
        {"nesterov": True, "scale": lambda r, c: (r / c) ** 0.5, "extra": 1.0, "coefficients": SIMPLE},
        2e-5,
    ),
    (
        {"muon_nesterov": True, "muon_scale_mode": "shape_scaling"},
        {"nesterov": True, "scale": lambda r, c: max(1.0, r / c) ** 0.5, "extra": 1.0, "coefficients": QUINTIC},
        3e-3,  # products in bfloat16
    ),
)  # fmt: skip


@pytest.mark.parametrize(("flags", "way", "tolerance"), WAYS)
def test_losses_are_those_of_plain_pytorch(muon: Any, flags: Any, way: Any, tolerance: float) -> None:
    muon(**flags)
    model, optimizer = trainer("muon")
    texts = megatron_gpt.batches(SIZE, STEPS)
    found = [megatron_gpt.train_step(model, optimizer, text).item() for text in texts]
    muon()
    model, _ = trainer("adam")
    reference = Stepping(Reference(model.module, **way))
    wanted = [megatron_gpt.train_step(model, reference, text).item() for text in texts]
    assert wanted[-1] < wanted[0] - 0.1
    assert found == pytest.approx(wanted, rel=tolerance)


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (16, 16), (1, 9), (9, 1), (3, 6, 4), (2, 4, 6)])
@pytest.mark.parametrize("kind", list(_muon.KINDS))
def test_the_iteration(shape: tuple[int, ...], kind: str) -> None:
    torch.manual_seed(3)
    x = torch.randn(shape)
    steps = 5
    row = _muon.KINDS[kind]
    coefficients = [
        row[min(i, len(row) - 1) if kind == "polar_express" else i % len(row)] for i in range(steps)
    ]
    found = _muon.orthogonal(x.npu(), _muon.schedule(kind, steps), torch.float32).cpu().double()
    matrices = x.double().view(-1, *shape[-2:])
    wanted = torch.stack([newton_schulz(m, coefficients) for m in matrices]).view(shape)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    half = _muon.orthogonal(x.npu(), _muon.schedule(kind, steps), torch.bfloat16).cpu().double()
    most = 0.15 if kind == "polar_express" else 0.05  # at 1 the first step is 8.2 - 22.9 + 16.5, in bfloat16
    assert (half - wanted).norm() < most * wanted.norm()


def test_no_momentum_is_no_step() -> None:
    assert (
        _muon.orthogonal(
            torch.zeros(4, 3, device="npu"), _muon.schedule("quintic", 5), torch.float32
        ).count_nonzero()
        == 0
    )


def test_kinds_go_on_or_begin_again() -> None:
    assert _muon.schedule("polar_express", 10)[8:] == [_muon.KINDS["polar_express"][-1]] * 2
    assert _muon.schedule("aol", 6)[4:] == list(_muon.KINDS["aol"][:2])


def shared(costs: list[float], ranks: int) -> tuple[int, list[int]]:
    count = max(len(costs), 1)
    owners = (ctypes.c_int32 * count)(*[-7] * count)
    plan = function(
        "hc_whole_shares", ctypes.POINTER(ctypes.c_double), ctypes.c_size_t, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int32),
    )  # fmt: skip
    return plan((ctypes.c_double * count)(*costs), len(costs), ranks, owners), list(owners)[: len(costs)]


def busiest(costs: list[float], owners: Any, ranks: int) -> float:
    return max(sum(c for c, o in zip(costs, owners, strict=True) if o == rank) for rank in range(ranks))


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_shares_are_near_the_best(ranks: int) -> None:
    torch.manual_seed(ranks)
    for count in (0, 1, 2, 7):
        costs = [float(c) for c in torch.randint(0, 50, (count,))]
        code, owners = shared(costs, ranks)
        assert code == 0 and all(0 <= owner < ranks for owner in owners)
        best = min(busiest(costs, o, ranks) for o in itertools.product(range(ranks), repeat=count))
        assert busiest(costs, owners, ranks) <= 4 / 3 * best
    assert shared([2.0, 2.0, 2.0], 3)[1] == [0, 1, 2]


@pytest.mark.parametrize(("costs", "ranks"), [([1.0], 0), ([-1.0], 2), ([math.nan], 2), ([math.inf], 1)])
def test_costs_and_ranks_that_cannot_be(costs: list[float], ranks: int) -> None:
    assert shared(costs, ranks) == (-1, [-7])


def test_ranks_share_matrices_and_states(tmp_path: Path) -> None:
    rows = {row["run"]: row for row in torchrun.rows(2, JOB, [str(tmp_path)], timeout=550)}
    losses = {name: [loss for loss, _ in row["steps"]] for name, row in rows.items()}
    for one in ("plain", "bf16", "experts"):
        other = f"{one} distributed".removeprefix("plain ")
        assert losses[one] == losses[other]
        norms = [[norm for _, norm in rows[name]["steps"]] for name in (one, other)]
        assert norms[0] == pytest.approx(norms[1], rel=1e-5)
        assert rows[one]["numbers"] == 2 * rows[other]["numbers"]
    assert losses["experts apart"] == pytest.approx(losses["experts"], rel=3e-3)
    for name in ("duplicated", "together"):
        assert losses[name] == pytest.approx(losses["plain"], rel=1e-5)
    assert losses["blockwise"][0] == pytest.approx(losses["plain"][0], rel=1e-6)
    assert losses["blockwise"][-1] != pytest.approx(losses["plain"][-1], rel=1e-5)
    assert [rows["bf16 distributed"][way] for way in ("named", "on all", "file")] == [True] * 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"fp16": True}, "--fp16 scales gradients"),
        ({"muon_num_ns_steps": 0}, "--muon-num-ns-steps is 0"),
        ({"muon_momentum": 1.0}, "--muon-momentum is 1.0"),
        ({"muon_scalar_optimizer": "lion"}, "--muon-scalar-optimizer lion is not there"),
        ({"use_torch_fsdp2": True}, "--use-torch-fsdp2 cuts through matrices"),
        ({"overlap_param_gather": True}, "--overlap-param-gather gathers shards"),
        ({"muon_coefficient_type": "cubic"}, "wanted one of simple, quintic"),
    ],
)
def test_what_muon_does_not_do_is_refused(muon: Any, flags: dict[str, Any], message: str) -> None:
    muon()
    with pytest.raises(ConfigurationError, match=message):
        megatron_adaptor.repatch(flags)


@pytest.mark.parametrize("version", ["0.16.1", "0.18.2"])
def test_a_later_release_runs_its_own(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(rules, "installed_version", lambda name: version)
    monkeypatch.setattr(feature, "installed_version", lambda name: version)
    own, args = feature.FEATURE.native, Namespace(optimizer="muon", fp16=True, muon_nesterov=True)
    assert own is not None and rules.by_megatron(feature.FEATURE) is own
    (choice,) = rules.choose([feature.FEATURE], args, Level.COMPATIBILITY)
    assert choice.on and choice.reason.endswith("by Megatron's own --optimizer muon")
    assert not [patch for patch in feature.FEATURE.patches if patch.fits(lambda name: version)]
    own.adjust(args)
    assert not hasattr(args, "muon_use_nesterov")
    args.muon_use_nesterov = False
    own.adjust(args)
    assert args.muon_use_nesterov is True
    assert list(own.check(args)) == []
    args.muon_coefficient_type = "simple"
    said = "".join(own.check(args))
    assert ("no --muon-coefficient-type before 0.18 (0.16.1 is installed)" in said) == (version == "0.16.1")
