# SPDX-License-Identifier: Apache-2.0
"""Options of the job, with checks that name the option, the value and what is possible."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import layout
from errors import require

DTYPES = ("bf16", "fp16", "fp32")

DESCRIPTION = """Train a byte-level GPT of megatron-core on virtual NPUs, then plot its losses and let it write.
Run again with the same --out to go on from the last checkpoint, in any layout."""


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
    model.add_argument(
        "--experts", type=int, default=0, help="experts of a layer (mixture of experts); 0: a dense model"
    )
    model.add_argument("--topk", type=int, default=2, help="experts that a token goes to")

    ranks = parser.add_argument_group("layout (see docs/parallelism.md)")
    ranks.add_argument(
        "--npus", type=int, default=int(os.environ.get("WORLD_SIZE", "1")), help="ranks, one per NPU"
    )
    ranks.add_argument("--tp", type=int, default=1, help="tensor parallel size")
    ranks.add_argument("--sp", action="store_true", help="sequence parallel, along with --tp")
    ranks.add_argument("--pp", type=int, default=1, help="stages of the pipeline")
    ranks.add_argument(
        "--vp", type=int, default=1, help="pieces of the model in a stage (interleaved pipeline)"
    )
    ranks.add_argument("--cp", type=int, default=1, help="context parallel size: parts of a sequence")
    ranks.add_argument(
        "--ep", type=int, default=1, help="expert parallel size; what --experts are spread over"
    )
    ranks.add_argument(
        "--overlap", action="store_true", help="reduce gradients and gather parameters while computing"
    )

    training = parser.add_argument_group("training")
    training.add_argument("--iters", type=int, default=400, help="optimizer steps in total, over all runs")
    training.add_argument(
        "--minutes", type=float, default=4.5, help="stop and save after this time of training"
    )
    training.add_argument("--dtype", choices=DTYPES, default="bf16", help="fp16 uses dynamic loss scaling")
    training.add_argument(
        "--micro-batch",
        type=int,
        help=f"samples in one forward pass (default: up to {layout.MICRO_BATCH}, so that they divide among ranks)",
    )
    training.add_argument("--global-batch", type=int, default=8, help="samples in one step, over all ranks")
    training.add_argument("--lr", type=float, default=1e-3, help="highest learning rate")
    training.add_argument("--warmup", type=int, default=20, help="steps until the highest learning rate")
    training.add_argument("--weight-decay", type=float, default=0.1)
    training.add_argument("--clip-grad", type=float, default=1.0)
    training.add_argument("--seed", type=int, default=1234)
    training.add_argument(
        "--eval-interval", type=int, default=50, help="steps between looks at the held-out text"
    )
    training.add_argument(
        "--eval-batches", type=int, default=16, help="global batches of held-out text in a look"
    )
    training.add_argument(
        "--save-interval", type=int, default=200, help="steps between checkpoints; the last step saves too"
    )

    sample = parser.add_argument_group("sample")
    sample.add_argument("--prompt", default="def ", help="what the text written at the end starts with")
    sample.add_argument("--sample-bytes", type=int, default=300, help="how much to write; 0 for nothing")
    sample.add_argument("--temperature", type=float, default=0.7, help="0 takes the likeliest byte always")
    return parser


def _is_text(prompt: str) -> bool:
    """An argument that is no UTF-8 comes with surrogates, which no tokenizer takes."""
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def check(options: argparse.Namespace) -> None:
    """Raise UserError for values that cannot work, before any time is spent."""
    positive = (
        "layers",
        "hidden",
        "heads",
        "seq",
        "iters",
        "global-batch",
        "npus",
        "tp",
        "pp",
        "vp",
        "cp",
        "ep",
        "topk",
        "eval-interval",
        "eval-batches",
        "save-interval",
    )
    for name in positive:
        value = getattr(options, name.replace("-", "_"))
        require(value > 0, name, value, "a positive number")
    require(
        options.micro_batch is None or options.micro_batch > 0,
        "micro-batch",
        options.micro_batch,
        "a positive number",
    )
    for name in ("experts", "warmup", "sample-bytes", "weight-decay", "clip-grad", "temperature", "seed"):
        value = getattr(options, name.replace("-", "_"))
        require(value >= 0, name, value, "0 or more")
    require(
        options.hidden % options.heads == 0,
        "hidden",
        options.hidden,
        f"a multiple of --heads ({options.heads})",
    )
    # Rotary position embedding turns pairs of numbers of a head.
    require(
        options.hidden // options.heads % 2 == 0,
        "hidden",
        options.hidden,
        f"an even number per head, not {options.hidden // options.heads}",
    )
    require(options.lr > 0, "lr", options.lr, "more than 0")
    require(options.minutes > 0, "minutes", options.minutes, "more than 0")
    require(0 <= options.dropout < 1, "dropout", options.dropout, "at least 0 and below 1")
    require(0 < options.held_out < 1, "held-out", options.held_out, "more than 0 and less than 1")
    require(bool(options.prompt), "prompt", repr(options.prompt), "at least one character")
    require(_is_text(options.prompt), "prompt", repr(options.prompt), "text in UTF-8")
    layout.check(options)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    options = _parser().parse_args(arguments)
    check(options)
    return options
