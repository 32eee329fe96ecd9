# SPDX-License-Identifier: Apache-2.0
"""Optimizers of one model of which each parameter is updated as a whole: by every data-parallel rank, or by one of them.

Where one rank updates a parameter, it alone has the main parameter and the states of it. Gradients are summed on all ranks,
and what was updated is sent to the others after the step. Which rank has which is planned in C (hc_whole_shares).

Checkpoints of --ckpt-format torch_dist name every state by its parameter, so they load whichever rank has it, and with any
number of ranks. Of --ckpt-format torch the first rank writes the states of all into one file, where Megatron has that of its
distributed optimizer.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from megatron.core.optimizer.optimizer import ChainedOptimizer

from mindspeed.adaptor.native import function

_KINDS = ("wd_mult", "lr_mult", "is_expert_parallel", "is_decoupled_lr")  # tell groups of an optimizer apart
_PREFIX = "optimizer.state"


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """Parameters that ranks of a group could each update, and the number of the rank that does."""

    group: Any
    parameters: list[torch.Tensor]
    owners: list[int]

    @property
    def mine(self) -> set[int]:
        """ids of the parameters that this rank updates."""
        rank = self.group.rank()
        return {id(p) for p, owner in zip(self.parameters, self.owners, strict=True) if owner == rank}

    def send(self) -> None:
        """What each rank has updated, to the others; one message for each rank and type."""
        ranks = torch.distributed.get_process_group_ranks(self.group)
        for dtype in dict.fromkeys(p.dtype for p in self.parameters):
            for number, rank in enumerate(ranks):
                owned = [
                    p.data
                    for p, owner in zip(self.parameters, self.owners, strict=True)
                    if owner == number and p.dtype is dtype
                ]
                if owned:
                    self._send(owned, rank, number == self.group.rank())

    def _send(self, tensors: list[torch.Tensor], rank: int, is_mine: bool) -> None:
        numel = sum(t.numel() for t in tensors)
        flat = torch.empty(numel, dtype=tensors[0].dtype, device=tensors[0].device)
        parts = [
            part.view(t.shape)
            for part, t in zip(flat.split([t.numel() for t in tensors]), tensors, strict=True)
        ]
        if is_mine:
            torch._foreach_copy_(parts, tensors)
        torch.distributed.broadcast(flat, rank, group=self.group)
        if not is_mine:
            torch._foreach_copy_(tensors, parts)


def dealt_out(parameters: list[torch.Tensor], costs: Sequence[float], group: Any) -> Share:
    count = len(parameters)
    owners = (ctypes.c_int32 * max(count, 1))()
    plan = function(
        "hc_whole_shares", ctypes.POINTER(ctypes.c_double), ctypes.c_size_t, ctypes.c_size_t,
        ctypes.POINTER(ctypes.c_int32),
    )  # fmt: skip
    if plan((ctypes.c_double * max(count, 1))(*costs), count, group.size(), owners) != 0:
        raise RuntimeError(f"no plan for {count} parameters on {group.size()} ranks")
    return Share(group, parameters, list(owners)[:count])


class WholeOptimizers(ChainedOptimizer):
    """`shares`: none where every rank updates all."""

    def __init__(self, optimizers: list[Any], shares: Sequence[Share]) -> None:
        super().__init__(optimizers)
        self.shares = list(shares)

    @torch.no_grad()
    def step_with_ready_grads(self) -> bool:
        done: bool = super().step_with_ready_grads()
        for share in self.shares:
            share.send()
        return done

    def _mains(self) -> Iterator[tuple[Any, torch.Tensor, torch.Tensor]]:
        """(inner optimizer, main parameter, parameter of the model), the latter two the same for float32 models."""
        for one in self.chained_optimizers:
            model_of: dict[int, torch.Tensor] = {}
            if hasattr(one, "fp32_from_float16_groups"):
                for mains, models in zip(one.fp32_from_float16_groups, one.float16_groups, strict=True):
                    model_of |= dict(zip(map(id, mains), models, strict=True))
            for group in one.optimizer.param_groups:
                for main in group["params"]:
                    yield one.optimizer, main, model_of.get(id(main), main)

    def _states(self) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
        """(parameter of the model, all that a checkpoint has of it)."""
        for inner, main, model in self._mains():
            if not inner.state[main]:
                inner.initialize_state(main)
            mains = {} if main is model else {"fp32_param": main}
            yield model, {name: v for name, v in inner.state[main].items() if torch.is_tensor(v)} | mains

    def _groups(self) -> list[dict[str, Any]]:
        return [
            {name: value for name, value in group.items() if name != "params"} | {"of": number}
            for number, one in enumerate(self.chained_optimizers)
            for group in one.optimizer.param_groups
        ]

    def _set_groups(self, groups: list[dict[str, Any]]) -> None:
        """By what tells them apart: pipeline stages have others. What is the same in all groups of an optimizer is taken
        from any where this stage's is missing."""
        names = [type(one.optimizer).__name__ for one in self.chained_optimizers]
        for number, one in enumerate(self.chained_optimizers):
            for group in one.optimizer.param_groups:
                same = [g for g in groups if g["name"] == names[number]]
                exact = [g for g in same if all(g.get(k) == group.get(k) for k in _KINDS)]
                if exact:
                    group.update({k: v for k, v in exact[0].items() if k not in ("of", "name")})
                elif same and "step" in same[0]:
                    group["step"] = same[0]["step"]

    def _told(self) -> dict[str, Any]:
        names = [type(one.optimizer).__name__ for one in self.chained_optimizers]
        return {"parameter_groups": [g | {"name": names[g["of"]]} for g in self._groups()]}

    def state_dict(self) -> Any:
        return self._told() if self.shares else super().state_dict()

    def load_state_dict(self, state_dict: Any) -> None:
        if not isinstance(state_dict, dict) or "parameter_groups" not in state_dict:
            if self.shares:
                raise RuntimeError(
                    "the checkpoint has the states of every rank's own optimizer, and --use-distributed-optimizer was not "
                    "given when it was saved; resume without it, or give --no-load-optim"
                )
            super().load_state_dict(state_dict)
            return
        self._set_groups(state_dict["parameter_groups"])
        if "states" in state_dict:
            with torch.no_grad():
                for number, (_, tensors) in enumerate(self._states()):
                    for name, tensor in tensors.items():
                        tensor.copy_(state_dict["states"][number][name])

    def sharded_state_dict(self, model_sharded_state_dict: Any, is_loading: bool = False, **_: Any) -> Any:
        """Tensors as the model's own are sharded, whichever data-parallel rank has them."""
        from megatron.core.dist_checkpointing.dict_utils import nested_values
        from megatron.core.dist_checkpointing.mapping import ShardedTensorFactory
        from megatron.core.dist_checkpointing.utils import extract_sharded_tensors_and_factories

        sharded, _ = extract_sharded_tensors_and_factories(model_sharded_state_dict)
        of_model = {id(entry.data): entry for entry in nested_values(sharded)}
        states: dict[int, dict[str, Any]] = {}
        for number, (model, tensors) in enumerate(self._states()):
            like = of_model[id(model)]
            states[number] = {}
            for name, tensor in tensors.items():
                given: dict[str, Any] = {"key": f"{_PREFIX}.{name}.{like.key}", "data": tensor}
                if not isinstance(like, ShardedTensorFactory):
                    given["dtype"] = tensor.dtype
                if self.shares:  # this rank alone has it
                    given["replica_id"] = (*like.replica_id[:2], 0)
                states[number][name] = replace(like, **given)
        return self._told() | {"states": states}

    @torch.no_grad()
    def save_parameter_state(self, filename: str) -> None:
        kept: list[Any] = []
        for share in self.shares:
            mine = {id(model): tensors for model, tensors in self._states()}
            own = {
                number: {name: t.cpu() for name, t in mine[id(p)].items()}
                for number, p in enumerate(share.parameters)
                if id(p) in mine
            }
            first = torch.distributed.get_process_group_ranks(share.group)[0]
            parts: list[Any] | None = [None] * share.group.size() if share.group.rank() == 0 else None
            torch.distributed.gather_object(own, parts, dst=first, group=share.group)
            kept.append({k: v for part in parts for k, v in part.items()} if parts else None)
        if any(part is not None for part in kept):
            torch.save(kept, filename)

    @torch.no_grad()
    def load_parameter_state(self, filename: str, *, update_legacy_format: bool = False) -> None:
        is_first = any(share.group.rank() == 0 for share in self.shares)
        kept = torch.load(filename, map_location="cpu") if is_first else [None] * len(self.shares)
        for share, part in zip(self.shares, kept, strict=True):
            told = [part]
            first = torch.distributed.get_process_group_ranks(share.group)[0]
            torch.distributed.broadcast_object_list(told, src=first, group=share.group)
            places = {id(p): number for number, p in enumerate(share.parameters)}
            for model, tensors in self._states():
                if id(model) in places:
                    for name, tensor in tensors.items():
                        tensor.copy_(told[0][places[id(model)]][name])
