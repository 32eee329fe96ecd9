# SPDX-License-Identifier: Apache-2.0
"""The file of --fsdp2-config-path: what of PyTorch's fully_shard a run sets. Keys that nobody knows are errors."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

DTYPES = {
    "bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "bfloat16": torch.bfloat16,
    "float16": torch.float16, "float32": torch.float32,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """As the file has them; None is what Megatron and PyTorch do.

    Modules are named by their classes, "package.module.Class".
    """

    sharding_size: int | None = None
    sub_modules_to_wrap: tuple[str, ...] | None = None
    reshard_after_forward: bool | int = True
    param_dtype: str | None = None
    reduce_dtype: str | None = None
    output_dtype: str | None = None
    cast_forward_inputs: bool = True
    offload_to_cpu: bool = False
    pin_memory: bool = True
    num_to_forward_prefetch: int = 0
    ignored_modules: tuple[str, ...] | None = None
    recompute_modules: tuple[str, ...] | None = None


_LISTS = ("sub_modules_to_wrap", "ignored_modules", "recompute_modules")
_SWITCHES = ("cast_forward_inputs", "offload_to_cpu", "pin_memory")
_NUMBERS = ("sharding_size", "num_to_forward_prefetch")


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and "." in name for name in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _wrong_value(name: str, value: Any) -> str | None:
    """What is wanted instead."""
    if value is None:
        return None
    if name in _LISTS:
        return None if _is_names(value) else "a list of classes, package.module.Class"
    if name in _SWITCHES:
        return None if isinstance(value, bool) else "true or false"
    if name.endswith("_dtype"):
        return None if value in DTYPES else f"one of {', '.join(DTYPES)}"
    if name == "reshard_after_forward":
        is_fine = isinstance(value, bool) or (_is_number(value) and value > 1)
        return None if is_fine else "true, false or a number of ranks above 1"
    least = 1 if name == "sharding_size" else 0
    return None if _is_number(value) and value >= least else f"a number, {least} or more"


def load(path: str) -> Any:
    """A ValueError or OSError says why it cannot be read."""
    import yaml

    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def check(
    path: str, known: Sequence[str], wrong_value: Callable[[str, Any], str | None]
) -> tuple[dict[str, Any], list[str]]:
    """What a file sets, and a sentence for everything that is wrong with it. `wrong_value` tells what is wanted instead."""
    try:
        given = load(path)
    except (OSError, ValueError, ImportError) as error:
        return {}, [f"{path} cannot be read: {' '.join(str(error).split())}"]
    if not isinstance(given, dict):
        return {}, [f"{path} is no mapping of settings to values"]
    found = []
    for name, value in given.items():
        if name not in known:
            found.append(f"{path} sets {name}, which is no setting; there are {', '.join(known)}")
        elif (wanted := wrong_value(name, value)) is not None:
            found.append(f"{path}: {name} is {value!r}, wanted {wanted}")
    return given, found


def problems(path: str) -> Iterator[str]:
    given, found = check(path, [field.name for field in fields(Settings)], _wrong_value)
    yield from found
    if given.get("offload_to_cpu") is True:
        yield (
            f"{path}: offload_to_cpu puts parameters where Megatron's optimizer and HCCL do not find them; take it out, or give "
            "--optimizer-cpu-offload without --use-torch-fsdp2"
        )


@functools.cache
def read(path: str) -> Settings:
    values: dict[str, Any] = {}
    for name, value in load(path).items():
        if value is not None:
            values[name] = tuple(value) if name in _LISTS else value
    return Settings(**values)


def classes(names: tuple[str, ...]) -> tuple[type[torch.nn.Module], ...]:
    """An ImportError or AttributeError says which of them there is not."""
    found = []
    for name in names:
        module, _, attribute = name.rpartition(".")
        found.append(getattr(importlib.import_module(module), attribute))
    return tuple(found)
