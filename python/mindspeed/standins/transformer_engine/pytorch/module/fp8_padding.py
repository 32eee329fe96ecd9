# SPDX-License-Identifier: Apache-2.0
"""Rows of each group are filled up with zeros to a multiple of a number, and taken off again."""

from __future__ import annotations

import torch

from mindspeed.standins.refusal import missing_attribute

__getattr__ = missing_attribute(__name__)


def _padded(splits: list[int], multiple: int) -> list[int]:
    return [-(-rows // multiple) * multiple for rows in splits]


class Fp8Padding(torch.nn.Module):
    """(rows, rows of each group) -> (filled rows, filled rows of each group)"""

    def __init__(self, num_gemms: int, align_size: int | None = None) -> None:
        super().__init__()
        self.num_gemms = num_gemms
        self.align_size = 16 if align_size is None else align_size

    def forward(self, inp: torch.Tensor, m_splits: list[int]) -> tuple[torch.Tensor, list[int]]:
        padded = _padded(m_splits, self.align_size)
        if padded == list(m_splits):
            return inp, list(m_splits)
        parts = torch.split(inp, list(m_splits))
        filled = [
            torch.nn.functional.pad(part, (0, 0, 0, rows - part.shape[0]))
            for part, rows in zip(parts, padded, strict=True)
        ]
        return torch.cat(filled), padded


class Fp8Unpadding(torch.nn.Module):
    """(filled rows, rows of each group without) -> rows"""

    def __init__(self, num_gemms: int, align_size: int | None = None) -> None:
        super().__init__()
        self.num_gemms = num_gemms
        self.align_size = 16 if align_size is None else align_size

    def forward(self, inp: torch.Tensor, m_splits: list[int]) -> torch.Tensor:
        padded = _padded(m_splits, self.align_size)
        if padded == list(m_splits):
            return inp
        parts = torch.split(inp, padded)
        return torch.cat([part[:rows] for part, rows in zip(parts, m_splits, strict=True)])
