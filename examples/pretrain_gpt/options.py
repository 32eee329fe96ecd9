# SPDX-License-Identifier: Apache-2.0
"""Options of the job, with checks that name the option, the value and what is possible."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from errors import UserError

DTYPES = ("bf16", "fp16", "fp32")

DESCRIPTION = """Train a byte-level GPT of megatron-core on virtual NPU 0, then plot its losses and let it write.
Run again with the same --out to go on from the last checkpoint."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pretrain.py", description=DESCRIPTION, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data",
        type=Path,
        nargs="*",
        default=[],
        metavar="PATH",
        help="text files or folders; none: the Python sources of the standard library",
    )
    data.add_argument(
        "--held-out", type=float, default=0.05, metavar="SHARE", help="share of the text kept for validation"
    )
    data.add_argument(
        "--out",
        type=Path,
        default=Path("runs/pretrain_gpt"),
        metavar="DIR",
        help="where data, checkpoints, curve and sample go",
    )

    model = parser.add_argument_group("model")
    model.add_argument("--layers", type=int, default=4)
    model.add_argument("--hidden", type=int, default=256, help="width of a layer")
    model.add_argument("--heads", type=int, default=4, help="attention heads; they divide --hidden")
    model.add_argument("--seq", type=int, default=256, help="bytes in a sample")
    model.add_argument("--dropout", type=float, default=0.0)

    training = parser.add_argument_group("training")
    training.add_argument("--iters", type=int, default=400, help="optimizer steps in total, over all runs")
    training.add_argument(
        "--minutes", type=float, default=4.5, help="stop and save after this time of training"
    )
    training.add_argument("--dtype", choices=DTYPES, default="bf16", help="fp16 uses dynamic loss scaling")
    training.add_argument("--micro-batch", type=int, default=8, help="samples in one forward pass")
    training.add_argument(
        "--global-batch", type=int, default=8, help="samples in one step; a multiple of --micro-batch"
    )
    training.add_argument("--lr", type=float, default=1e-3, help="highest learning rate")
    training.add_argument("--warmup", type=int, default=20, help="steps until the highest learning rate")
    training.add_argument("--weight-decay", type=float, default=0.1)
    training.add_argument("--clip-grad", type=float, default=1.0)
    training.add_argument("--seed", type=int, default=1234)
    training.add_argument(
        "--eval-interval", type=int, default=50, help="steps between looks at the held-out text"
    )
    training.add_argument(
        "--eval-batches", type=int, default=16, help="micro-batches of held-out text in a look"
    )
    training.add_argument(
        "--save-interval", type=int, default=200, help="steps between checkpoints; the last step saves too"
    )

    sample = parser.add_argument_group("sample")
    sample.add_argument("--prompt", default="def ", help="what the text written at the end starts with")
    sample.add_argument("--sample-bytes", type=int, default=300, help="how much to write; 0 for nothing")
    sample.add_argument("--temperature", type=float, default=0.7, help="0 takes the likeliest byte always")
    return parser


def _require(condition: bool, option: str, value: object, wanted: str) -> None:
    if not condition:
        raise UserError(f"--{option} is {value}, wanted {wanted}")


def check(options: argparse.Namespace) -> None:
    """Raise UserError for values that cannot work, before any time is spent."""
    positive = (
        "layers",
        "hidden",
        "heads",
        "seq",
        "iters",
        "micro-batch",
        "global-batch",
        "eval-interval",
        "eval-batches",
        "save-interval",
    )
    for name in positive:
        value = getattr(options, name.replace("-", "_"))
        _require(value > 0, name, value, "a positive number")
    for name in ("warmup", "sample-bytes", "weight-decay", "clip-grad", "temperature", "seed"):
        value = getattr(options, name.replace("-", "_"))
        _require(value >= 0, name, value, "0 or more")
    _require(
        options.hidden % options.heads == 0,
        "hidden",
        options.hidden,
        f"a multiple of --heads ({options.heads})",
    )
    # Rotary position embedding turns pairs of numbers of a head.
    _require(
        options.hidden // options.heads % 2 == 0,
        "hidden",
        options.hidden,
        f"an even number per head, not {options.hidden // options.heads}",
    )
    _require(
        options.global_batch % options.micro_batch == 0,
        "global-batch",
        options.global_batch,
        f"a multiple of --micro-batch ({options.micro_batch})",
    )
    _require(options.lr > 0, "lr", options.lr, "more than 0")
    _require(options.minutes > 0, "minutes", options.minutes, "more than 0")
    _require(0 <= options.dropout < 1, "dropout", options.dropout, "at least 0 and below 1")
    _require(0 < options.held_out < 1, "held-out", options.held_out, "more than 0 and less than 1")
    _require(bool(options.prompt), "prompt", repr(options.prompt), "at least one character")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    options = _parser().parse_args(arguments)
    check(options)
    return options
