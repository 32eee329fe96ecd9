# SPDX-License-Identifier: Apache-2.0
"""--virtual-optimizer: Adam's two averages are in memory of the host that the device reads and writes at addresses of its own.

Nothing is copied for a step: the update's operator works on them where they are (torch_npu.empty_with_swapped_memory).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.weak import WeakIdKeyDictionary

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Patch, session
from mindspeed.ops.fused_adam import FusedAdam

ALL = "all"
_OTHERS = {
    "optimizer_cpu_offload": "which brings an Adam of its own",
    "use_custom_fsdp": "which keeps states in buffers of its own",
    "use_megatron_fsdp": "which keeps states in buffers of its own",
    "use_torch_fsdp2": "whose states are spread in another way",
}


def gigabytes(text: str) -> float:
    """Of the option's values: "all" or a number."""
    number = math.inf if text == ALL else float(text)
    if math.isnan(number) or number < 0:
        raise ValueError(f"{text} is no number of gigabytes")
    return number


class VirtualAdam(FusedAdam):
    """The averages of as many parameters as the pipeline stage may keep away, in the order of their first steps."""

    def __init__(self, params: Iterable[Any], *args: Any, **kwargs: Any) -> None:
        from megatron.core import parallel_state

        super().__init__(params, *args, **kwargs)
        given = session.current_arguments().virtual_optimizer
        stage = parallel_state.get_pipeline_model_parallel_rank()
        self._virtual: Any = (
            WeakIdKeyDictionary()
        )  # not an attribute of the tensor, which copies of it would have too
        self._left = given[stage if len(given) > 1 else 0] * 2**30

    def initialize_state(self, parameter: torch.Tensor, store_param_remainders: bool = False) -> None:
        super().initialize_state(parameter, store_param_remainders)
        self._move(parameter)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What was away before and is replaced counts no more."""
        before = {id(t): t.nbytes for t in self._away()}
        super().load_state_dict(state_dict)
        kept = {id(t) for t in self._away()}
        self._left += sum(size for key, size in before.items() if key not in kept)
        for group in self.param_groups:
            for parameter in group["params"]:
                if self.state[parameter]:
                    self._move(parameter)

    def is_away(self, tensor: torch.Tensor) -> bool:
        return tensor in self._virtual

    def _away(self) -> Iterator[torch.Tensor]:
        for state in self.state.values():
            yield from (t for t in state.values() if torch.is_tensor(t) and self.is_away(t))

    def _move(self, parameter: torch.Tensor) -> None:
        import torch_npu

        state = self.state[parameter]
        for name in self.dtypes:
            here = state[name]
            if self.is_away(here) or here.numel() == 0 or here.nbytes > self._left:
                continue
            away = torch_npu.empty_with_swapped_memory(here.size(), dtype=here.dtype, device=here.device)
            away.copy_(here)
            self._virtual[away] = True
            self._left -= here.nbytes
            state[name] = away


def check(args: Any) -> Iterator[str]:
    stages = getattr(args, "pipeline_model_parallel_size", None) or 1
    given = args.virtual_optimizer
    if len(given) not in (1, stages):
        yield (
            f"{len(given)} numbers are given and --pipeline-model-parallel-size is {stages}; give one, or one for each stage"
        )
    for name, why in _OTHERS.items():
        if getattr(args, name, False):
            flag = f"--{name.replace('_', '-')}"
            yield f"it does not work with {flag}, {why}; leave one of the two out"
    optimizer = getattr(args, "optimizer", "adam")
    if optimizer != "adam":
        yield f"it is for the averages of Adam, and --optimizer is {optimizer}; give --optimizer adam, or leave it out"


FEATURE = Feature(
    name="virtual-optimizer",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--virtual-optimizer",
            "Keep so many gigabytes of Adam's averages in the host's memory: all, a number, or one for each pipeline stage.",
            type=gigabytes,
            nargs="+",
            metavar="GB",
            in_config=False,
        ),
    ),
    conflicts=(
        Conflict(feature="swap-optimizer", why="both decide where the averages are"),
        Conflict(feature="reuse-fp32-param", why="its steps in slices make averages themselves"),
        Conflict(feature="optimizer-selection", why="both bring an Adam"),
    ),
    check=check,
    patches=(Patch("megatron.core.optimizer:Adam", VirtualAdam),),
)
