# SPDX-License-Identifier: Apache-2.0
"""A GPT in plain PyTorch, for every device: the reference of the parity tests and the subject of the benchmark.

Written from the definition of the model, without Megatron: pre-norm blocks, rotary positions (halves), causal
softmax attention, GELU, an output matrix of its own. Weights of queries, keys and values lie head by head
(q, k, v of head 0, then of head 1, ...), so that they can be compared with Megatron's without reordering.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    layers: int
    hidden: int
    heads: int
    sequence: int
    vocab: int
    sdpa: bool = False  # attention by PyTorch's one function instead of written out


def rotary_table(sequence: int, head_size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [sequence, head_size] of the angles by which positions turn pairs of numbers."""
    frequencies = 1.0 / 10000.0 ** (torch.arange(0, head_size, 2, dtype=torch.float32) / head_size)
    angles = torch.outer(torch.arange(sequence, dtype=torch.float32), frequencies)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """x [..., sequence, head_size]: the pair (i, i + half) is turned by the angle of its position."""
    first, second = x.chunk(2, dim=-1)
    return x * cosines + torch.cat((-second, first), dim=-1) * sines


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.head_size, self.sdpa = shape.heads, shape.hidden // shape.heads, shape.sdpa
        self.qkv = nn.Linear(shape.hidden, 3 * shape.hidden)
        self.projection = nn.Linear(shape.hidden, shape.hidden)
        cosines, sines = rotary_table(shape.sequence, self.head_size)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)
        future = torch.ones(shape.sequence, shape.sequence, dtype=torch.bool).triu(1)
        self.register_buffer("future", future, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, sequence, hidden = x.shape
        qkv = self.qkv(x).view(batch, sequence, self.heads, 3, self.head_size).permute(3, 0, 2, 1, 4)
        q, k, v = rotate(qkv[0], self.cosines, self.sines), rotate(qkv[1], self.cosines, self.sines), qkv[2]
        if self.sdpa:
            attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = q @ k.transpose(-1, -2) * self.head_size**-0.5
            attended = scores.masked_fill(self.future, -10000.0).softmax(dim=-1) @ v
        return self.projection(attended.transpose(1, 2).reshape(batch, sequence, hidden))


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(shape.hidden)
        self.attention = Attention(shape)
        self.mlp_norm = nn.LayerNorm(shape.hidden)
        self.up = nn.Linear(shape.hidden, 4 * shape.hidden)
        self.down = nn.Linear(4 * shape.hidden, shape.hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.down(functional.gelu(self.up(self.mlp_norm(x))))


class PlainGPT(nn.Module):
    """tokens [batch, sequence] -> logits [batch, sequence, vocab]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.vocab, shape.hidden)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.hidden)
        self.output = nn.Linear(shape.hidden, shape.vocab, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return self.output(self.norm(x))

    def loss(self, tokens: Tensor, labels: Tensor) -> Tensor:
        logits = self(tokens)
        return functional.cross_entropy(logits.float().view(-1, logits.shape[-1]), labels.reshape(-1))


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Parameter groups: vectors (biases, norms) do not decay."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
