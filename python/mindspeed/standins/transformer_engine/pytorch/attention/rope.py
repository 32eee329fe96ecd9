# SPDX-License-Identifier: Apache-2.0
"""Rotary positions, as one operator: t cos(f) + rotated(t) sin(f) on the first dimensions, the others pass."""

from __future__ import annotations

import itertools

import torch
import torch_npu

from mindspeed.standins.refusal import RefusedError, missing_attribute

__getattr__ = missing_attribute(__name__)


def _rotate(t: torch.Tensor, freqs: torch.Tensor, interleaved: bool) -> torch.Tensor:
    """t [.., .., h, d], freqs to broadcast against it."""
    cos, sin = freqs.cos().to(t.dtype), freqs.sin().to(t.dtype)
    if t.device.type == "npu" and t.shape[-1] % 2 == 0:
        mode = "interleave" if interleaved else "half"
        result: torch.Tensor = torch_npu.npu_rotary_mul(t, cos, sin, mode)
        return result
    if interleaved:
        turned = torch.stack((-t[..., 1::2], t[..., ::2]), dim=-1).flatten(-2)
    else:
        half = t.shape[-1] // 2
        turned = torch.cat((-t[..., half:], t[..., :half]), dim=-1)
    return t * cos + turned * sin


def _apply(t: torch.Tensor, freqs: torch.Tensor, interleaved: bool) -> torch.Tensor:
    size = freqs.shape[-1]
    if size == t.shape[-1]:
        return _rotate(t.contiguous(), freqs, interleaved)
    turned = _rotate(t[..., :size].contiguous(), freqs, interleaved)
    return torch.cat((turned, t[..., size:]), dim=-1)


def packed_positions(
    cu_seqlens: torch.Tensor, tokens: int, cp_size: int, cp_rank: int, device: torch.device
) -> torch.Tensor:
    """The position in its own sequence of each of this rank's tokens; of padding behind them 0."""
    pieces = []
    bounds = cu_seqlens.tolist()
    for begin, end in itertools.pairwise(bounds):
        if cp_size == 1:
            pieces.append(torch.arange(end - begin))
            continue
        # A rank holds the r-th of 2n chunks and the r-th from the end.
        chunk = (end - begin) // (2 * cp_size)
        pieces += [torch.arange(c * chunk, (c + 1) * chunk) for c in (cp_rank, 2 * cp_size - 1 - cp_rank)]
    positions = torch.cat(pieces) if pieces else torch.empty(0, dtype=torch.int64)
    rest = tokens - positions.numel()
    if rest < 0:
        raise ValueError(
            f"cu_seqlens ends at {positions.numel()} tokens for this rank, the tensor has {tokens}"
        )
    return torch.cat((positions, torch.zeros(rest, dtype=torch.int64))).to(device)


def apply_rotary_pos_emb(
    t: torch.Tensor,
    freqs: torch.Tensor,
    tensor_format: str = "sbhd",
    start_positions: torch.Tensor | None = None,
    interleaved: bool = False,
    fused: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    cp_size: int = 1,
    cp_rank: int = 0,
) -> torch.Tensor:
    """t [s,b,h,d], [b,s,h,d] or [t,h,d]; freqs [s,1,1,d2] (with d2 <= d), of the whole sequence."""
    if start_positions is not None:
        raise RefusedError("apply_rotary_pos_emb(start_positions=...)", "Pass freqs of the positions")
    if tensor_format == "thd":
        if cu_seqlens is None:
            raise ValueError("apply_rotary_pos_emb: tensor_format='thd' needs cu_seqlens")
        positions = packed_positions(cu_seqlens, t.shape[0], cp_size, cp_rank, t.device)
        table = freqs.reshape(freqs.shape[0], freqs.shape[-1]).index_select(0, positions)
        return _apply(t.unsqueeze(1), table[:, None, None, :], interleaved).squeeze(1)
    if tensor_format not in ("sbhd", "bshd"):
        raise ValueError(f"tensor_format={tensor_format!r}: wanted sbhd, bshd or thd")
    length = t.shape[0] if tensor_format == "sbhd" else t.shape[1]
    if length > freqs.shape[0]:
        raise ValueError(f"freqs has {freqs.shape[0]} positions, the sequence {length}")
    freqs = freqs[:length]
    if tensor_format == "bshd":
        freqs = freqs.transpose(0, 1)
    return _apply(t, freqs, interleaved)
