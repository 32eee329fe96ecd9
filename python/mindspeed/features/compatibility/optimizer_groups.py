# SPDX-License-Identifier: Apache-2.0
"""Parameter groups of a loaded checkpoint go to the groups of the optimizer that they describe.

Megatron saves the groups of the first rank and gives them to every rank by position. But a rank numbers its groups in
the order in which it meets its parameters: a pipeline stage whose first parameter is a norm's has the group without
weight decay first. (Transformer Engine's layers start with a matrix, so there all stages have the same order.) Such a
stage would go on with weight decay on its norms and none on its matrices.

Groups are also saved in one order, the first stage's: else Megatron warns with every checkpoint that ranks differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch

Group = dict[str, Any]
# What Megatron makes a group of.
IDENTITY = ("wd_mult", "lr_mult", "is_expert_parallel", "is_decoupled_lr")


def _identity(group: Group) -> tuple[Any, ...]:
    return tuple(group.get(name) for name in IDENTITY)


def match(saved: Sequence[Group], own: Sequence[Group]) -> list[Group]:
    """The saved groups in the order of the optimizer's own. Lists of parameters are local and keep their position.

    A group that the saving rank had no parameter for keeps what it has, but for the number of steps.
    """
    found = {_identity(group): group for group in saved}
    matched = []
    for index, group in enumerate(own):
        mine = dict(found.get(_identity(group), group))
        mine.pop("params", None)
        if "step" in saved[0]:
            mine["step"] = saved[0]["step"]
        if index < len(saved) and "params" in saved[index]:
            mine["params"] = saved[index]["params"]
        matched.append(mine)
    return matched


def by_identity(load: Callable[..., None]) -> Callable[..., None]:
    """Put the groups of the state in order before it is loaded."""

    def load_state_dict(self: Any, state_dict: dict[str, Any]) -> None:
        holder = state_dict.get("optimizer", state_dict)
        if holder.get("param_groups"):
            own = self.optimizer.param_groups
            holder["param_groups"] = match(holder["param_groups"], own)
        load(self, state_dict)

    return load_state_dict


def _place(group: Group) -> tuple[Any, ...]:
    """The first stage begins with the embedding, which has weight decay."""
    decay, rate, is_expert, is_decoupled = _identity(group)
    return -decay, is_expert, not is_decoupled, rate


def in_one_order(state_dict: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Groups of a state without parameter lists, whose order therefore means nothing, as the first stage has them."""

    def ordered_state_dict(self: Any) -> dict[str, Any]:
        state = state_dict(self)
        groups = state["optimizer"]["param_groups"]
        if all("params" not in group for group in groups):
            groups.sort(key=_place)
        return state

    return ordered_state_dict


_DISTRIBUTED = "megatron.core.optimizer.distrib_optimizer:DistributedOptimizer"
_OPTIMIZERS = (
    _DISTRIBUTED,
    "megatron.core.optimizer.optimizer:Float16OptimizerWithFloat16Params",
    "megatron.core.optimizer.optimizer:FP32Optimizer",
)

FEATURE = Feature(
    name="optimizer-groups",
    level=Level.COMPATIBILITY,
    patches=(
        *(Patch(f"{name}.load_state_dict", by_identity, wraps=True) for name in _OPTIMIZERS),
        Patch(f"{_DISTRIBUTED}.state_dict", in_one_order, wraps=True),
    ),
)
