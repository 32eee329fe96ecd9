# SPDX-License-Identifier: Apache-2.0
"""SGD with momentum under the signature of Apex and Transformer Engine; the update is torch.optim.SGD's."""

from __future__ import annotations

from typing import Any

import torch


class FusedSGD(torch.optim.SGD):
    """Drop-in for the optimizer Megatron takes from Apex or Transformer Engine."""

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        wd_after_momentum: bool = False,
        materialize_master_grads: bool = True,
        set_grad_none: bool = False,
    ) -> None:
        if wd_after_momentum:
            raise NotImplementedError("FusedSGD(wd_after_momentum=True) is not available")
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
        )
