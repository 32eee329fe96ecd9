# SPDX-License-Identifier: Apache-2.0
"""The Adam of --quant-states and --quant-grads, under the name that other projects import."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mindspeed.args_utils import get_full_args
from mindspeed.features.optimizer._low_precision import LowPrecisionAdam

__all__ = ["AdamW"]


class AdamW(LowPrecisionAdam):
    """quant_states of the arguments in effect says how averages are kept; without it they are float32."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        if amsgrad or maximize:
            raise ValueError(
                "AdamW with averages of few bits: amsgrad and maximize are not supported; leave them out"
            )
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    @staticmethod
    def _kind() -> str | None:
        return getattr(get_full_args(), "quant_states", None)
