# SPDX-License-Identifier: Apache-2.0
"""Samples: Megatron's GPTDataset over the files of corpus.py, and batches of it on the device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from errors import UserError
from files import remove
from megatron.core import parallel_state
from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from megatron.core.utils import get_batch_on_this_cp_rank
from tokenizer import ByteTokenizer

# What the model reads of a sample. Attention masks are made by the attention itself.
KEYS = ("tokens", "labels", "loss_mask", "position_ids")
Batch = dict[str, torch.Tensor]


def forget_index(out: Path) -> None:
    """The order of samples that another run has left there: nothing would tell whether it is still whole, and it takes
    seconds to make it again."""
    try:
        remove(out / "index")
    except OSError as error:
        raise UserError(f"{error.filename or out / 'index'} cannot be removed: {error.strerror}") from None


def build(
    out: Path, sequence: int, seed: int, train_samples: int, valid_samples: int
) -> tuple[GPTDataset, GPTDataset]:
    """Training and validation datasets of the given numbers of samples."""
    config = GPTDatasetConfig(
        random_seed=seed,
        sequence_length=sequence,
        blend_per_split=[([str(out / "data" / "train")], None), ([str(out / "data" / "valid")], None), None],
        path_to_cache=str(out / "index"),
        tokenizer=ByteTokenizer(),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
    )
    builder = BlendedMegatronDatasetBuilder(
        GPTDataset, [train_samples, valid_samples, 0], lambda: True, config
    )
    try:
        train, valid, _ = builder.build()
    except Exception as error:  # Megatron asserts, numpy and struct raise what they find
        text = " ".join(str(error).split())[:300]
        raise UserError(
            f"the samples cannot be made of {out / 'data'} and {out / 'index'} ({type(error).__name__}: {text}); "
            "remove both to have them made again"
        ) from error
    return train, valid


def batches(
    dataset: GPTDataset, micro_batch: int, first_sample: int, device: torch.device
) -> Iterator[Batch]:
    """This rank's micro-batches in the dataset's (shuffled) order from a sample on; ends with the dataset.

    Data-parallel ranks take turns, so a step has the same samples in every layout; context-parallel ranks take parts
    of each sequence.
    """
    rank, size = parallel_state.get_data_parallel_rank(), parallel_state.get_data_parallel_world_size()
    first = first_sample + rank * micro_batch
    for start in range(first, len(dataset) - micro_batch + 1, micro_batch * size):
        samples = [dataset[i] for i in range(start, start + micro_batch)]
        batch = {key: torch.stack([sample[key] for sample in samples]).to(device) for key in KEYS}
        yield get_batch_on_this_cp_rank(batch)
