# SPDX-License-Identifier: Apache-2.0
"""Megatron's local attention is one operator that never stores the scores.

Softmax is in float32 and hidden keys have weight 0, where Megatron adds -10000. Rows that see no key at all (a padded
query) give zeros, where Megatron gives the mean of the values; nobody reads either. Packed sequences, which Megatron's
local attention refuses, work too. What the operator cannot express takes Megatron's way and is named once.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch_npu
from torch import Tensor

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.flags import Flag
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch
from mindspeed.ops.attention import drops_in_graph

_log = logging.getLogger("mindspeed.fusion")
MASK, CAUSAL, CAUSAL_END, BAND = 0, 2, 3, 4  # sparse modes of the operator
_MODES = (MASK, CAUSAL, CAUSAL_END, BAND)
_TRIANGLE = 2048  # rows of the mask that the modes want which are no mask, whatever the lengths are
_ALL = 2147483647
DEFAULT_PRE, DEFAULT_NEXT = 65536, 0
_TYPES = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visible:
    """Which keys a query sees, as the operator takes it."""

    mask: Tensor | None = None
    mode: int = MASK
    before: int = _ALL
    behind: int = _ALL


@functools.lru_cache(maxsize=8)
def triangle(device: torch.device) -> Tensor:
    return torch.ones(_TRIANGLE, _TRIANGLE, dtype=torch.bool, device=device).triu_(1)


def limits(config: Any) -> tuple[int, int]:
    """--pre-tockens and --next-tockens; where no band is asked for their defaults are no limits."""
    before, behind = config.pre_tockens, config.next_tockens
    if config.sparse_mode != BAND:
        before = _ALL if before == DEFAULT_PRE else before
        behind = _ALL if behind == DEFAULT_NEXT else behind
    return before, behind


def visible(core: Any, mask: Tensor | None, queries: int, keys: int, device: torch.device) -> Visible:
    """From the mask, or what the layer's type says without one."""
    if mask is None and queries > 1 and not _has_own_mode(core) and _is_causal(core):
        assert queries == keys, "causal mask is only for self attention"
    seen = without_mask(core, device, causal=mask is None and queries > 1)
    if seen.mode != MASK or mask is None:
        return seen
    mask = mask.to(torch.bool).expand(*mask.shape[:-2], queries, keys).contiguous()
    return replace(seen, mask=mask)


def without_mask(core: Any, device: torch.device, *, causal: bool) -> Visible:
    """What a window of the layer, --sparse-mode and, if `causal`, the layer's type say."""
    window = getattr(core.scale_mask_softmax, "window_size", None)
    if window is not None:
        before, behind = (_ALL if n < 0 else n for n in window)
        return Visible(mask=triangle(device), mode=BAND, before=before, behind=behind)
    mode, (before, behind) = core.config.sparse_mode, limits(core.config)
    if mode == MASK and causal and _is_causal(core):
        mode = CAUSAL_END if before == behind == _ALL else BAND
        behind = min(behind, 0)
    return Visible(mask=None if mode == MASK else triangle(device), mode=mode, before=before, behind=behind)


def _has_own_mode(core: Any) -> bool:
    return (
        core.config.sparse_mode != MASK or getattr(core.scale_mask_softmax, "window_size", None) is not None
    )


def _is_causal(core: Any) -> bool:
    return getattr(core.attn_mask_type, "name", "") in ("causal", "padding_causal")


def scale_of(core: Any) -> float:
    """Query-key layer scaling divides first and multiplies in the softmax: together it is nothing."""
    return float(core.softmax_scale * (core.scale_mask_softmax.scale or 1.0))


def run(core: Any, qkv: list[Tensor], heads: int, layout: str, seen: Visible, **lengths: Any) -> Tensor:
    """The operator, with the dropout of the layer in the random state that Megatron uses for it."""
    bias: dict[str, Any] = {}
    if (bias_of := getattr(core, "score_bias", None)) is not None:  # feature alibi
        if layout != "SBH":
            raise NotImplementedError(
                "--position-embedding-type alibi: packed sequences are not supported; choose another type"
            )
        bias = bias_of(core, qkv[0], qkv[1].shape[0])
    v2 = core.config.use_fusion_attn_v2 or bool(bias)  # the first version adds before it scales
    names = ("pre_tokens", "next_tokens") if v2 else ("pre_tockens", "next_tockens")
    call = torch_npu.npu_fusion_attention_v2 if v2 else torch_npu.npu_fusion_attention
    sink = getattr(core, "softmax_offset", None)
    options = {
        "atten_mask": seen.mask, "scale": scale_of(core), "sparse_mode": seen.mode, names[0]: seen.before,
        names[1]: seen.behind, "sink": None if sink is None else sink.to(device=qkv[0].device, dtype=torch.float32),
    } | bias  # fmt: skip
    dropped = core.attention_dropout.p if core.training else 0.0
    random: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if drops_in_graph(dropped):
        raise RuntimeError(
            f"flash-attention: dropout {dropped:g} cannot be captured in a graph; give --attention-dropout 0, or "
            "--no-flash-attn, or leave out --enable-cuda-graph and --cuda-graph-impl"
        )
    if dropped > 0:
        options["keep_prob"] = 1.0 - dropped
        if not core.config.sequence_parallel:
            from megatron.core import tensor_parallel

            random = tensor_parallel.get_cuda_rng_tracker().fork()
    with random:
        result: Tensor = call(*qkv, heads, layout, **options, **lengths)[0]
    return result


def attend(core: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """[s, b, h, d] -> [s, b, h * d]: the layout in which Megatron's tensors lie."""
    seen = visible(core, mask, q.shape[0], k.shape[0], q.device)
    flat = [t.flatten(2).contiguous() for t in (q, k, v)]
    return run(core, flat, q.shape[2], "SBH", seen)


def attend_packed(core: Any, q: Tensor, k: Tensor, v: Tensor, packed: Any) -> Tensor:
    """[tokens, h, d] -> [tokens, h * d], sequences one behind the other."""
    q_ends, k_ends = ends(packed)
    seen = without_mask(core, q.device, causal=True)
    ended = {"actual_seq_qlen": q_ends, "actual_seq_kvlen": k_ends}
    return run(core, [t.contiguous() for t in (q, k, v)], q.shape[1], "TND", seen, **ended).flatten(1)


def ends(packed: Any) -> tuple[list[int], list[int]]:
    """Where sequences end, on the host: read from the device once for all layers of a batch."""
    kept: tuple[list[int], list[int]] | None = vars(packed).get("_mindspeed_ends")
    if kept is None:
        for name in ("cu_seqlens_q_padded", "cu_seqlens_kv_padded"):
            padded, plain = getattr(packed, name, None), getattr(packed, name.removesuffix("_padded"))
            if padded is not None and not torch.equal(padded, plain):
                raise NotImplementedError(
                    f"flash-attention: {name} differs from the lengths: packed sequences with padding between them are "
                    "not supported; pack them without, or give --no-flash-attn"
                )
        kept = packed.cu_seqlens_q[1:].tolist(), packed.cu_seqlens_kv[1:].tolist()
        packed._mindspeed_ends = kept
    return kept


@functools.cache
def _say_once(reason: str) -> None:
    _log.warning("flash-attention: Megatron's own attention is used for %s", reason)


def unsupported(query: Tensor, bias: Tensor | None) -> str:
    """What the operator has no way to express; empty if nothing."""
    if query.device.type != "npu":
        return f"tensors on {query.device.type}"
    if query.dtype not in _TYPES:
        return f"{query.dtype}"
    return "attention_bias" if bias is not None else ""


def by_operator(written_out: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def forward(
        self: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        attn_mask_type: Any = None,
        attention_bias: Tensor | None = None,
        packed_seq_params: Any = None,
    ) -> Tensor:
        reason = unsupported(query, attention_bias)
        if reason:
            _say_once(reason)
            return written_out(
                self, query, key, value, attention_mask, attn_mask_type, attention_bias, packed_seq_params
            )
        if packed_seq_params is not None:
            return attend_packed(self, query, key, value, packed_seq_params)
        return attend(self, query, key, value, attention_mask)

    return forward


def wanted(args: Any) -> bool:
    """Unless it is switched off. Megatron refuses it in deterministic mode, and its legacy models have their own."""
    given = getattr(args, "use_flash_attn", None)
    if given is None:
        return not (getattr(args, "deterministic_mode", False) or getattr(args, "use_legacy_models", False))
    return bool(given)


def check(args: Any) -> Iterable[str]:
    if getattr(args, "deterministic_mode", False):
        yield "--deterministic-mode is Megatron's, which refuses it; leave one of the two out, or give --npu-deterministic"
    before, behind = args.pre_tockens, args.next_tockens
    if before < 0:
        yield f"--pre-tockens is {before}: wanted 0 or more"
    elif before + behind < 0:
        yield f"--next-tockens {behind} with --pre-tockens {before} hides every key; wanted {-before} or more"
    if args.sparse_mode in (CAUSAL, CAUSAL_END) and (before, behind) != (DEFAULT_PRE, DEFAULT_NEXT):
        yield (
            f"--sparse-mode {args.sparse_mode} is causal whatever --pre-tockens and --next-tockens say; "
            f"give --sparse-mode {BAND}, or leave them out"
        )
    if args.sparse_mode in (1, 5, 6, 7, 8):
        why = {
            1: "hides nothing and ignores the mask", 5: "needs prefixes", 6: "needs prefixes",
            7: "is for parts of packed sequences", 8: "is for parts of packed sequences",
        }[args.sparse_mode]  # fmt: skip
        yield f"--sparse-mode {args.sparse_mode} {why}, which Megatron does not have: give one of {', '.join(map(str, _MODES))}"


FEATURE = Feature(
    name="flash-attention",
    level=Level.AFFINITY,
    flags=(
        Flag(
            "--use-flash-attn",
            "Attention by one operator that never stores the scores.",
            negative="--no-flash-attn",
            megatron=True,
        ),
        Flag(
            "--pre-tockens",
            "How many keys before its own position a query sees; the default is no limit.",
            type=int,
            default=DEFAULT_PRE,
        ),
        Flag(
            "--next-tockens",
            "How many keys behind its own position a query sees where the mask allows it; the default is no limit.",
            type=int,
            default=DEFAULT_NEXT,
        ),
        Flag(
            "--sparse-mode",
            "0: the mask or the layer's type says what is seen; 2, 3: causal, whatever the mask says; "
            "4: --pre-tockens and --next-tockens say.",
            type=int,
            default=MASK,
            choices=tuple(range(9)),
        ),
        Flag("--use-fusion-attn-v2", "The second version of the operator."),
    ),
    switch=wanted,
    check=check,
    patches=(
        Patch(
            "megatron.core.transformer.dot_product_attention:DotProductAttention.forward",
            by_operator,
            wraps=True,
        ),
    ),
)
