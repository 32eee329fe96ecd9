# SPDX-License-Identifier: Apache-2.0
"""Recomputation that keeps neither what lies between nor the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from megatron.core.tensor_parallel import random

from mindspeed import absent

__all__ = ["CheckpointWithoutOutput"]


class CheckpointWithoutOutput(random.CheckpointWithoutOutput):
    """Megatron's, with the calls of the original: the memory of the result is given back by discard_output(), and
    recompute() is a hook that fills it again, before the gradient of whoever saved it is asked for."""

    def checkpoint(
        self, run_function: Callable[..., Any], distribute_saved_activations: bool, *args: Any
    ) -> Any:
        """run_function(*args), of which only the arguments are kept."""
        if distribute_saved_activations:
            raise ValueError(
                "CheckpointWithoutOutput: distribute_saved_activations=True is not supported, its inputs are kept whole; "
                "pass False"
            )
        return super().checkpoint(run_function, *args)

    def discard_output(self) -> None:
        """Give back the memory of the result; nothing may read it before recompute()."""
        for output in self.outputs:
            output.untyped_storage().resize_(0)

    def recompute(self, grad: torch.Tensor | None) -> None:
        """For register_hook of a tensor behind the result."""
        self._recompute(grad)


__getattr__ = absent.attributes(
    __name__,
    {
        "checkpoint_wrapper": "Megatron's own recomputation is used",
        "checkpoint_function_backward": "Megatron's own recomputation is used",
        "CheckpointFunctionRipipe": "--recompute-in-bubble and --recompute-in-advance are not supported yet",
        "_set_cuda_rng_state": "the import of mindspeed.megatron_adaptor does this, there is nothing to register",
    },
)
