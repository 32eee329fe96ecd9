# SPDX-License-Identifier: Apache-2.0
"""Take the tokenizer from a folder that holds a model of Hugging Face: `--tokenizer-type PretrainedFromHF`.

Megatron builds it, as it builds its HuggingFaceTokenizer; only the name of the type and of the flag for the folder differ, as
scripts for NPUs have them. Nothing is fetched, and no code of the folder runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mindspeed.adaptor import Feature, Flag, Level, Patch

TYPE = "PretrainedFromHF"
MEGATRON_TYPE = "HuggingFaceTokenizer"


@contextmanager
def as_megatron_names_it(args: Any) -> Iterator[None]:
    """Megatron's arguments for the same tokenizer, those given by the user again afterwards."""
    changes = {"tokenizer_type": MEGATRON_TYPE, "tokenizer_model": args.tokenizer_name_or_path}
    if hasattr(args, "tokenizer_hf_use_fast"):  # from 0.16 on
        changes["tokenizer_hf_use_fast"] = not args.tokenizer_not_use_fast
    if hasattr(args, "tokenizer_hf_no_use_fast"):  # from 0.17 on
        changes["tokenizer_hf_no_use_fast"] = args.tokenizer_not_use_fast
    kept = {name: getattr(args, name, None) for name in changes}
    vars(args).update(changes)
    try:
        yield
    finally:
        vars(args).update(kept)


def building(build: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(build)
    def build_tokenizer(args: Any) -> Any:
        if args.tokenizer_type != TYPE:
            return build(args)
        with as_megatron_names_it(args):
            return build(args)

    return build_tokenizer


def is_chosen(args: Any) -> bool:
    return getattr(args, "tokenizer_type", None) == TYPE


def check(args: Any) -> Iterator[str]:
    folder = getattr(args, "tokenizer_name_or_path", None)
    if folder is None:
        yield f"--tokenizer-type {TYPE} needs the folder of the tokenizer: give --tokenizer-name-or-path DIR"
    elif not Path(folder).is_dir():
        yield f"--tokenizer-name-or-path {folder} is no folder; nothing is fetched: give one with tokenizer.json or tokenizer.model"
    if getattr(args, "vocab_extra_ids", 0):
        yield f"--vocab-extra-ids has no meaning for {TYPE}; add the tokens to the tokenizer's own files"
    if getattr(args, "trust_remote_code", False):
        yield f"--trust-remote-code would run code of the tokenizer's folder, which {TYPE} never does; leave it out"
    if getattr(args, "tokenizer_not_use_fast", False) and not hasattr(args, "tokenizer_hf_use_fast"):
        yield "--tokenizer-not-use-fast: this release of Megatron-LM has no such choice (0.16 and later have); leave it out"


FEATURE = Feature(
    name="pretrained-tokenizer",
    level=Level.COMPATIBILITY,
    flags=(
        Flag(
            "--tokenizer-type",
            "Kind of the tokenizer.",
            type=str,
            adds=(TYPE,),
            megatron=True,
            in_config=False,
        ),
        Flag(
            "--tokenizer-name-or-path",
            f"Folder of the tokenizer, for --tokenizer-type {TYPE}.",
            type=str,
            metavar="DIR",
            in_config=False,
        ),
        Flag("--tokenizer-not-use-fast", "Take the tokenizer that is written in Python.", in_config=False),
    ),
    switch=is_chosen,
    check=check,
    patches=(
        Patch(
            "megatron.training.global_vars:_build_tokenizer",
            building,
            wraps=True,
            requires="megatron.training",
        ),
    ),
)
