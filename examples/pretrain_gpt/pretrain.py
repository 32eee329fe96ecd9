# SPDX-License-Identifier: Apache-2.0
"""Train a GPT of megatron-core on virtual NPUs: `make pretrain`, or `python examples/pretrain_gpt/pretrain.py --help`.

With --npus above 1 this process starts the ranks with torchrun and lets the checkpoint write when they are done; a
rank is this same program, started by torchrun.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import launch
import ready
from errors import SharedError, UserError
from layout import layout_of
from mindspeed import options as variables
from options import parse


def _quieten() -> None:
    """Frameworks warn about their own deprecated calls and absent CUDA packages: nothing a user can act on."""
    for module in ("megatron", "torch", "torch_npu"):
        for category in (UserWarning, FutureWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", category=category, module=rf"{module}\b")


def _train(options: argparse.Namespace) -> None:
    """The part of one rank."""
    import torch

    # isort: split
    import checkpoint
    import corpus
    import dataset
    import history
    import model
    import training
    from files import remove_leftovers
    from ranks import is_first, on_first, say

    _quieten()  # again: the imports have put their own filters in front
    layout = layout_of(options)
    if is_first():
        ready.check_folder(options.out)
    device = model.initialize(options.seed, layout)
    counts = on_first(lambda: corpus.prepare(options.data, options.out, options.held_out, options.seq))
    say(
        f"Text: {counts['files']} files ({counts['not_text']} not text), {counts['train_bytes'] / 1e6:.1f} MB to train on, "
        f"{counts['valid_bytes'] / 1e6:.2f} MB held out"
    )
    say(f"Layout: {layout}; micro-batches of {options.micro_batch}")
    on_first(lambda: dataset.forget_index(options.out))
    train, valid = dataset.build(
        options.out,
        options.seq,
        options.seed,
        options.iters * options.global_batch,
        options.eval_batches * options.global_batch,
    )
    job = model.build(options)
    size = model.count_parameters(job)
    experts = f"{options.experts} experts, " if options.experts else ""
    say(
        f"Model: {options.layers} layers, hidden {options.hidden}, {experts}{size / 1e6:.1f} M parameters, {options.dtype}, "
        f"on {torch.npu.get_device_name(device)}"
    )
    on_first(lambda: remove_leftovers(options.out / "checkpoints"))
    first = checkpoint.load(job, options.out, options)
    if first:
        say(f"Resuming from {checkpoint.folder_of(options.out, first)}")
        newer = checkpoint.newer_than(options.out, first)
        if newer:
            say(f"Newer checkpoints stay until this run saves the same numbers: {', '.join(map(str, newer))}")
    if first < options.iters:
        on_first(lambda: ready.check_space(size, options))
    record = history.History(options.out / "history.jsonl", first, is_writer=is_first())
    started = time.monotonic()
    iteration = first
    if first < options.iters:
        iteration = training.Trainer(job, options, device, record, first).run(first, train, valid)
    else:
        say(f"Already trained to iteration {first}; a larger --iters (ITERS=) than {options.iters} goes on.")
    if is_first():
        title = f"GPT, {size / 1e6:.1f} M parameters, {options.dtype}, {layout}"
        history.plot(record, options.out / "loss.png", title)
    say(
        f"\nTrained to iteration {iteration} in {time.monotonic() - started:.0f} s; "
        f"held-out loss {record.last('valid_loss'):.3f} nats per byte."
    )


def _finish(options: argparse.Namespace) -> None:
    """Let the checkpoint write, on one rank, and say where everything is."""
    import checkpoint
    import model
    import sample
    import torch
    from files import write_atomically
    from layout import Layout

    _quieten()
    if options.sample_bytes > 0:
        if not torch.distributed.is_initialized():
            model.initialize(options.seed, Layout())
        text, source = sample.write(options, options.out, torch.device("npu", torch.npu.current_device()))
        write_atomically(options.out / "sample.txt", text)
        print(f"\nThe checkpoint of iteration {source} writes:\n{'-' * 80}\n{text}\n{'-' * 80}")
    for label, path in (
        ("checkpoint", options.out / "checkpoints"),
        ("loss curve", options.out / "loss.png"),
        ("numbers", options.out / "history.jsonl"),
        ("sample", options.out / "sample.txt"),
    ):
        print(f"  {label:<11}{path}")
    iteration = checkpoint.latest_iteration(options.out)
    print(
        f"Next: go on with `make pretrain ITERS={2 * max(iteration, 1)}`, or train on your own text with "
        "`make pretrain DATA=path OUT=runs/mine`."
    )


def _run(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    _quieten()
    if os.environ.get("RANK", "0") == "0":
        ready.check_packages()
    # Before Megatron, which the other modules import.
    import mindspeed.megatron_adaptor  # noqa: F401

    # isort: split
    from ranks import is_worker, leave_nothing_behind

    leave_nothing_behind()
    if is_worker():
        _train(options)
        return 0
    if options.npus > 1:
        launch.check_devices(options.npus)
        ready.check_folder(options.out)
        code = launch.run(options, Path(__file__), arguments)
        if code != 0:
            return code
    else:
        _train(options)
    _finish(options)
    return 0


def _complain(error: UserError) -> None:
    """On all ranks alike: once."""
    rank = os.environ.get("RANK", "0")
    if isinstance(error, SharedError) and rank != "0":
        return
    where = f" (rank {rank})" if rank != "0" else ""
    print(f"pretrain: error{where}: {error}", file=sys.stderr)


def _check_variables() -> None:
    """Those that this job reads, before anything trusts them."""
    for variable in variables.table():
        problem = variable.problem(os.environ) if "the examples" in variable.readers else None
        if problem:
            raise UserError(problem)


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if "LOCAL_RANK" in os.environ:
        # torchrun passes Ctrl-C on. A rank ends at once: nothing on disk is ever half written.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        _check_variables()
        return _run(parse(arguments), arguments)
    except UserError as error:
        launch.write_down(error)
        _complain(error)
        return 2
    except OSError as error:  # the disk's answer to a file of the run; others are ours
        launch.write_down(error)
        if not error.filename:
            raise
        _complain(UserError(f"{error.filename}: {error.strerror}"))
        return 1
    except Exception as error:
        launch.write_down(error)
        raise
    except KeyboardInterrupt:
        print("\npretrain: interrupted; run it again to go on from the last checkpoint", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
