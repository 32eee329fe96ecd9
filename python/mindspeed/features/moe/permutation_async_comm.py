# SPDX-License-Identifier: Apache-2.0
"""Tokens are sorted for their experts while the collectives of their dispatch are on the way.

Megatron waits for each of them where it starts it. Here the collectives of a dispatch run on a stream of their own, and what
is computed waits only where it needs what they bring: tokens are permuted while ranks tell each other how many they will
send, and with allgather a rank looks for its experts' tokens, and copies their number to the host, while the tokens come.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from mindspeed.adaptor import Feature, Flag, Level, Need, Patch
from mindspeed.features.moe._companion import Companion
from mindspeed.features.moe._flight import Flight

_DISPATCHERS = "megatron.core.transformer.moe.token_dispatcher"
_SEQ = "megatron.core.transformer.moe.legacy_a2a_token_dispatcher:MoEAlltoAllSEQTokenDispatcher"
_MAPPINGS = "megatron.core.tensor_parallel.mappings"
_FIELD = "_dispatch"  # of a dispatcher, between the calls that Megatron makes of one dispatch
SUPPORTED = ("allgather", "alltoall", "alltoall_seq")

Function = Callable[..., Any]


def _is_same(one: Tensor, other: Tensor) -> bool:
    return one.data_ptr() == other.data_ptr() and one.shape == other.shape


class Dispatch(Flight):
    """Of one batch of tokens, by one dispatcher."""

    now: Dispatch | None = None  # the one whose functions run

    def __init__(self, dispatcher: Any, tokens: Tensor, probs: Tensor) -> None:
        super().__init__()
        self._dispatcher = dispatcher
        self._computing = torch.npu.current_stream()
        self._tokens, self._probs = tokens.view(-1, tokens.shape[-1]), probs
        name = type(dispatcher).__name__
        self._is_allgather, self._is_seq = "AllGather" in name, "SEQ" in name
        self.is_counting = False
        self._gathered = 0
        self._columns: Tensor | None = None  # all tokens and some columns, of alltoall_seq
        self._permuted: Any = None

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        before, Dispatch.now = Dispatch.now, self
        try:
            yield
        finally:
            Dispatch.now = before

    def _is_elsewhere(self) -> bool:
        """Shared experts have a stream of their own, on which Megatron overlaps them with the dispatch."""
        return bool(torch.npu.current_stream() != self._computing)

    def _send(self, communicate: Function, *args: Any, **kwargs: Any) -> Any:
        """Tokens or what belongs to them, and in the backward pass their gradients."""
        companion = Companion.now
        if companion is None:
            return self.start(communicate, *args, **kwargs)
        companion.departs()
        if "use_global_buffer" in kwargs:
            kwargs["use_global_buffer"] = False  # linear layers that compute meanwhile gather into it
        return companion.returning_first(self.start(communicate, *args, **kwargs))

    def wait(self, event: Any = None) -> None:
        if event is None and not self.is_counting and self.last is not None and Companion.now is not None:
            Companion.now.travels()
        super().wait(event)

    def gather(self, gather: Function, tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        if self._is_elsewhere():
            return gather(tensor, *args, **kwargs)
        before = self.last
        start = self.start if self.is_counting else self._send
        result = start(gather, tensor, *args, **kwargs)
        self._gathered += 1
        if self.is_counting:
            self._permute_early()
            self.wait()
        elif self._is_allgather and self._gathered == 3:  # the map, the probabilities, the tokens
            self.wait(before)
        elif not self._is_allgather and tensor.dim() == 1:  # the probabilities, behind the tokens
            self.wait()
        return result

    def exchange(self, exchange: Function, group: Any, tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        if self.is_counting or self._is_elsewhere():
            return exchange(group, tensor, *args, **kwargs)
        result = self._send(exchange, group, tensor, *args, **kwargs)
        is_last = self._is_seq or self._dispatcher.tp_size == 1
        if is_last and tensor.dim() == 1:
            self.wait()
        return result

    def columns_of(self, exchange: Function, tokens: Tensor) -> Tensor:
        early, self._columns = self._columns, None
        if early is not None and _is_same(tokens, self._tokens):
            return early
        result: Tensor = exchange(tokens)
        self.wait()
        return result

    def permute(self, permute: Function, tokens: Tensor, routing_map: Tensor, **kwargs: Any) -> Any:
        if self.is_counting:
            return permute(tokens, routing_map, **kwargs)
        early, self._permuted = self._permuted, None
        if early is not None and _is_same(tokens, early[0]) and routing_map is early[1]:
            return early[2]
        self.wait()
        return permute(tokens, routing_map, **kwargs)

    def _permute_early(self) -> None:
        """While the counts are on the way; not where tokens are dropped, of which the device knows how many stay."""
        from megatron.core import parallel_state, tensor_parallel
        from megatron.core.transformer.moe import moe_utils

        rows = getattr(self._dispatcher, "num_out_tokens", None)
        if not isinstance(rows, int):
            return
        tokens, options = self._tokens, {}
        if not self._is_seq:
            options["fused"] = self._dispatcher.config.moe_permute_fusion
        elif parallel_state.get_tensor_model_parallel_world_size() > 1:
            tokens = self._columns = tensor_parallel.all_to_all_sp2hp(tokens)
        routing_map = self._dispatcher.routing_map
        permuted = moe_utils.permute(tokens, routing_map, probs=self._probs, num_out_tokens=rows, **options)
        self._permuted = tokens, routing_map, permuted


def in_dispatch(name: str) -> Callable[[Function], Function]:
    """A function of Megatron, which the dispatch that is going on carries out in its own way."""

    def wrapping(function: Function) -> Function:
        @functools.wraps(function)
        def of_dispatch(*args: Any, **kwargs: Any) -> Any:
            if Dispatch.now is None:
                return function(*args, **kwargs)
            return getattr(Dispatch.now, name)(function, *args, **kwargs)

        return of_dispatch

    return wrapping


def dispatching(token_permutation: Function) -> Function:
    """All of a dispatch, up to 0.12."""

    @functools.wraps(token_permutation)
    def dispatched(self: Any, hidden_states: Tensor, probs: Tensor, routing_map: Tensor) -> Any:
        dispatch = Dispatch(self, hidden_states, probs)
        with dispatch.going_on():
            result = token_permutation(self, hidden_states, probs, routing_map)
        dispatch.wait()
        return result

    return dispatched


def beginning(dispatch_preprocess: Function) -> Function:
    """Its first part, from 0.13 on."""

    @functools.wraps(dispatch_preprocess)
    def begun(self: Any, hidden_states: Tensor, routing_map: Tensor, probs: Tensor) -> Any:
        dispatch = Dispatch(self, hidden_states, probs)
        setattr(self, _FIELD, dispatch)
        with dispatch.going_on():
            return dispatch_preprocess(self, hidden_states, routing_map, probs)

    return begun


def going_on(token_dispatch: Function) -> Function:
    @functools.wraps(token_dispatch)
    def gone_on(self: Any, *args: Any, **kwargs: Any) -> Any:
        with getattr(self, _FIELD).going_on():
            return token_dispatch(self, *args, **kwargs)

    return gone_on


def ending(dispatch_postprocess: Function) -> Function:
    @functools.wraps(dispatch_postprocess)
    def ended(self: Any, *args: Any, **kwargs: Any) -> Any:
        dispatch: Dispatch = getattr(self, _FIELD)
        with dispatch.going_on():
            result = dispatch_postprocess(self, *args, **kwargs)
        dispatch.wait()
        delattr(self, _FIELD)
        return result

    return ended


def counting(preprocess: Function) -> Function:
    """Where ranks tell each other how many tokens they have for whom."""

    @functools.wraps(preprocess)
    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        dispatch = Dispatch.now
        if dispatch is None:
            return preprocess(self, *args, **kwargs)
        dispatch.is_counting = True
        try:
            return preprocess(self, *args, **kwargs)
        finally:
            dispatch.is_counting = False

    return counted


def _stages(name: str) -> Iterator[Patch]:
    target = f"{_DISPATCHERS}:{name}"
    yield Patch(f"{target}.token_permutation", dispatching, wraps=True, until="0.13.0")
    yield Patch(f"{target}.dispatch_preprocess", beginning, wraps=True, since="0.13.0")
    yield Patch(f"{target}.token_dispatch", going_on, wraps=True, since="0.13.0")
    yield Patch(f"{target}.dispatch_postprocess", ending, wraps=True, since="0.13.0")


def wants(args: Any) -> bool:
    """Its own flag, or one of a feature that computes something else meanwhile."""
    flags = ("moe_permutation_async_comm", "moe_alltoall_overlap_comm", "moe_allgather_overlap_comm")
    return any(getattr(args, flag, False) for flag in flags)


def check(args: Any) -> Iterator[str]:
    kind = getattr(args, "moe_token_dispatcher_type", "allgather")
    if kind not in SUPPORTED:
        yield (
            f"--moe-token-dispatcher-type {kind} has collectives of its own; give one of {', '.join(SUPPORTED)}, or leave "
            "out --moe-permutation-async-comm"
        )


FEATURE = Feature(
    name="moe-permutation-async-comm",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--moe-permutation-async-comm",
            "Sort tokens for their experts while the collectives of their dispatch are on the way.",
        ),
    ),
    switch=wants,
    needs=(Need(flag="--num-experts", why="a model without experts dispatches no tokens"),),
    check=check,
    is_outermost=True,
    patches=(
        *_stages("MoEAllGatherTokenDispatcher"),
        *_stages("MoEAlltoAllTokenDispatcher"),
        Patch(f"{_DISPATCHERS}:MoEAlltoAllTokenDispatcher.preprocess", counting, wraps=True),
        Patch(f"{_SEQ}.token_permutation", dispatching, wraps=True, until="0.13.0"),
        Patch(f"{_SEQ}.preprocess", counting, wraps=True, until="0.13.0"),
        Patch(f"{_MAPPINGS}:gather_from_sequence_parallel_region", in_dispatch("gather"), wraps=True),
        Patch(f"{_MAPPINGS}:all_to_all", in_dispatch("exchange"), wraps=True),
        Patch(f"{_MAPPINGS}:all_to_all_sp2hp", in_dispatch("columns_of"), wraps=True),
        Patch("megatron.core.transformer.moe.moe_utils:permute", in_dispatch("permute"), wraps=True),
    ),
)
