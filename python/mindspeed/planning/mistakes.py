# SPDX-License-Identifier: Apache-2.0
"""Mistakes that Megatron notices late, or never: each with what to do."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from mindspeed.planning.launch import Launch


def mistakes(launch: Launch, args: Namespace, devices: int | None) -> Iterator[str]:
    """`devices` of this machine; None if that is not known."""
    yield from _more_ranks_than_devices(launch, devices)
    yield from _missing_files(args)
    yield from _padding_is_end_of_text(args)


def _more_ranks_than_devices(launch: Launch, devices: int | None) -> Iterator[str]:
    if devices is not None and launch.per_node > devices:
        yield (
            f"--nproc-per-node {launch.per_node} on a machine with {devices} devices: each rank needs one of its own; "
            "start fewer ranks, or set MINDSPEED_NUM_DEVICES (virtual NPUs) or ASCEND_RT_VISIBLE_DEVICES"
        )


def _missing_files(args: Namespace) -> Iterator[str]:
    """Of a data set Megatron wants NAME.bin and NAME.idx; of a tokenizer its file."""
    for name in ("data_path", "train_data_path", "valid_data_path", "test_data_path"):
        for word in getattr(args, name, None) or ():
            prefix = str(word)
            if _is_number(prefix) or Path(f"{prefix}.idx").exists():
                continue
            yield f"--{name.replace('_', '-')} {prefix}: there is no {prefix}.idx; give the prefix without .bin or .idx"
    for name in ("vocab_file", "merge_file", "tokenizer_model"):
        path = getattr(args, name, None)
        if path and not Path(path).exists() and ("/" in path or name != "tokenizer_model"):
            yield f"--{name.replace('_', '-')} {path}: there is no such file"


def _is_number(text: str) -> bool:
    """Weights stand between the prefixes of a blend."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _padding_is_end_of_text(args: Namespace) -> Iterator[str]:
    """The loss of padded positions is masked; when they look like ends of text, so are those."""
    folder = getattr(args, "tokenizer_name_or_path", None) or getattr(args, "tokenizer_model", None)
    if not folder or not (Path(folder) / "tokenizer_config.json").is_file():
        return
    try:
        config = json.loads((Path(folder) / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        yield f"{folder}/tokenizer_config.json cannot be read: {error}"
        return
    padding, end = (_token(config.get(name)) for name in ("pad_token", "eos_token"))
    if padding is not None and padding == end:
        yield (
            f"the tokenizer in {folder} pads with its end of text ({end!r}): every end of text is masked as padding, and "
            "sequences of padding alone give NaN; give it a pad_token of its own in tokenizer_config.json"
        )


def _token(value: object) -> object:
    return value.get("content") if isinstance(value, dict) else value
