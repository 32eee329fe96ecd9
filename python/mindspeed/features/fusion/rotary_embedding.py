# SPDX-License-Identifier: Apache-2.0
"""Rotary position embedding is one operator, with a gradient that is one as well.

Halves and pairs, a part of the head, multi-latent attention and packed sequences all come through the one function
that is patched. Cosines and sines are made once per table of angles, not once per layer for queries and for keys.
Megatron's apply_rope_fusion, which asks for TransformerEngine's kernels, gets the same operator.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch_npu
from torch import Tensor

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.flags import Flag
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch

_MODULE = "megatron.core.models.common.embeddings.rope_utils"


def cosines_and_sines(angles: Tensor, dtype: torch.dtype, mscale: float) -> tuple[Tensor, Tensor]:
    """Kept with the table itself, as long as nobody writes into it."""
    if angles.requires_grad or angles.is_inference():  # gradients flow through; no versions to compare
        return _tables(angles, dtype, mscale)
    kept: dict[Any, tuple[Tensor, Tensor]] = vars(angles).setdefault("_mindspeed_tables", {})
    key = (dtype, mscale, angles._version)
    if key not in kept:
        kept.clear()
        kept[key] = _tables(angles, dtype, mscale)
    return kept[key]


def _tables(angles: Tensor, dtype: torch.dtype, mscale: float) -> tuple[Tensor, Tensor]:
    return (torch.cos(angles) * mscale).to(dtype), (torch.sin(angles) * mscale).to(dtype)


def rotate(
    t: Tensor, angles: Tensor, *, pairs: bool = False, mla: bool = False, mscale: float = 1.0
) -> Tensor:
    """t [s, b, h, d], angles [s, 1 or b, 1, r], r <= d: what lies behind r is passed on.

    pairs  neighbours are turned together, not number i and number i + r/2.
    mla    neighbours go to the two halves first.
    """
    size = angles.shape[-1]
    rest = t[..., size:]
    t = t[..., :size]
    if mla:
        t = torch.cat((t[..., 0::2], t[..., 1::2]), dim=-1)
    cosines, sines = cosines_and_sines(angles, t.dtype, mscale)
    turned = _turned(t, cosines, sines, pairs)
    return turned if rest.shape[-1] == 0 else torch.cat((turned, rest), dim=-1)


def _turned(t: Tensor, cosines: Tensor, sines: Tensor, pairs: bool) -> Tensor:
    if t.shape[-1] % 2:  # the operator wants two halves of one size
        first, second = t.chunk(2, dim=-1)
        return t * cosines + torch.cat((-second, first), dim=-1) * sines
    result: Tensor = torch_npu.npu_rotary_mul(
        t, cosines, sines, rotary_mode="interleave" if pairs else "half"
    )
    return result


def fused_bshd(written_out: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def _apply_rotary_pos_emb_bshd(
        t: Tensor,
        freqs: Tensor,
        rotary_interleaved: bool = False,
        multi_latent_attention: bool = False,
        mscale: float = 1.0,
        *,
        mla_rotary_interleaved: bool = False,  # the fourth's name from Megatron 0.19 on
        **more: Any,
    ) -> Tensor:
        mla = bool(multi_latent_attention or mla_rotary_interleaved)
        if t.device.type != "npu" or t.dim() != 4 or t.dtype is torch.float64 or any(more.values()):
            return written_out(t, freqs, rotary_interleaved, mla, mscale, **more)
        return rotate(t, freqs, pairs=rotary_interleaved, mla=mla, mscale=mscale)

    return _apply_rotary_pos_emb_bshd


def fused_apply_rotary_pos_emb(
    t: Tensor, freqs: Tensor, transpose_output_memory: bool = False, interleaved: bool = False, **more: Any
) -> Tensor:
    """TransformerEngine's; where the result lies in memory is no part of the meaning."""
    return rotate(t, freqs, pairs=interleaved)


def fused_apply_rotary_pos_emb_thd(
    t: Tensor, cu_seqlens: Tensor, freqs: Tensor, cp_size: int = 1, cp_rank: int = 0
) -> Tensor:
    """TransformerEngine's for packed sequences: t [tokens of this rank, h, d], positions begin anew in each."""
    ends = (cu_seqlens // cp_size).tolist()
    lengths = [end - begin for begin, end in itertools.pairwise(ends)]
    angles = torch.cat([_of_rank(freqs, length, cp_size, cp_rank) for length in lengths])
    return rotate(t.unsqueeze(1), angles).squeeze(1)


def _of_rank(freqs: Tensor, length: int, cp_size: int, cp_rank: int) -> Tensor:
    """A rank of a context-parallel group has one chunk from the front and the matching one from the back."""
    if cp_size == 1:
        return freqs[:length]
    chunk, whole = length // 2, length * cp_size
    front, back = cp_rank * chunk, whole - (cp_rank + 1) * chunk
    return torch.cat((freqs[front : front + chunk], freqs[back : back + chunk]))


def check(args: Any) -> Iterable[str]:
    """The original asks for rotary positions; here the flag is only refused where it was given for nothing."""
    kind = getattr(args, "position_embedding_type", None)
    if getattr(args, "use_rotary_position_embeddings", False):
        kind = "rope"  # as Megatron's validation will set it
    if args.use_fused_rotary_pos_emb and kind in ("learned_absolute", "relative", "none", "alibi"):
        yield f"--position-embedding-type is {kind}: give rope, or leave out --use-fused-rotary-pos-emb"


FEATURE = Feature(
    name="fused-rope",
    level=Level.AFFINITY,
    flags=(
        Flag(
            "--use-fused-rotary-pos-emb",
            "Rotary position embedding by one operator.",
            negative="--no-fused-rotary-pos-emb",
        ),
    ),
    check=check,
    patches=(
        Patch(f"{_MODULE}:_apply_rotary_pos_emb_bshd", fused_bshd, wraps=True),
        Patch(f"{_MODULE}:fused_apply_rotary_pos_emb", fused_apply_rotary_pos_emb),
        Patch(f"{_MODULE}:fused_apply_rotary_pos_emb_thd", fused_apply_rotary_pos_emb_thd),
    ),
)
