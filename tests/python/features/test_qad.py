# SPDX-License-Identifier: Apache-2.0
"""--qad-enable: the divergence against float64 and over ranks, a student next to its teacher, and what is refused."""

from __future__ import annotations

import functools
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import megatron_gpt
import pytest
import torch
import torchrun
from mindspeed.adaptor import arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.precision import _teacher
from mindspeed.features.precision import qad as feature
from mindspeed.features.precision._divergence import divergence

JOB = Path(__file__).parents[2] / "support" / "divergence_job.py"
SIZE = megatron_gpt.Size(dtype=torch.bfloat16)
Tensor = torch.Tensor


# ---- the divergence ----


def reference(student: Tensor, teacher: Tensor, grad: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """(values, gradient of the student), float64, by PyTorch on the CPU."""
    student = student.detach().cpu().double().requires_grad_()
    log_q = torch.log_softmax(student / temperature, -1)
    log_p = torch.log_softmax(teacher.detach().cpu().double() / temperature, -1)
    values = torch.nn.functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)
    values = values * temperature**2
    values.backward(grad.cpu().double())
    assert student.grad is not None
    return values.detach(), student.grad


def case(dtype: torch.dtype, near: float, vocab: int = 501) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """student, teacher, words, gradient"""
    generator = torch.Generator().manual_seed(2)
    teacher = 4 * torch.randn(9, 2, vocab, generator=generator)
    student = teacher + near * torch.randn(9, 2, vocab, generator=generator)
    words = torch.randint(0, vocab, (9, 2), generator=generator)
    grad = torch.randn(9, 2, generator=generator)
    return student.to("npu", dtype).requires_grad_(), teacher.to("npu", dtype), words.npu(), grad.npu()


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 2e-6), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("near", [3.0, 0.1])
def test_divergence_is_that_of_float64(
    switch: Any, near: float, dtype: torch.dtype, bound: float, temperature: float
) -> None:
    student, teacher, words, grad = case(dtype, near)
    wanted, gradient = reference(student, teacher, grad, temperature)
    entropies = torch.nn.functional.cross_entropy(
        student.detach().cpu().double().flatten(0, 1), words.cpu().flatten(), reduction="none"
    )
    found, entropy = divergence(student, teacher, words, temperature=temperature)
    assert found.dtype is torch.float32 and not entropy.requires_grad
    torch.testing.assert_close(found.cpu().double(), wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(entropy.cpu().double().flatten(), entropies, rtol=1e-5, atol=1e-6)
    found.backward(grad)
    assert student.grad is not None and student.grad.dtype is dtype
    error = (student.grad.cpu().double() - gradient).abs().max()
    if dtype is torch.bfloat16:  # its own rounding
        assert error < bound * gradient.abs().max()
    else:  # of a probability of 1
        assert error < bound * temperature * grad.abs().max().item()


def test_small_divergences_keep_seven_digits_behind_the_point(switch: Any) -> None:
    student, teacher, words, grad = case(torch.float32, 1e-3)
    wanted, _ = reference(student, teacher, grad, 1.0)
    found, _ = divergence(student, teacher, words, temperature=1.0)
    assert wanted.max() < 1e-4
    torch.testing.assert_close(found.detach().cpu().double(), wanted, rtol=0, atol=1e-7)
    same, _ = divergence(student, student.detach().clone(), words, temperature=2.0)
    assert torch.equal(same, torch.zeros_like(same))


def test_a_second_backward_pass_is_an_error(switch: Any) -> None:
    student, teacher, words, grad = case(torch.float32, 1.0)
    found, _ = divergence(student, teacher, words, temperature=1.0)
    found.backward(grad, retain_graph=True)
    with pytest.raises(RuntimeError, match="inplace operation"):
        found.backward(grad)


def test_other_shapes_are_an_error(switch: Any) -> None:
    student, teacher, words, _ = case(torch.float32, 1.0)
    with pytest.raises(
        ValueError, match=r"student's logits are \[9, 2, 501\] and the teacher's \[9, 2, 500\]"
    ):
        divergence(student, teacher[..., :500], words, temperature=1.0)


def test_ranks_that_share_the_vocabulary() -> None:
    rows = torchrun.rows(2, JOB, timeout=300)
    assert len(rows) == 4 and min(row["smallest"] for row in rows) < 1e-5
    for row in rows:  # logits over T are up to 80
        assert max(row["value"], row["entropy"]) < 1e-6 and row["gradient"] < 1e-5, row


# ---- a student and its teacher ----


class Pair:
    """A teacher, and students that a step of Megatron's would train."""

    def __init__(self, switch: Any) -> None:
        self.switch = switch
        self.teacher: Any = None

    def arguments(self, scheme: str | None, **more: Any) -> None:
        is_on = self.teacher is not None and scheme is not None
        given = {"qad_enable": is_on, "qad_teacher_load": str(self.folder) if is_on else ""}
        self.switch(optimization_level=2, qat_scheme=scheme, **(given | more))

    folder: Path

    def taught(self, steps: int) -> Any:
        """A model that plain training has made."""
        model, optimizer = megatron_gpt.trainer(megatron_gpt.build(SIZE), SIZE)
        for text in megatron_gpt.batches(SIZE, steps):
            megatron_gpt.train_step(model, optimizer, text)
        return model

    def losses(self, steps: int, seed: int = 11) -> dict[str, list[float]]:
        """A student of other weights, by the loss that the feature puts in the place of the program's."""
        gpt = megatron_gpt.build(SIZE)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in gpt.parameters():
                parameter.add_(0.03 * torch.randn(parameter.shape, generator=generator).npu())
        model, optimizer = megatron_gpt.trainer(gpt, SIZE)
        self.student, self.optimizer = model, optimizer
        found: dict[str, list[float]] = {}
        for text in megatron_gpt.batches(SIZE, steps):
            model.zero_grad_buffer()
            optimizer.zero_grad()
            step = functools.partial(forward_step)
            run = feature._of_micro_batch(step) if self.teacher is not None else step
            output, loss_func = run(text, model)
            loss, tokens, report = loss_func(output)
            (loss / tokens).backward()
            model.finish_grad_sync()
            optimizer.step()
            for name, (total, count) in report.items():
                found.setdefault(name, []).append((total / count).item())
        return found


def forward_step(text: Tensor, model: Any) -> tuple[Tensor, Any]:
    """As in pretrain_gpt.py."""
    positions = torch.arange(text.shape[1] - 1, device=text.device).expand(text.shape[0], -1)
    output = model(text[:, :-1].contiguous(), positions, None, labels=text[:, 1:].contiguous())

    def loss_func(output: Tensor) -> tuple[Tensor, Tensor, dict[str, Any]]:
        mask = torch.ones_like(output)
        mask[:, :5] = 0
        total, count = (output.float() * mask).sum(), mask.sum()
        return total, count.int(), {"lm loss": (total.detach(), count)}

    return output, loss_func


@pytest.fixture
def pair(switch: Any, tmp_path: Path) -> Iterator[Pair]:
    (tmp_path / feature._TRACKER).write_text("1")
    found = Pair(switch)
    found.folder = tmp_path
    yield found
    feature._Now.teacher = None
    found.teacher = None
    found.arguments(None, kl_temperature=1.0, kl_loss_weight=1.0, kl_loss_reduction="mean")


def teach(pair: Pair, steps: int = 150) -> None:
    model = pair.taught(steps)
    gpt = model.module.module if hasattr(model.module, "module") else model.module
    pair.teacher = feature._Now.teacher = gpt.requires_grad_(False).eval()


def test_a_teacher_is_unquantised_and_untouched(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its logits are those of a plain model, it has no gradients, and its student's optimizer does not know it."""
    teach(pair, 3)
    text = megatron_gpt.batches(SIZE, 1)[0]
    positions = torch.arange(text.shape[1] - 1, device=text.device).expand(text.shape[0], -1)
    with torch.no_grad():
        plain = pair.teacher(text[:, :-1].contiguous(), positions, None).transpose(0, 1)
    before = [parameter.clone() for parameter in pair.teacher.parameters()]
    pair.arguments("w4a4-mxfp4")
    seen: list[tuple[Tensor, Tensor]] = []

    def noting(student: Tensor, teacher: Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append((student.detach().clone(), teacher.clone()))
        return divergence(student, teacher, *args, **kwargs)

    monkeypatch.setattr(feature, "divergence", noting)
    pair.losses(1)
    (student, teacher), *_ = seen
    assert torch.equal(teacher, plain) and not torch.equal(student, teacher)
    assert all(torch.equal(now, old) for now, old in zip(pair.teacher.parameters(), before, strict=True))
    assert all(p.grad is None and not p.requires_grad for p in pair.teacher.parameters())
    of_student = sum(parameter.numel() for parameter in pair.student.parameters())
    states = sum(
        value.numel()
        for state in pair.optimizer.optimizer.state.values()
        for value in state.values()
        if value.dim()
    )
    assert states == 2 * of_student


def test_weight_and_reduction(pair: Pair) -> None:
    """Losses of one batch: a mean, a multiple of it, and the sum over tokens; reports are means of tokens."""
    teach(pair, 3)
    text = megatron_gpt.batches(SIZE, 1)[0]
    model = megatron_gpt.build(SIZE)
    found = {}
    for weight, reduction in ((1.0, "mean"), (0.5, "mean"), (1.0, "sum")):
        pair.arguments("w4a16-mxfp4", kl_loss_weight=weight, kl_loss_reduction=reduction)
        output, loss_func = feature._of_micro_batch(forward_step)(text, model)
        loss, tokens, report = loss_func(output)
        assert list(report) == ["lm loss", "kl loss"]
        found[weight, reduction] = (loss / tokens).item()
        mean = (report["kl loss"][0] / report["kl loss"][1]).item()
        assert found[1.0, "mean"] == pytest.approx(mean, rel=1e-6)
    count = report["kl loss"][1].item()
    assert found[0.5, "mean"] == pytest.approx(0.5 * found[1.0, "mean"], rel=1e-6)
    assert found[1.0, "sum"] == pytest.approx(count * found[1.0, "mean"], rel=1e-5)


def test_without_labels_there_is_nothing_to_compare(pair: Pair) -> None:
    teach(pair, 1)
    pair.arguments("w4a4-mxfp4")
    model = megatron_gpt.build(SIZE)
    text = megatron_gpt.batches(SIZE, 1)[0]
    with pytest.raises(RuntimeError, match="call the model with labels, or leave out --qad-enable"):
        feature._of_micro_batch(lambda text, model: (model(text, text, None), None))(text, model)


@pytest.mark.slow
def test_a_student_comes_near_to_its_teacher(pair: Pair) -> None:
    """120 steps: the divergence falls, and cross entropy with it, though nothing asks for that."""
    steps = 120
    pair.arguments("w4a4-mxfp4")
    alone = pair.losses(steps)["lm loss"]
    pair.arguments(None)
    teach(pair)
    pair.arguments("w4a4-mxfp4")
    found = pair.losses(steps)
    first, last = (sum(found["kl loss"][part]) / 10 for part in (slice(10), slice(-10, None)))
    assert last < 0.3 * first
    assert sum(found["lm loss"][-10:]) < 1.1 * sum(alone[-10:]) < sum(alone[:10])


# ---- rules ----


def problems(folder: Path, **given: Any) -> list[str]:
    features = tuple(f for f in all_features() if f.name in ("qad", "qat-scheme"))
    plain = {"qad_enable": True, "qad_teacher_load": str(folder), "qat_scheme": "w4a4-mxfp4"}
    args = Namespace(**(plain | given))
    arguments.complete(args, features)
    return list(rules.problems(features, args, 2))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"qad_teacher_load": ""}, "give --qad-teacher-load FOLDER"),
        ({"qad_teacher_load": "/nowhere/at/all"}, "--qad-teacher-load /nowhere/at/all: no such folder"),
        ({"qad_teacher_load": str(Path(__file__).parent)}, "latest_checkpointed_iteration.txt is missing"),
        ({"kl_temperature": 0.0}, "--kl-temperature is 0.0; wanted a number above 0"),
        ({"kl_temperature": float("nan")}, "--kl-temperature is nan"),
        ({"kl_loss_weight": -1.0}, "--kl-loss-weight is -1.0; wanted 0 or more"),
        ({"num_experts": 8}, "leave out --num-experts"),
        ({"mtp_num_layers": 1}, "leave out --mtp-num-layers"),
        ({"fp8": "e4m3"}, "leave out --fp8-format"),
        ({"pipeline_model_parallel_size": 2}, "--pipeline-model-parallel-size is 2"),
        ({"qat_scheme": None}, "--qat-scheme"),
    ],
)
def test_rules(tmp_path: Path, given: dict[str, Any], wanted: str) -> None:
    (tmp_path / feature._TRACKER).write_text("1")
    assert problems(tmp_path) == [] and problems(tmp_path, qad_enable=False, qad_teacher_load="") == []
    assert any(wanted in problem for problem in problems(tmp_path, **given))


SAVED = {
    "num_layers": 2, "hidden_size": 64, "padded_vocab_size": 256, "make_vocab_size_divisible_by": 128,
    "tensor_model_parallel_size": 1, "ckpt_format": "torch_dist",
}  # fmt: skip


@pytest.mark.parametrize(
    ("saved", "wanted"),
    [
        ({}, ""),
        ({"hidden_size": 32}, "the teacher has hidden_size 32, this model 64"),
        ({"num_layers": 4}, "the teacher has num_layers 4, this model 2"),
        ({"padded_vocab_size": 512}, "the teacher has a vocabulary of 512 words, this model of 256"),
        # Padded for more ranks, which the format allows.
        ({"padded_vocab_size": 512, "tensor_model_parallel_size": 4}, ""),
        (
            {"tensor_model_parallel_size": 2, "ckpt_format": "torch"},
            "save the teacher with --ckpt-format torch_dist",
        ),
    ],
)
def test_a_teacher_of_other_sizes(saved: dict[str, Any], wanted: str) -> None:
    found = list(_teacher.other_sizes(Namespace(**SAVED), Namespace(**(SAVED | saved))))
    assert len(found) == bool(wanted) and wanted in "".join(found)
