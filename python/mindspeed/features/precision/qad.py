# SPDX-License-Identifier: Apache-2.0
"""Quantisation-aware distillation: a model with quantised products learns the words of a teacher of full precision.

In the forward pass of a micro-batch the teacher runs first, on what the student is given. In the place of cross entropy
there is then the divergence of the student's words from the teacher's, a number for each token as before, which the
program's own loss function masks and averages. Cross entropy is reported beside it.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Need, Patch
from mindspeed.adaptor.session import current_arguments
from mindspeed.features.precision import _teacher
from mindspeed.features.precision._divergence import divergence
from mindspeed.features.precision.qat_scheme import unquantised

_FLAG, _LOAD = "--qad-enable", _teacher.FLAG
_TEMPERATURE, _WEIGHT, _REDUCTION = "--kl-temperature", "--kl-loss-weight", "--kl-loss-reduction"
_TRACKER = "latest_checkpointed_iteration.txt"  # Megatron's, in a folder of checkpoints
Function = Callable[..., Any]


class _Now:
    teacher: torch.nn.Module | None = None


class _Pass:
    """The forward pass of a micro-batch."""

    def __init__(self) -> None:
        self.of_teacher = False
        self.logits: Tensor | None = None  # the teacher's
        self.entropy: Tensor | None = None  # the student's

    def run(self, teacher: torch.nn.Module, args: Any, kwargs: Any) -> None:
        self.of_teacher = True
        try:
            with torch.no_grad(), unquantised():
                teacher(*args, **kwargs)
        finally:
            self.of_teacher = False


_pass: contextvars.ContextVar[_Pass | None] = contextvars.ContextVar("pass_of_micro_batch", default=None)


def with_teacher(setup: Function) -> Function:
    """setup_model_and_optimizer, after which there is a teacher as well."""
    signature = inspect.signature(setup)

    @functools.wraps(setup)
    def setup_both(*args: Any, **kwargs: Any) -> Any:
        result = setup(*args, **kwargs)
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        # The student is built and loaded by now: its checkpoint is what random numbers go on from.
        _Now.teacher = _teacher.build(given.arguments["model_provider_func"], given.arguments["model_type"])
        return result

    return setup_both


def distilling(train_step: Function) -> Function:
    @functools.wraps(train_step)
    def distilling_step(forward_step_func: Function, *args: Any, **kwargs: Any) -> Any:
        return train_step(_of_micro_batch(forward_step_func), *args, **kwargs)

    return distilling_step


def _of_micro_batch(forward_step: Function) -> Function:
    """The program's forward step, whose output and loss function are of the divergence."""

    @functools.wraps(forward_step)
    def of_both(*args: Any, **kwargs: Any) -> Any:
        now = _Pass()
        token = _pass.set(now)
        try:
            output, loss_func = forward_step(*args, **kwargs)
        finally:
            _pass.reset(token)
        if now.entropy is None:
            raise RuntimeError(
                f"{_FLAG}: the program's forward step has no GPTModel of Megatron Core compute losses from labels, so "
                f"there is nothing to compare with the teacher; call the model with labels, or leave out {_FLAG}"
            )
        return output, functools.partial(_loss, loss_func, now.entropy)

    return of_both


def _loss(loss_func: Function, entropy: Tensor, output: Tensor) -> tuple[Any, ...]:
    """What the program's loss function returns, of the divergence; reports of cross entropy keep their names."""
    args = current_arguments()
    loss, *tokens, of_divergence = loss_func(output)
    with torch.no_grad():
        *_, report = loss_func(entropy)
    names = {name: "kl loss" if name == "lm loss" else f"kl {name}" for name in of_divergence}
    if args.kl_loss_reduction == "sum":
        if not tokens:
            raise RuntimeError(
                f"{_REDUCTION} sum: the program's loss function returns a mean and no number of tokens; have it return "
                "(sum, number of tokens, report), or give mean"
            )
        tokens = [torch.ones_like(count) if isinstance(count, Tensor) else 1 for count in tokens]
    return (
        loss * args.kl_loss_weight,
        *tokens,
        {**report, **{names[name]: value for name, value in of_divergence.items()}},
    )


def of_both(forward: Function) -> Function:
    """GPTModel.forward"""

    @functools.wraps(forward)
    def forward_of_both(self: Any, *args: Any, **kwargs: Any) -> Any:
        now = _pass.get()
        if now is not None and not now.of_teacher and _Now.teacher is not None:
            now.run(_Now.teacher, args, kwargs)
        return forward(self, *args, **kwargs)

    return forward_of_both


def next_to_teacher(loss: Function) -> Function:
    """compute_language_model_loss: labels [b, s], logits [s, b, words of the rank's share] -> [b, s]."""

    @functools.wraps(loss)
    def divergence_of_tokens(self: Any, labels: Tensor, logits: Tensor) -> Tensor:
        now = _pass.get()
        if now is None or _Now.teacher is None:
            found: Tensor = loss(self, labels, logits)
            return found
        if now.of_teacher:
            now.logits = logits
            return torch.zeros_like(labels, dtype=torch.float32)  # nobody asks for the teacher's own loss
        assert now.logits is not None
        tokens, entropy = divergence(
            logits, now.logits, labels.t().contiguous(), temperature=current_arguments().kl_temperature
        )
        now.logits, now.entropy = None, entropy.t().contiguous()
        return tokens.t().contiguous()

    return divergence_of_tokens


def _of_path(folder: str) -> Iterator[str]:
    if not folder:
        yield f"there is no teacher; give {_LOAD} FOLDER, where Megatron has saved a training in full precision"
    elif not Path(folder).is_dir():
        yield f"{_LOAD} {folder}: no such folder; give one where Megatron has saved a training"
    elif not (Path(folder) / _TRACKER).is_file():
        yield f"{_LOAD} {folder}: no checkpoint there, as {_TRACKER} is missing; give a folder where Megatron has saved a training"


# Argument, why, and what to do.
_REFUSED = (
    ("num_experts", "the teacher's router would send tokens to other experts than the student's", "leave out --num-experts"),
    ("mtp_num_layers", "further predicted tokens have losses of their own", "leave out --mtp-num-layers"),
    ("use_legacy_models", "it is for models of Megatron Core", "leave out --use-legacy-models"),
    ("use_torch_fsdp2", "the teacher is whole on every rank", "leave out --use-torch-fsdp2"),
    ("use_custom_fsdp", "the teacher is whole on every rank", "leave out --use-custom-fsdp"),
    ("use_megatron_fsdp", "the teacher is whole on every rank", "leave out --use-megatron-fsdp"),
    ("fp8", "the teacher would compute in fp8 as well", "leave out --fp8-format"),
)  # fmt: skip


def check(args: Any) -> Iterator[str]:
    yield from _of_path(args.qad_teacher_load)
    if not (args.kl_temperature > 0 and math.isfinite(args.kl_temperature)):
        yield f"{_TEMPERATURE} is {args.kl_temperature}; wanted a number above 0"
    if not (args.kl_loss_weight >= 0 and math.isfinite(args.kl_loss_weight)):
        yield f"{_WEIGHT} is {args.kl_loss_weight}; wanted 0 or more"
    for name, why, remedy in _REFUSED:
        if getattr(args, name, None):
            yield f"{why}; {remedy}, or leave out {_FLAG}"
    stages = getattr(args, "pipeline_model_parallel_size", 1) or 1
    if stages > 1:
        yield f"--pipeline-model-parallel-size is {stages}, and the teacher is one stage; give 1"


FEATURE = Feature(
    name="qad",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            _FLAG,
            "Train by the divergence from the words of a teacher in full precision.",
            negative="--no-qad-enable",
            default=False,
            in_config=False,
        ),
        Flag(_LOAD, "The teacher's checkpoint.", type=str, default="", in_config=False),
        Flag(_TEMPERATURE, "Logits of both are divided by it.", type=float, default=1.0, in_config=False),
        Flag(_WEIGHT, "The divergence times this is the loss.", type=float, default=1.0, in_config=False),
        Flag(
            _REDUCTION,
            "Over the tokens of a micro-batch.",
            type=str,
            default="mean",
            choices=("mean", "sum"),
            in_config=False,
        ),
    ),
    needs=(
        Need(
            feature="qat-scheme",
            flag="--qat-scheme",
            why="without it the student has the teacher's precision",
        ),
    ),
    conflicts=(
        Conflict(feature="async-log-allreduce", why="its reports come later, and cannot be joined"),
        Conflict(
            feature="adaptive-recompute",
            why="it measures what is in use during forward passes, and the teacher's would be a part of it",
        ),
        Conflict(feature="layerzero", why="the teacher is whole on every rank"),
    ),
    check=check,
    patches=(
        Patch(
            "megatron.training.training:setup_model_and_optimizer",
            with_teacher,
            wraps=True,
            requires="megatron.training",
        ),
        Patch("megatron.training.training:train_step", distilling, wraps=True, requires="megatron.training"),
        Patch("megatron.core.models.gpt.gpt_model:GPTModel.forward", of_both, wraps=True),
        Patch(
            "megatron.core.models.common.language_module.language_module:LanguageModule.compute_language_model_loss",
            next_to_teacher,
            wraps=True,
        ),
    ),
)
