# SPDX-License-Identifier: Apache-2.0
"""What a rank needs to go on behind a step, as one row of bytes: written, and read into a model that was just built.

Of parameters only those that the optimizer updates: of a distributed optimizer this rank's share. What it updates is copied
into the model afterwards, as by a step. Besides: the optimizer's averages, parameters that are not trained, buffers, numbers of
generators, groups of the optimizer and whatever the trainer counts.

    8 bytes: where the tensors end; 8 bytes: length of the description; tensors, each from a multiple of 64 on; description
"""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

_ALIGNED, _BEGIN = 64, struct.Struct("<QQ")
Key = tuple[
    str | int, ...
]  # ("main", optimizer, group, number), ("state", ..., name), ("model", chunk, name)


def _inner(optimizer: Any) -> Iterator[Any]:
    """Megatron's optimizers that have one of PyTorch's and parameters."""
    for one in getattr(optimizer, "chained_optimizers", [optimizer]):
        if one is not optimizer and hasattr(one, "chained_optimizers"):
            yield from _inner(one)
        elif one is not None and not getattr(one, "is_stub_optimizer", False):
            yield one


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def generators() -> dict[str, Any]:
    """Of all generators of random numbers that Megatron uses."""
    from megatron.core import tensor_parallel

    kind, words, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(words).astype(np.int64)), *rest),
        "host": torch.get_rng_state(),
        "device": torch.npu.get_rng_state(),
        "named": dict(tensor_parallel.get_cuda_rng_tracker().get_states()),
    }


def set_generators(states: dict[str, Any]) -> None:
    from megatron.core import tensor_parallel

    kind, words, *rest = states["numpy"]
    random.setstate(states["python"])
    np.random.set_state((kind, words.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["host"])
    torch.npu.set_rng_state(states["device"])
    tensor_parallel.get_cuda_rng_tracker().set_states(states["named"])


@dataclass(frozen=True, slots=True)
class Image:
    """Tensors with their places, and all the rest as bytes."""

    places: list[tuple[torch.Tensor, int]]
    end: int  # of the tensors
    description: bytes

    @property
    def size(self) -> int:
        return self.end + len(self.description)

    def write(self, data: torch.Tensor) -> None:
        """Into [size or more] uint8 of the host."""
        memory = data.numpy()
        _BEGIN.pack_into(memory, 0, self.end, len(self.description))
        for tensor, place in self.places:
            there = data[place : place + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
            there.copy_(tensor)
        memory[self.end : self.size] = np.frombuffer(self.description, dtype=np.uint8)


class Training:
    """`model`: Megatron's list of chunks."""

    def __init__(self, model: Sequence[Any], optimizer: Any) -> None:
        self._model, self._optimizer = model, optimizer
        self._inner = list(_inner(optimizer))

    def _mains(self) -> Iterator[tuple[tuple[int, int, int], Any, torch.Tensor]]:
        """(number of the optimizer, the group and the parameter; PyTorch's optimizer; the parameter)."""
        for number, one in enumerate(self._inner):
            for g, group in enumerate(one.optimizer.param_groups):
                for p, parameter in enumerate(group["params"]):
                    yield (number, g, p), one.optimizer, parameter

    def _fixed(self) -> Iterator[tuple[Key, torch.Tensor]]:
        """What is there as soon as the model is built."""
        for at, _, parameter in self._mains():
            yield ("main", *at), parameter.data
        for c, chunk in enumerate(self._model):
            for name, buffer in chunk.named_buffers():
                yield ("model", c, name), buffer
            for name, parameter in chunk.named_parameters():
                if not parameter.requires_grad:
                    yield ("model", c, name), parameter.data

    def _states(self) -> Iterator[tuple[Key, Any]]:
        for at, optimizer, parameter in self._mains():
            if parameter in optimizer.state:
                for name, value in optimizer.state[parameter].items():
                    yield ("state", *at, name), value

    def image(self, layout: dict[str, Any], counted: dict[str, Any]) -> Image:
        """`counted`: plain values of the trainer. TypeError for a state that cannot be copied."""
        table: list[tuple[Any, ...]] = []
        places: list[tuple[torch.Tensor, int]] = []
        plain: list[tuple[Key, Any]] = []
        end = _ALIGNED
        for key, value in (*self._fixed(), *self._states()):
            if isinstance(value, torch.Tensor):
                table.append((key, str(value.dtype), list(value.shape), value.is_cpu, end))
                places.append((value.detach(), end))
                end += -(-value.nbytes // _ALIGNED) * _ALIGNED
            elif _is_plain(value):
                plain.append((key, value))
            else:
                raise TypeError(
                    f"fault recovery cannot copy the optimizer's state {key[-1]!r}, a {type(value).__name__}"
                )
        told = {
            "layout": layout, "table": table, "plain": plain, "groups": self._groups(), "scalers": self._scalers(),
            "generators": generators(), "counted": counted,
        }  # fmt: skip
        file = io.BytesIO()
        torch.save(told, file)
        return Image(places, end, file.getvalue())

    def _groups(self) -> list[list[dict[str, Any]]]:
        return [
            [{k: v for k, v in group.items() if k != "params" and (_is_plain(v) or isinstance(v, torch.Tensor))}
             for group in one.optimizer.param_groups]
            for one in self._inner
        ]  # fmt: skip

    def _scalers(self) -> list[Any]:
        """Of loss scales that are found while training, one for each optimizer."""
        scalers = [getattr(one, "grad_scaler", None) for one in self._inner]
        return [scaler.state_dict() if scaler is not None else None for scaler in scalers]

    @torch.no_grad()
    def restore(self, data: torch.Tensor, told: dict[str, Any]) -> None:
        """`data`: the bytes of an image, `told`: their description. RuntimeError if it is of another model."""
        fixed = dict(self._fixed())
        kept = {tuple(key): row for key, *row in told["table"]}
        wanted = {key: (str(value.dtype), list(value.shape)) for key, value in fixed.items()}
        there = {key: (row[0], row[1]) for key, row in kept.items() if key[0] != "state"}
        if there != wanted:
            differing = next(key for key in (*wanted, *there) if there.get(key) != wanted.get(key))
            raise RuntimeError(
                f"fault recovery: the copy has {there.get(differing, 'nothing')} for {differing}, and the model {wanted.get(differing, 'nothing')}: "
                "the program builds another model than it did before; start it anew, or let it read a checkpoint"
            )
        parameters: dict[Key, tuple[Any, Any]] = {
            at: (optimizer, parameter) for at, optimizer, parameter in self._mains()
        }
        for key, (dtype, shape, on_host, place) in kept.items():
            count = torch.Size(shape).numel()
            kind = getattr(torch, dtype.removeprefix("torch."))
            source = data[place : place + count * kind.itemsize].view(kind).view(shape)
            if key[0] != "state":
                fixed[key].copy_(source)
                continue
            optimizer, parameter = parameters[key[1:4]]
            device = torch.device("cpu") if on_host else parameter.device
            optimizer.state[parameter][key[4]] = torch.empty_like(source, device=device).copy_(source)
        for key, value in told["plain"]:
            optimizer, parameter = parameters[tuple(key[1:4])]
            optimizer.state[parameter][key[4]] = value
        self._set_groups(told)
        self._fill_model()

    def _set_groups(self, told: dict[str, Any]) -> None:
        for one, groups, scaler in zip(self._inner, told["groups"], told["scalers"], strict=True):
            for group, values in zip(one.optimizer.param_groups, groups, strict=True):
                for name, value in values.items():
                    here = group.get(name)
                    group[name] = value.to(here.device) if isinstance(here, torch.Tensor) else value
            if scaler is not None:
                one.grad_scaler.load_state_dict(scaler)

    def _fill_model(self) -> None:
        """As behind a step: from main parameters into the model's, and to ranks that have other shares."""
        for one in self._inner:
            if hasattr(one, "_copy_main_params_to_model_params"):
                one._copy_main_params_to_model_params()
        for chunk in self._model:
            if getattr(getattr(chunk, "ddp_config", None), "use_distributed_optimizer", False):
                chunk.start_param_sync(force_sync=True)


def described(data: torch.Tensor) -> dict[str, Any]:
    """The description in an image's bytes; tensors on the host. Reads no code (weights_only)."""
    end, length = _BEGIN.unpack_from(data.numpy(), 0)
    told: dict[str, Any] = torch.load(
        io.BytesIO(data[end : end + length].numpy().tobytes()), map_location="cpu", weights_only=True
    )
    return told
