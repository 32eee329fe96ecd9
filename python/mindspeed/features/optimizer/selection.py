# SPDX-License-Identifier: Apache-2.0
"""--optimizer-selection fused_ema_adamw: Adam that also keeps a moving average of each parameter.

Averages are in checkpoints: as a state of the optimizer, of the distributed one too (_further_state.py), and as a model of its own
where a checkpoint is a file per rank (_averaged_model.py).

The other two selections of the original, fused_adamw and fused_torch_adamw, differ in which fused call they make per
parameter; here both are the one call for a whole list of parameters that Megatron's Adam is at every level.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mindspeed.adaptor import session
from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.flags import Flag
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch
from mindspeed.features.optimizer import _averaged_model, _further_state
from mindspeed.ops.fused_ema_adam import FusedEmaAdam

EMA = "fused_ema_adamw"
SELECTIONS = ("fused_adamw", "fused_torch_adamw", EMA)
DECAY = 0.9999
KEPT_AS = "ema_params"  # the state's name, in checkpoints too

_OTHERS = {
    "use_custom_fsdp": "which keeps states where the averages are not looked for",
    "use_megatron_fsdp": "which keeps states where the averages are not looked for",
    "optimizer_cpu_offload": "which brings an Adam of its own",
}


class EmaAdam(FusedEmaAdam):
    """With the decay of the arguments."""

    def __init__(self, params: Iterable[Any], *args: Any, **kwargs: Any) -> None:
        decay = getattr(session.current_arguments(), "ema_decay", DECAY)
        super().__init__(params, *args, ema_decay=decay, **kwargs)


def check(args: Any) -> Iterable[str]:
    if not 0.0 <= args.ema_decay <= 1.0:
        yield f"--ema-decay is {args.ema_decay}: wanted a number from 0 to 1"
    for name, why in _OTHERS.items():
        if getattr(args, name, False):
            flag = f"--{name.replace('_', '-')}"
            yield f"{EMA} does not work with {flag}, {why}; choose another selection or leave out {flag}"
    optimizer = getattr(args, "optimizer", "adam")
    if optimizer != "adam":
        yield f"{EMA} is an Adam, and --optimizer is {optimizer}; give --optimizer adam or choose another selection"


FEATURE = Feature(
    name="optimizer-selection",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--optimizer-selection",
            f"Which Adam: {EMA} keeps a moving average of the parameters as well; the other two are the same.",
            type=str,
            default="fused_adamw",
            choices=SELECTIONS,
        ),
        Flag("--ema-decay", "How much of the average stays at each step.", type=float, default=DECAY),
    ),
    switch=lambda args: getattr(args, "optimizer_selection", None) == EMA,
    check=check,
    patches=(
        Patch("megatron.core.optimizer:Adam", EmaAdam),
        *_further_state.patches(KEPT_AS),
        *_averaged_model.patches(KEPT_AS),
    ),
)
