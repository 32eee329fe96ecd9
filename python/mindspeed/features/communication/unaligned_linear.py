# SPDX-License-Identifier: Apache-2.0
"""Heads and sequences that are no multiple of the tensor-parallel ranks: the first ranks have one group or token more.

Attention is shared by groups of queries, each with its keys, so projections have as many columns and rows as the rank's
groups. Under sequence parallelism parts of the sequence differ by a token; they are gathered and scattered as they are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Patch
from mindspeed.features.communication._shares import lengths, share, shares, start, tensor_parallel

_LAYERS = "megatron.core.tensor_parallel.layers"
_MAPPINGS = "megatron.core.tensor_parallel.mappings"
# Groups of the attention that is being built: what is divided there is divided by them.
_building: list[int] = []


@contextlib.contextmanager
def _by(groups: int) -> Iterator[None]:
    _building.append(groups)
    try:
        yield
    finally:
        _building.pop()


def _part(total: int, groups: int) -> tuple[int, int] | None:
    """(begin, size) of this rank's part of `total`, if its groups are not shared evenly."""
    group = tensor_parallel()
    if group is None or groups % group.size() == 0 or total % groups:
        return None
    size, rank = group.size(), group.rank()
    return total // groups * start(groups, size, rank), total // groups * share(groups, size, rank)


def sharing(divide: Callable[[int, int], int]) -> Callable[[int, int], int]:
    @functools.wraps(divide)
    def shared(numerator: int, denominator: int) -> int:
        if _building and (group := tensor_parallel()) is not None and denominator == group.size():
            part = _part(numerator, _building[-1])
            if part is not None:
                return part[1]
        return divide(numerator, denominator)

    return shared


def by_groups(init: Callable[..., None]) -> Callable[..., None]:
    """SelfAttention.__init__"""

    @functools.wraps(init)
    def built(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        with _by(config.num_query_groups):
            init(self, config, *args, **kwargs)

    return built


def cutting(initialize: Callable[..., Any]) -> Callable[..., Any]:
    """_initialize_affine_weight_cpu: every rank draws the whole weight, and takes its part."""

    @functools.wraps(initialize)
    def cut(
        weight: Tensor,
        output_size: int,
        input_size: int,
        own: int,
        dim: int,
        init: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        total = (output_size, input_size)[dim]
        part = _part(total, _building[-1]) if _building else None
        if part is None:
            return initialize(weight, output_size, input_size, own, dim, init, *args, **kwargs)
        whole = torch.empty(output_size, input_size, dtype=weight.dtype)
        found = initialize(
            whole, output_size, input_size, total, dim, init, *args, **kwargs | {"rank": 0, "world_size": 1}
        )
        with torch.no_grad():
            weight.copy_(whole.narrow(dim, *part))
        for name in ("tensor_model_parallel", "partition_dim", "partition_stride"):
            setattr(weight, name, getattr(whole, name))
        return found

    return cut


def telling(dim: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """sharded_state_dict of a layer whose weight is cut along `dim`: checkpoints have a piece for each group."""

    def wrapping(sharded_state_dict: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(sharded_state_dict)
        def told(self: Any, *args: Any, **kwargs: Any) -> Any:
            state = sharded_state_dict(self, *args, **kwargs)
            total = (self.output_size, self.input_size)[dim]
            groups = getattr(self.config, "num_query_groups", None) or 1
            part = _part(total, groups)
            if part is None or self.weight is None or self.weight.shape[dim] != part[1]:
                return state
            pieces = _Pieces(dim, total, total // groups, part[0])
            return {key: pieces.of(entry) for key, entry in state.items()}

        return told

    return wrapping


@dataclasses.dataclass(frozen=True, slots=True)
class _Pieces:
    """Checkpoints know grids of equal pieces alone: here one is a group."""

    dim: int
    total: int
    size: int  # of a piece
    begin: int  # of this rank's part

    def of(self, entry: Any) -> Any:
        from megatron.core.dist_checkpointing.mapping import ShardedTensor, ShardedTensorFactory

        if not isinstance(entry, ShardedTensor) or len(entry.local_shape) <= self.dim:
            return entry

        def build(key: str, whole: Tensor, replica: Any, flattened: Any) -> list[Any]:
            if flattened is not None:
                raise NotImplementedError(
                    "--unaligned-linear: checkpoints with the optimizer's states as flat pieces are not supported; give "
                    "--ckpt-format torch, or --no-save-optim"
                )
            parts = whole.split(self.size, self.dim)
            return [self._piece(entry, number, part, key, replica) for number, part in enumerate(parts)]

        def merge(parts: list[Tensor]) -> Tensor:
            return torch.cat(parts, self.dim)

        return ShardedTensorFactory(entry.key, entry.data, build, merge, entry.replica_id)

    def _piece(self, entry: Any, number: int, part: Tensor, key: str, replica: Any) -> Any:
        at = entry.prepend_axis_num + self.dim
        place = {
            name: list(getattr(entry, name))
            for name in ("global_shape", "global_offset", "axis_fragmentations")
        }
        place["global_shape"][at] = self.total
        place["global_offset"][at] = self.begin + number * self.size
        place["axis_fragmentations"][at] = self.total // self.size
        return dataclasses.replace(
            entry, key=key, data=part, dtype=part.dtype, local_shape=tuple(part.shape), replica_id=replica,
            **{name: tuple(numbers) for name, numbers in place.items()},
        )  # fmt: skip


def split(_split_along_first_dim: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @functools.wraps(_split_along_first_dim)
    def cut(x: Tensor, group: Any = None) -> Tensor:
        ranks = tensor_parallel(group)
        if ranks is None or x.shape[0] % ranks.size() == 0:
            return _split_along_first_dim(x, group)
        return x.split(shares(x.shape[0], ranks.size()))[ranks.rank()].contiguous()

    return cut


def gather(_gather_along_first_dim: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @functools.wraps(_gather_along_first_dim)
    def gathered(
        x: Tensor, group: Any = None, output_split_sizes: Any = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        ranks = tensor_parallel(group)
        if output_split_sizes is None and ranks is not None:
            output_split_sizes = lengths(x.shape[0], ranks)
        return _gather_along_first_dim(x.contiguous(), group, output_split_sizes, *args, **kwargs)

    return gathered


def reduce_scatter(_reduce_scatter_along_first_dim: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @functools.wraps(_reduce_scatter_along_first_dim)
    def scattered(
        x: Tensor, group: Any = None, input_split_sizes: Any = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        ranks = tensor_parallel(group)
        if input_split_sizes is None and ranks is not None and x.shape[0] % ranks.size():
            input_split_sizes = shares(x.shape[0], ranks.size())
        return _reduce_scatter_along_first_dim(x.contiguous(), group, input_split_sizes, *args, **kwargs)

    return scattered


def gathering(linear: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Products of a sequence in parts: the parts are gathered, and their gradient scattered, outside of the product."""

    @functools.wraps(linear)
    def forward(*args: Any, **kwargs: Any) -> Tensor:
        # Layers give all by name, from 0.14 on the first two by position.
        if len(args) not in (0, 2) or not kwargs.get("sequence_parallel"):
            return linear(*args, **kwargs)
        x = args[0] if args else kwargs["input"]
        group = tensor_parallel(kwargs.get("tp_group"))
        parts = lengths(x.shape[0], group) if group is not None else None
        if parts is None:
            return linear(*args, **kwargs)
        from megatron.core.tensor_parallel import gather_from_sequence_parallel_region

        whole = gather_from_sequence_parallel_region(x, group=group, output_split_sizes=parts)
        given = {"input": whole} if not args else {}
        return linear(
            *((whole, args[1]) if args else ()),
            **kwargs | given | {"sequence_parallel": False, "allreduce_dgrad": False},
        )

    return forward


def of_whole_sequence(get_rotary_seq_len: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(get_rotary_seq_len)
    def told(
        self: Any, inference: Any, transformer: Any, x: Any, config: Any, packed: Any = None, **more: Any
    ) -> Any:
        length = get_rotary_seq_len(self, inference, transformer, x, config, packed, **more)
        group = tensor_parallel()
        if packed is not None or inference is not None or not config.sequence_parallel or group is None:
            return length
        others = config.context_parallel_size
        parts = lengths(length // (group.size() * others), group)
        return length if parts is None else sum(parts) * others

    return told


def of_groups(post_init: Callable[..., None]) -> Callable[..., None]:
    """TransformerConfig.__post_init__, which wants as many heads and groups on each rank."""

    @functools.wraps(post_init)
    def checked(self: Any) -> None:
        heads, size = self.num_attention_heads, self.tensor_model_parallel_size
        groups = self.num_query_groups or heads
        if not (self.unaligned_linear and (heads % size or groups % size)):
            post_init(self)
            return
        if self.kv_channels is None:
            self.kv_channels = self.hidden_size // heads
        self.num_attention_heads = self.num_query_groups = size
        try:
            post_init(self)
        finally:
            self.num_attention_heads, self.num_query_groups = heads, groups

    return checked


def _refused(args: Any) -> Iterator[str]:
    """What is not shared by groups."""
    if (getattr(args, "num_experts", None) or 0) > 1:
        yield f"--num-experts {args.num_experts}: experts are shared evenly; leave out one of them"
    if getattr(args, "multi_latent_attention", False):
        yield "--multi-latent-attention has no groups of queries; leave out one of them"
    if getattr(args, "transformer_impl", "local") == "transformer_engine":
        yield "it is for Megatron's own layers; give --transformer-impl local, or leave it out"
    if getattr(args, "use_legacy_models", False):
        yield "--use-legacy-models have other layers; leave out one of them"


def check(args: Any) -> Iterator[str]:
    yield from _refused(args)
    size = getattr(args, "tensor_model_parallel_size", 1) or 1
    heads = getattr(args, "num_attention_heads", None)
    grouped = getattr(args, "group_query_attention", False)
    groups = getattr(args, "num_query_groups", None) if grouped else heads
    if groups and heads % groups:
        yield f"{heads} heads in {groups} groups (--num-query-groups): give a divisor of the heads"
    if groups and groups < size:
        yield f"{groups} groups of heads on {size} ranks: give --tensor-model-parallel-size {groups} or less"
    exchanging = getattr(args, "context_parallel_algo", None) in ("ulysses_cp_algo", "hybrid_cp_algo")
    if groups and groups % size and exchanging and (getattr(args, "context_parallel_size", 1) or 1) > 1:
        yield (
            f"{groups} groups of heads on {size} ranks with --context-parallel-algo {args.context_parallel_algo}, which shares "
            "each rank's heads once more; give megatron_cp_algo"
        )
    width = getattr(args, "ffn_hidden_size", None)
    if width and width % size:
        yield f"--ffn-hidden-size {width} is not a multiple of --tensor-model-parallel-size ({size}): only heads and sequences may be"
    yield from _lengths_of_stages(args, size)


def _lengths_of_stages(args: Any, size: int) -> Iterator[str]:
    length = getattr(args, "seq_length", None)
    stages = getattr(args, "pipeline_model_parallel_size", 1) or 1
    uneven = length and (length // (getattr(args, "context_parallel_size", 1) or 1)) % size
    is_told = getattr(args, "variable_seq_lengths", False)
    if uneven and getattr(args, "sequence_parallel", False) and stages > 1 and not is_told:
        yield f"--seq-length {length} on {size} ranks: stages have to tell each other lengths; add --variable-seq-lengths"


FEATURE = Feature(
    name="unaligned-linear",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--unaligned-linear",
            "Heads and sequences need not be multiples of --tensor-model-parallel-size.",
        ),
    ),
    conflicts=(
        Conflict(feature="ascend-mc2", why="its operators want parts of one size"),
        Conflict(feature="ascend-coc", why="its products want parts of one size"),
        Conflict(feature="alibi", why="it has a slope for each of as many heads on every rank"),
    ),
    check=check,
    patches=(
        Patch("megatron.core.utils:divide", sharing, wraps=True),
        Patch("megatron.core.transformer.attention:SelfAttention.__init__", by_groups, wraps=True),
        Patch(
            "megatron.core.transformer.transformer_config:TransformerConfig.__post_init__",
            of_groups,
            wraps=True,
        ),
        Patch(f"{_LAYERS}:_initialize_affine_weight_cpu", cutting, wraps=True),
        Patch(f"{_LAYERS}:ColumnParallelLinear.sharded_state_dict", telling(0), wraps=True),
        Patch(f"{_LAYERS}:RowParallelLinear.sharded_state_dict", telling(1), wraps=True),
        Patch(f"{_LAYERS}:linear_with_grad_accumulation_and_async_allreduce", gathering, wraps=True),
        Patch(f"{_LAYERS}:linear_with_frozen_weight", gathering, wraps=True),
        Patch(f"{_MAPPINGS}:_split_along_first_dim", split, wraps=True),
        Patch(f"{_MAPPINGS}:_gather_along_first_dim", gather, wraps=True),
        Patch(f"{_MAPPINGS}:_reduce_scatter_along_first_dim", reduce_scatter, wraps=True),
        Patch(
            "megatron.core.models.common.embeddings.rotary_pos_embedding:RotaryEmbedding.get_rotary_seq_len",
            of_whole_sequence,
            wraps=True,
        ),
    ),
)
