# SPDX-License-Identifier: Apache-2.0
"""The file of --layerzero-config, in the words of the original, as settings of PyTorch's fully_shard."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from mindspeed.features.fsdp._settings import Settings, check, load

DTYPES = ("fp16", "bf16", "fp32")
# What the original takes besides, and the only value that fully_shard has an equivalent of.
ONLY: dict[str, Any] = {
    "backward_prefetch": "BACKWARD_PRE",
    "backward_reduce_scatter": "BACKWARD_PRE",
    "limit_all_gathers": True,
    "buffer_dtype": None,
    "param_init_fn": None,
    "offload_grads": False,
    "autocast_output": True,
}
KEYS = (
    "zero3_size", "transformer_layers", "param_dtype", "reduce_dtype", "ignored_modules", "forward_prefetch",
    "ckpt_load_path", "autocast_input", *ONLY,
)  # fmt: skip
ZERO3_SIZE = 8
AHEAD = 1  # units that forward_prefetch gathers while one computes


def _wrong_value(name: str, value: Any) -> str | None:
    """What is wanted instead; None is what a file without the key means."""
    if name == "zero3_size":
        is_fine = isinstance(value, int) and not isinstance(value, bool) and value > 0
        return None if is_fine else "a number of ranks, 1 or more"
    if value is None:
        return None
    if name in ONLY:
        return None if value == ONLY[name] else f"{ONLY[name]!r}, which is all that there is"
    if name in ("transformer_layers", "ignored_modules"):
        is_names = isinstance(value, list) and all(isinstance(each, str) for each in value)
        if name == "transformer_layers":
            is_names = is_names and all("." in each for each in value)
            return None if is_names else "a list of classes, package.module.Class"
        return None if is_names else "a list of attributes of the model"
    if name.endswith("_dtype"):
        return None if value in DTYPES else f"one of {', '.join(DTYPES)}"
    if name == "ckpt_load_path":
        return None if isinstance(value, str) and value.startswith("/") else "an absolute path"
    return None if isinstance(value, bool) else "true or false"


def problems(path: str) -> Iterator[str]:
    yield from check(path, KEYS, _wrong_value)[1]


@functools.cache
def given(path: str) -> dict[str, Any]:
    found: dict[str, Any] = load(path)
    return found


def settings(path: str, tensor_ranks: int, data_ranks: int) -> Settings:
    """zero3_size counts neighbours, and ranks of one product hold different parameters anyway."""
    file = given(path)
    layers = file.get("transformer_layers")
    return Settings(
        sharding_size=min(max(file.get("zero3_size", ZERO3_SIZE) // tensor_ranks, 1), data_ranks),
        sub_modules_to_wrap=None if not layers else tuple(layers),
        param_dtype=file.get("param_dtype"),
        reduce_dtype=file.get("reduce_dtype"),
        cast_forward_inputs=file.get("autocast_input", True) is not False,
        num_to_forward_prefetch=0 if file.get("forward_prefetch") is False else AHEAD,
    )
