# SPDX-License-Identifier: Apache-2.0
"""The Adam of --quant-states and --quant-grads, which may be given both.

Averages of embeddings and of the output layer stay float32, as in the original: few of their rows have a gradient in a step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import torch

from mindspeed.adaptor import Patch, session
from mindspeed.features.optimizer._blocks import Coded, forms
from mindspeed.features.optimizer._sliced_adam import SlicedAdam

_EXACT = "_states_are_exact"  # of parameters
_PARTS = ("embedding", "output_layer")
Method = Callable[..., Any]


class LowPrecisionAdam(SlicedAdam):
    def __init__(self, params: Iterable[Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(params, *args, **kwargs)
        kind = self._kind()
        self.forms = dict(zip(self.dtypes, forms(kind), strict=True)) if kind else {}

    @staticmethod
    def _kind() -> str | None:
        """How averages are kept, if not as float32."""
        return getattr(session.current_arguments(), "quant_states", None)

    def _keeps(self, parameter: torch.Tensor) -> bool:
        return bool(self.forms) and parameter.numel() > 0 and not getattr(parameter, _EXACT, False)

    def _kept(self, name: str, parameter: torch.Tensor) -> Coded:
        return Coded(self.forms[name], parameter)


def _marked(build: Method) -> Method:
    """get_megatron_optimizer, which knows names of parameters."""

    @functools.wraps(build)
    def get_megatron_optimizer(config: Any, model_chunks: Any, *args: Any, **kwargs: Any) -> Any:
        for chunk in model_chunks:
            for name, parameter in chunk.named_parameters():
                if any(part in name for part in _PARTS):
                    setattr(parameter, _EXACT, True)
        return build(config, model_chunks, *args, **kwargs)

    return get_megatron_optimizer


def _with_mark(copy: Method) -> Method:
    """From a parameter to its main parameter."""

    @functools.wraps(copy)
    def copy_attributes(destination_tensor: torch.Tensor, source_tensor: torch.Tensor) -> None:
        copy(destination_tensor, source_tensor)
        if getattr(source_tensor, _EXACT, False):
            setattr(destination_tensor, _EXACT, True)

    return copy_attributes


def _adam(original: type) -> type:
    """Two features may ask for it, so it wraps."""
    return LowPrecisionAdam


ADAM = Patch("megatron.core.optimizer:Adam", _adam, wraps=True)
MARKS = (
    Patch("megatron.core.optimizer:get_megatron_optimizer", _marked, wraps=True),
    Patch(
        "megatron.core.tensor_parallel.layers:copy_tensor_model_parallel_attributes", _with_mark, wraps=True
    ),
)
