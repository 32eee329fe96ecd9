# SPDX-License-Identifier: Apache-2.0
"""Let a checkpoint write: a fresh model gets the weights from disk and continues a prompt byte by byte.

On one rank, whatever layout has trained it."""

from __future__ import annotations

import argparse
from pathlib import Path

import checkpoint
import torch
from layout import Layout
from model import build_gpt, transformer_config
from tokenizer import ByteTokenizer
from vocabulary import END_OF_DOCUMENT

# Bytes less likely than the best this many are not taken.
TOP_K = 20


def _pick(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> int:
    """The next byte, from logits on the host."""
    logits = logits[: END_OF_DOCUMENT + 1]
    if temperature == 0:
        return int(logits.argmax())
    best, numbers = logits.topk(TOP_K)
    chosen = torch.multinomial(torch.softmax(best / temperature, dim=-1), 1, generator=generator)
    return int(numbers[chosen])


@torch.no_grad()
def _continue(
    model: torch.nn.Module, tokens: list[int], options: argparse.Namespace, device: torch.device
) -> list[int]:
    generator = torch.Generator().manual_seed(options.seed)
    for _ in range(options.sample_bytes):
        window = torch.tensor([tokens[-options.seq :]], device=device)
        positions = torch.arange(window.shape[1], device=device).unsqueeze(0)
        # The output starts with the sequence dimension inside Megatron; the model hands it over batch first.
        logits = model(window, positions, None)[0, -1].float().cpu()
        token = _pick(logits, options.temperature, generator)
        if token == END_OF_DOCUMENT:
            break
        tokens.append(token)
    return tokens


def write(options: argparse.Namespace, out: Path, device: torch.device) -> tuple[str, int]:
    """The text, and the iteration of the checkpoint that wrote it."""
    model = build_gpt(options, transformer_config(options, Layout()))
    iteration = checkpoint.load_weights(model, out, options)
    model.eval()
    tokenizer = ByteTokenizer()
    tokens = _continue(model, tokenizer.tokenize(options.prompt).tolist(), options, device)
    return tokenizer.detokenize(tokens), iteration
