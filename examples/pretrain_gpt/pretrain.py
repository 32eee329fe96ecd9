# SPDX-License-Identifier: Apache-2.0
"""Train a GPT of megatron-core on a virtual NPU: `make pretrain`, or `python examples/pretrain_gpt/pretrain.py --help`."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Sequence

from errors import UserError
from options import parse


def _report(options: argparse.Namespace, iteration: int, seconds: float, valid_loss: float) -> None:
    out = options.out
    print(
        f"\nTrained to iteration {iteration} in {seconds:.0f} s; held-out loss {valid_loss:.3f} nats per byte."
    )
    for label, path in (
        ("checkpoint", out / "checkpoints"),
        ("loss curve", out / "loss.png"),
        ("numbers", out / "history.jsonl"),
        ("sample", out / "sample.txt"),
    ):
        print(f"  {label:<11}{path}")
    print(
        f"Next: go on with `make pretrain ITERS={2 * max(iteration, 1)}`, or train on your own text with "
        "`make pretrain DATA=path OUT=runs/mine`."
    )


def _quieten() -> None:
    """Frameworks warn about their own deprecated calls and absent CUDA packages: nothing a user can act on."""
    for module in ("megatron", "torch", "torch_npu"):
        for category in (UserWarning, FutureWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", category=category, module=rf"{module}\b")


def run(options: argparse.Namespace) -> None:
    """The whole job."""
    _quieten()
    # The order matters: the adaptor before Megatron, which the other modules import. The split keeps sorters out of it.
    import mindspeed.megatron_adaptor  # noqa: F401
    import torch

    # isort: split
    import checkpoint
    import corpus
    import dataset
    import history
    import model
    import sample
    import training
    from files import remove_leftovers

    _quieten()  # again: the imports have put their own filters in front
    counts = corpus.prepare(options.data, options.out, options.held_out, options.seq)
    print(
        f"Text: {counts['files']} files ({counts['not_text']} not text), {counts['train_bytes'] / 1e6:.1f} MB to train on, "
        f"{counts['valid_bytes'] / 1e6:.2f} MB held out"
    )
    device = model.initialize(options.seed)
    train, valid = dataset.build(
        options.out,
        options.seq,
        options.seed,
        options.iters * options.global_batch,
        options.eval_batches * options.micro_batch,
    )
    job = model.build(options)
    size = sum(parameter.numel() for parameter in job.model.parameters())
    print(
        f"Model: {options.layers} layers, hidden {options.hidden}, {size / 1e6:.1f} M parameters, {options.dtype}, "
        f"on {torch.npu.get_device_name(device)}"
    )
    remove_leftovers(options.out / "checkpoints")
    first = checkpoint.load(job, options.out, options)
    if first:
        print(f"Resuming from {checkpoint.folder_of(options.out, first)}")
    record = history.History(options.out / "history.jsonl", first)
    started = time.monotonic()
    iteration = first
    if first < options.iters:
        iteration = training.Trainer(job, options, device, record).run(first, train, valid)
    else:
        print(
            f"Already trained to iteration {first}; a larger --iters (ITERS=) than {options.iters} goes on."
        )
    history.plot(
        record, options.out / "loss.png", f"GPT, {size / 1e6:.1f} M parameters, {options.dtype}, NPU 0"
    )
    if options.sample_bytes > 0:
        text, source = sample.write(options, options.out, device)
        (options.out / "sample.txt").write_text(text, encoding="utf-8")
        print(f"\nThe checkpoint of iteration {source} writes:\n{'-' * 80}\n{text}\n{'-' * 80}")
    _report(options, iteration, time.monotonic() - started, record.last("valid_loss"))


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        run(parse(arguments))
    except UserError as error:
        print(f"pretrain: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\npretrain: interrupted; run it again to go on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
