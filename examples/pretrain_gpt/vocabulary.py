# SPDX-License-Identifier: Apache-2.0
"""Bytes as tokens: 256 of them and one for the end of a document."""

from __future__ import annotations

END_OF_DOCUMENT = 256
# Megatron pads vocabularies to a multiple of 128, so that they divide among tensor-parallel ranks.
PADDED_VOCAB_SIZE = 384
