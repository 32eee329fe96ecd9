# SPDX-License-Identifier: Apache-2.0
"""Samples: Megatron's GPTDataset over the files of corpus.py, and batches of it on the device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from tokenizer import ByteTokenizer

# What the model reads of a sample. Attention masks are made by the attention itself.
KEYS = ("tokens", "labels", "loss_mask", "position_ids")
Batch = dict[str, torch.Tensor]


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
    train, valid, _ = builder.build()
    return train, valid


def batches(
    dataset: GPTDataset, micro_batch: int, first_sample: int, device: torch.device
) -> Iterator[Batch]:
    """Micro-batches in the dataset's (shuffled) order from a sample on; ends with the dataset."""
    for start in range(first_sample, len(dataset) - micro_batch + 1, micro_batch):
        samples = [dataset[i] for i in range(start, start + micro_batch)]
        yield {key: torch.stack([sample[key] for sample in samples]).to(device) for key in KEYS}
