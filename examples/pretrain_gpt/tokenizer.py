# SPDX-License-Identifier: Apache-2.0
"""Megatron's tokenizer over bytes: it fits every text and needs no files."""

from __future__ import annotations

from typing import Any

import numpy as np
from megatron.core.datasets.megatron_tokenizer import MegatronTokenizer
from vocabulary import END_OF_DOCUMENT


class ByteTokenizer(MegatronTokenizer):
    """Megatron's tokenizer interface over bytes."""

    def __init__(self) -> None:
        super().__init__("bytes")

    def tokenize(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.int64)

    def detokenize(self, ids: Any) -> str:
        data = bytes(int(i) for i in ids if int(i) < END_OF_DOCUMENT)
        return data.decode("utf-8", errors="replace")

    @property
    def vocab(self) -> dict[str, int]:
        return {f"<{i:02x}>": i for i in range(256)} | {"<eod>": END_OF_DOCUMENT}

    @property
    def inv_vocab(self) -> dict[int, str]:
        return {number: name for name, number in self.vocab.items()}

    @property
    def vocab_size(self) -> int:
        return END_OF_DOCUMENT + 1

    @property
    def eod(self) -> int:
        return END_OF_DOCUMENT
