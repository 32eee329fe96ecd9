# SPDX-License-Identifier: Apache-2.0
"""The model with averages in place of its parameters, beside the model in the file of --ckpt-format torch.

The entry is called "ema_model", or "ema_model0" and so on for the chunks of an interleaved pipeline, like Megatron's "model".
The averages are put into the model's parameters, gathered from the ranks that share them, copied to the host, and the
parameters put back, bit for bit: nothing but a copy on the host is needed for it.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from mindspeed.adaptor import Patch
from mindspeed.adaptor.session import current_arguments
from mindspeed.features.optimizer import _further_state

_entries: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("averages", default=None)


def patches(key: str) -> tuple[Patch, ...]:
    module = "megatron.training.checkpointing"
    return (
        Patch(
            f"{module}:save_checkpoint", functools.partial(_saving, key=key), wraps=True,
            requires="megatron.training",
        ),
        Patch(f"{module}:generate_state_dict", _with_averages, wraps=True, requires="megatron.training"),
    )  # fmt: skip


def _saving(save: Callable[..., None], *, key: str) -> Callable[..., None]:
    @functools.wraps(save)
    def save_checkpoint(iteration: int, model: Any, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        entries = None
        if getattr(current_arguments(), "ckpt_format", "torch") == "torch" and optimizer is not None:
            with torch.no_grad(), averages_in(model, optimizer, key):
                entries = _copies(model) if _writes() else None
        token = _entries.set(entries)
        try:
            save(iteration, model, optimizer, *args, **kwargs)
        finally:
            _entries.reset(token)

    return save_checkpoint


def _with_averages(generate: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    @functools.wraps(generate)
    def generate_state_dict(*args: Any, **kwargs: Any) -> dict[str, Any]:
        return generate(*args, **kwargs) | (_entries.get() or {})

    return generate_state_dict


def _writes() -> bool:
    """Whether this is a rank that has a file of its own to write: the first of those that share its part of the model."""
    from megatron.core import parallel_state

    return bool(parallel_state.get_expert_data_parallel_rank() == 0)


def _copies(model: Sequence[Any]) -> dict[str, Any]:
    from megatron.core import parallel_state

    found = {}
    for index, chunk in enumerate(model):
        if len(model) > 1:  # the numbers of a chunk's layers depend on it
            parallel_state.set_virtual_pipeline_model_parallel_rank(index)
        state = chunk.state_dict_for_save_checkpoint()
        found[f"ema_model{index}" if len(model) > 1 else "ema_model"] = _on_host(state)
    return found


def _on_host(state: Any) -> Any:
    if isinstance(state, torch.Tensor):
        return state.detach().cpu().clone()
    return {name: _on_host(value) for name, value in state.items()} if isinstance(state, dict) else state


@contextlib.contextmanager
def averages_in(model: Sequence[Any], optimizer: Any, key: str) -> Iterator[None]:
    """The model's parameters are their averages meanwhile."""
    parameters = [parameter for chunk in model for parameter in chunk.parameters()]
    kept = [parameter.detach().cpu().clone() for parameter in parameters]
    try:
        for one in getattr(optimizer, "chained_optimizers", [optimizer]):
            if not getattr(one, "is_stub_optimizer", False):
                for place, average in _averages(one, key):
                    place.copy_(average)
        for chunk in model:
            config = getattr(chunk, "ddp_config", None)
            if getattr(config, "use_distributed_optimizer", False):
                chunk.start_param_sync(force_sync=True)
        yield
    finally:
        for parameter, values in zip(parameters, kept, strict=True):
            parameter.data.copy_(values)


def _averages(optimizer: Any, key: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(where in the model, the average), of this rank's parts. Parameters that were never updated are what they are."""
    states = optimizer.optimizer.state
    if hasattr(optimizer, "gbuf_ranges"):
        for parameter, ranges in _further_state.shards(optimizer):
            state = states[_further_state.main_parameter(optimizer, parameter)]
            if key in state:
                cut = ranges["param"]
                yield parameter.data.view(-1)[cut.start : cut.end], state[key].view(-1)
        return
    model_of = {
        id(main): parameter
        for mains, parameters in zip(
            getattr(optimizer, "fp32_from_float16_groups", ()), getattr(optimizer, "float16_groups", ()), strict=True
        )
        for main, parameter in zip(mains, parameters, strict=True)
    }  # fmt: skip
    for group in optimizer.optimizer.param_groups:
        for main in group["params"]:
            if key in states[main]:
                yield model_of.get(id(main), main).data, states[main][key]
