# SPDX-License-Identifier: Apache-2.0
"""Serving's two steps by fused operators: prompts of their own lengths, then a token at a time over pages of keys."""

from __future__ import annotations

import torch
import torch_npu
from torch.nn.functional import scaled_dot_product_attention

LAYERS, HEADS, KV_HEADS, SIZE, WORDS, ROWS = 2, 4, 2, 16, 61, 8
HIDDEN = HEADS * SIZE


def weights() -> list[dict[str, torch.Tensor]]:
    g = torch.Generator().manual_seed(5)
    shapes = {
        "q": (HIDDEN, HIDDEN),
        "k": (HIDDEN, KV_HEADS * SIZE),
        "v": (HIDDEN, KV_HEADS * SIZE),
        "o": (HIDDEN, HIDDEN),
    }
    return [{n: torch.randn(s, generator=g) * HIDDEN**-0.5 for n, s in shapes.items()} for _ in range(LAYERS)]


def plain_next(words: list[int], table: torch.Tensor, layers: list[dict[str, torch.Tensor]]) -> int:
    """The word after all of them, everything computed anew on the CPU."""
    x = table[words]
    for layer in layers:
        q, k, v = ((x @ layer[n]).unflatten(1, (-1, SIZE)).transpose(0, 1) for n in "qkv")
        k, v = (t.repeat_interleave(HEADS // KV_HEADS, 0) for t in (k, v))
        x = x + scaled_dot_product_attention(q, k, v, is_causal=True).transpose(0, 1).flatten(1) @ layer["o"]
    return int((x[-1] @ table.T).argmax())


class Server:
    """Some sequences at once, their keys in pages that are handed out as they grow."""

    def __init__(self, table: torch.Tensor, layers: list[dict[str, torch.Tensor]], sequences: int) -> None:
        self.table, self.layers = table.npu(), [{n: t.npu() for n, t in layer.items()} for layer in layers]
        shape = (16, ROWS, KV_HEADS, SIZE)
        self.caches = [[torch.full(shape, float("nan")).npu() for _ in "kv"] for _ in layers]
        self.pages: list[list[int]] = [[] for _ in range(sequences)]
        self.lengths = [0] * sequences
        self.free = torch.randperm(16, generator=torch.Generator().manual_seed(6)).tolist()

    def slots(self, counts: list[int]) -> torch.Tensor:
        """Where the next rows of each sequence go."""
        result = []
        for i, count in enumerate(counts):
            for at in range(self.lengths[i], self.lengths[i] + count):
                if at % ROWS == 0:
                    self.pages[i].append(self.free.pop())
                result.append(self.pages[i][at // ROWS] * ROWS + at % ROWS)
            self.lengths[i] += count
        return torch.tensor(result, dtype=torch.int32).npu()

    def step(self, words: list[list[int]]) -> list[int]:
        counts = [len(w) for w in words]
        slots, totals = self.slots(counts), torch.tensor(counts).cumsum(0).tolist()
        most = max(len(p) for p in self.pages)
        pages = torch.tensor([p + [-1] * (most - len(p)) for p in self.pages], dtype=torch.int32).npu()
        mask = torch.triu(torch.ones(2048, 2048), 1).bool().npu()
        x = self.table[torch.tensor([word for some in words for word in some]).npu()]
        for layer, (keys, values) in zip(self.layers, self.caches, strict=True):
            q, k, v = ((x @ layer[n]).unflatten(1, (-1, SIZE)) for n in "qkv")
            torch_npu.npu_scatter_pa_kv_cache(k, v, keys, values, slots, cache_mode="Norm")
            out, _ = torch_npu.npu_fused_infer_attention_score(
                q, keys.flatten(2), values.flatten(2), num_heads=HEADS, num_key_value_heads=KV_HEADS,
                input_layout="TND", scale=SIZE**-0.5, atten_mask=mask, sparse_mode=3, block_table=pages, block_size=ROWS,
                actual_seq_lengths=totals, actual_seq_lengths_kv=self.lengths,
            )  # fmt: skip
            x = x + out.flatten(1) @ layer["o"]
        last = x[torch.tensor(totals).npu() - 1]
        return (last @ self.table.T).argmax(1).tolist()


def test_greedy_decoding_over_pages_gives_the_words_of_plain_attention() -> None:
    layers = weights()
    table = torch.randn(WORDS, HIDDEN, generator=torch.Generator().manual_seed(7))
    sequences = [[3, 14, 15, 9, 26, 5, 35, 8, 9], [7], [27, 18, 28, 18, 28]]
    server = Server(table, layers, len(sequences))
    got = server.step(sequences)
    for _ in range(12):
        want = [plain_next(words, table, layers) for words in sequences]
        assert got == want
        sequences = [[*words, word] for words, word in zip(sequences, got, strict=True)]
        got = server.step([[word] for word in got])
    assert len({tuple(words[-12:]) for words in sequences}) == 3
