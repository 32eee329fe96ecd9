# SPDX-License-Identifier: Apache-2.0
"""A second model of the same sizes, from a checkpoint of its own: without gradients, optimizer and random numbers."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch

FLAG = "--qad-teacher-load"
_LOAD = FLAG.lstrip("-").replace("-", "_")
# What a checkpoint must have like the arguments; weights would not fit, or mean something else.
_ALIKE = (
    "num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads", "normalization",
    "position_embedding_type", "untie_embeddings_and_output_weights", "swiglu", "add_bias_linear", "multi_latent_attention",
)  # fmt: skip
# How Megatron's load_checkpoint is to read it: the weights alone, whatever the training has read before.
_LOADING = {
    "finetune": True, "no_load_optim": True, "no_load_rng": True, "pretrained_checkpoint": None, "ckpt_step": None,
    "exit_on_missing_checkpoint": False, "auto_detect_ckpt_format": True, "consumed_train_samples": 0,
    "skipped_train_samples": 0, "consumed_valid_samples": 0, "non_persistent_global_ckpt_dir": None,
    "non_persistent_ckpt_type": None,
}  # fmt: skip


def build(provider: Any, model_type: Any) -> torch.nn.Module:
    """The model of the program's own function for it, with the checkpoint's weights; [GPTModel] without its wrappers.

    Raises RuntimeError if the checkpoint cannot be read or is one of another model.
    """
    from megatron.training import get_args, training
    from megatron.training.utils import unwrap_model

    args = get_args()
    _refuse_other_sizes(args)
    with _random_numbers_untouched(), _arguments(args), _rerun_state_untouched():
        models = training.get_model(provider, model_type, wrap_with_ddp=False)
        _load(models, getattr(args, _LOAD))
    model: torch.nn.Module = unwrap_model(models)[0]
    return model.requires_grad_(False).eval()


def _load(models: list[torch.nn.Module], folder: str) -> None:
    from megatron.training.checkpointing import load_checkpoint

    try:
        load_checkpoint(models, None, None, load_arg=_LOAD)
    except (Exception, SystemExit) as error:  # Megatron ends the program where a file cannot be read
        raise RuntimeError(
            f"{FLAG} {folder}: its weights do not go into this model ({error}); give the checkpoint of a training of the "
            "same model"
        ) from error


def _refuse_other_sizes(args: Any) -> None:
    from megatron.training.checkpointing import load_args_from_checkpoint

    folder = getattr(args, _LOAD)
    with _arguments(args):  # a copy is changed by what is read
        read = load_args_from_checkpoint(copy.copy(args), load_arg=_LOAD)
    if not isinstance(read, tuple):
        raise RuntimeError(
            f"{FLAG} {folder}: the checkpoint has no arguments, by which it would be known to be of this model; give one "
            "that Megatron has saved"
        )
    for sentence in other_sizes(args, read[1]):
        raise RuntimeError(f"{FLAG} {folder}: {sentence}")


def other_sizes(args: Any, saved: Any) -> Iterator[str]:
    """What makes a checkpoint with the arguments `saved` one that the model of `args` cannot be taught by."""
    for name in _ALIKE:
        wanted, found = getattr(args, name, None), getattr(saved, name, None)
        if hasattr(saved, name) and hasattr(args, name) and wanted != found:
            yield (
                f"the teacher has {name} {found}, this model {wanted}; give the checkpoint of a training of the same model, "
                "or the arguments of that training"
            )
    words: list[Any] = [getattr(each, "padded_vocab_size", None) for each in (args, saved)]
    # Each is padded for its tensor-parallel ranks.
    padding = max(
        (getattr(each, "make_vocab_size_divisible_by", 1) or 1) * _ranks(each) for each in (args, saved)
    )
    if None not in words and abs(words[0] - words[1]) >= padding:
        yield (
            f"the teacher has a vocabulary of {words[1]} words, this model of {words[0]}; both must have one tokenizer"
        )
    if getattr(saved, "ckpt_format", "torch") == "torch" and _ranks(saved) != _ranks(args):
        yield (
            f"it was saved by {_ranks(saved)} tensor-parallel ranks in format torch, and here are {_ranks(args)}; save the "
            "teacher with --ckpt-format torch_dist, or train with as many ranks"
        )


def _ranks(args: Any) -> int:
    return getattr(args, "tensor_model_parallel_size", 1) or 1


@contextlib.contextmanager
def _arguments(args: Any) -> Iterator[None]:
    before = dict(vars(args))
    vars(args).update({name: value for name, value in _LOADING.items() if name in before})
    try:
        yield
    finally:
        vars(args).clear()
        vars(args).update(before)


@contextlib.contextmanager
def _random_numbers_untouched() -> Iterator[None]:
    """The student draws what it would draw without a teacher."""
    from megatron.core.tensor_parallel import get_cuda_rng_tracker

    tracker = get_cuda_rng_tracker()
    states = tracker.get_states()
    try:
        with torch.random.fork_rng(devices=[torch.npu.current_device()], device_type="npu"):
            yield
    finally:
        tracker.set_states(states)


@contextlib.contextmanager
def _rerun_state_untouched() -> Iterator[None]:
    """Of the student's checkpoint, which the teacher's would overwrite."""
    from megatron.core.rerun_state_machine import get_rerun_state_machine

    machine = get_rerun_state_machine()
    before = dict(vars(machine))
    try:
        yield
    finally:
        vars(machine).update(before)
