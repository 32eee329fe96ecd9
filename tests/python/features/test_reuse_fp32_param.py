# SPDX-License-Identifier: Apache-2.0
"""--reuse-fp32-param: fp32 parameters that are taken apart come back exactly; training is the same with less memory."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import memory_cases
import pytest
import torch
import torch_npu  # noqa: F401
from mindspeed.adaptor import Level, arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.memory._sliced_step import Piece, SlicedStep
from mindspeed.features.memory.reuse_fp32_param import Halves
from mindspeed.ops.fused_adam import FusedAdam

NPU = torch.device("npu")


def every_kind_of_number() -> torch.Tensor:
    """Each high half of some, with low halves around where rounding changes; zeros, denormals, infinities."""
    high = torch.tensor([0, 1, 2, 0x3F7F, 0x3F80, 0x3F81, 0x7F7E, 0x0080, 0x4049, 0x7F80], dtype=torch.int64)
    low = torch.tensor([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], dtype=torch.int64)
    bits = (high[:, None] << 16 | low).view(-1)
    bits = torch.cat([bits, bits + (1 << 31)]).to(torch.int32)
    return bits.view(torch.float32)


def numbers() -> torch.Tensor:
    special = every_kind_of_number()
    special = special[~special.isnan()]
    torch.manual_seed(1)
    return torch.cat([special, torch.randn(5000), torch.randn(100).bfloat16().float() * (1 + 2**-8)])


@pytest.mark.parametrize("start", [0, 3])
def test_halves_are_what_a_conversion_gives_and_come_back(start: int) -> None:
    values = numbers()
    main, model = values.to(NPU), torch.zeros(values.numel(), dtype=torch.bfloat16, device=NPU)
    store = Halves()
    pieces = [Piece(main, model, 0, start), Piece(main, model, start, values.numel())]
    store.adopt(main, [piece for piece in pieces if piece.numel > 0])
    assert torch.equal(model.cpu().view(torch.int16), values.bfloat16().view(torch.int16))
    assert torch.equal(main.cpu(), values)  # it is not what was overwritten
    found = store.read(main, [piece for piece in pieces if piece.numel > 0])
    assert torch.equal(found.cpu().view(torch.int32), values.view(torch.int32))


def both(shapes: list[tuple[int, ...]], slices: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Parameters after three steps of Adam, at once and in slices."""
    torch.manual_seed(2)
    starts = [torch.randn(shape) for shape in shapes]
    gradients = [[torch.randn(shape) for shape in shapes] for _ in range(3)]

    def train(slices: int) -> list[torch.Tensor]:
        mains = [start.to(NPU) for start in starts]
        models = [main.bfloat16() for main in mains]
        groups = [{"params": mains[::2]}, {"params": mains[1::2], "weight_decay": 0.0}]
        optimizer = FusedAdam(groups, lr=1e-2, weight_decay=0.1)
        if slices:
            pairs = zip(mains, (model.view(-1) for model in models), strict=True)
            step = SlicedStep(optimizer, pairs, Halves(), slices)
        for of_step in gradients:
            for main, gradient in zip(mains, of_step, strict=True):
                main.grad = gradient.to(NPU)
            optimizer.step()
        assert [group["step"] for group in optimizer.param_groups] == [3, 3]
        if slices:
            assert all(map(torch.equal, models, [step.read(main).to(NPU).bfloat16() for main in mains]))
        found = [step.read(main) if slices else main.cpu() for main in mains]
        states = [state[name].cpu() for state in optimizer.state.values() for name in sorted(state)]
        return found + states

    return train(slices), train(0)


@pytest.mark.parametrize("slices", [1, 4, 1000])
def test_steps_in_slices_are_steps(slices: int) -> None:
    found, wanted = both([(64, 33), (5,), (7, 11, 3), (1,)], slices)
    assert len(found) == len(wanted) == 12
    assert sum(tensor.numel() for tensor in found) == 3 * (64 * 33 + 5 + 7 * 11 * 3 + 1)
    assert sorted(map(str, found)) == sorted(map(str, wanted))
    for one in found:
        assert any(one.shape == other.shape and torch.equal(one, other) for other in wanted)


def test_what_has_no_values_reads_as_nan_and_refuses_to_be_written() -> None:
    main = torch.ones(8, device=NPU)
    model = main.bfloat16()
    step = SlicedStep(FusedAdam([main]), [(main, model)], Halves(), 1)
    assert main.isnan().all() and main.shape == (8,)
    with pytest.raises(RuntimeError, match="single memory location"):
        main.add_(1)
    with step.whole():
        assert torch.equal(main.cpu(), torch.ones(8))
        main.add_(0.001)
    assert torch.equal(step.read(main), torch.ones(8) + 0.001)
    assert torch.equal(model.cpu(), (torch.ones(8) + 0.001).bfloat16())


class PerParameter(torch.optim.Optimizer):
    """Keeps one number for a whole parameter."""

    def __init__(self, parameters: list[torch.Tensor]) -> None:
        super().__init__(parameters, {})

    def step(self) -> None:  # type: ignore[override]
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter]["norm"] = parameter.norm()


def test_optimizer_that_looks_at_whole_parameters_is_refused() -> None:
    main = torch.ones(8, device=NPU)
    step = SlicedStep(PerParameter([main]), [(main, main.bfloat16())], Halves(), 1)
    with pytest.raises(TypeError, match="PerParameter keeps 'norm' per parameter"):
        step.step()


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        ({}, []),
        ({"bf16": False}, ["(--reuse-fp32-param) needs --bf16"]),
        (
            {"swap_optimizer": True, "use_distributed_optimizer": True},
            ["(--reuse-fp32-param) and feature swap-optimizer (--swap-optimizer) exclude each other"],
        ),
        ({"use_precision_aware_optimizer": True}, ["--use-precision-aware-optimizer keeps"]),
        (
            {"optimizer_selection": "fused_ema_adamw"},
            [
                "(--reuse-fp32-param) and feature optimizer-selection (--optimizer-selection) exclude each other"
            ],
        ),
        ({"optimizer": "muon"}, ["--optimizer muon looks at whole parameters"]),
    ],
)
def test_rules(given: dict[str, Any], problems: list[str]) -> None:
    features = [
        f for f in all_features() if f.name in ("reuse-fp32-param", "swap-optimizer", "optimizer-selection")
    ]
    args = Namespace(**{"reuse_fp32_param": True, "bf16": True} | given)
    arguments.complete(args, features)
    found = rules.problems(features, args, Level.ACCELERATION)
    assert len(found) == len(problems)
    assert all(problem in sentence for problem, sentence in zip(problems, found, strict=True)), found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "wanted"), [("reuse-plain-load", "plain"), ("reuse-load-swap", "distributed")]
)
def test_training_is_the_same_with_less_memory(name: str, wanted: str) -> None:
    assert memory_cases.is_same_after_checkpoint(name, wanted)
    found, other = memory_cases.result(name), memory_cases.result(wanted)
    halves = 2 * found["parameters"]
    for moment in ("held", "peak"):
        assert other[moment] - found[moment] == pytest.approx(halves, rel=0.02), moment


@pytest.mark.slow
def test_training_from_the_start_is_the_same() -> None:
    assert memory_cases.is_same_until_checkpoint("reuse-plain-save", "plain")


@pytest.mark.slow
def test_training_on_two_ranks() -> None:
    assert memory_cases.training("w2-reuse") == memory_cases.training("w2-overlap")
    assert memory_cases.is_same_after_checkpoint("w2-reuse-load", "w2-overlap")
    assert memory_cases.training("w2-moe-reuse") == memory_cases.training("w2-moe")
    found, other = memory_cases.result("w2-reuse"), memory_cases.result("w2-overlap")
    assert other["held"] - found["held"] == pytest.approx(found["parameters"], rel=0.05)
