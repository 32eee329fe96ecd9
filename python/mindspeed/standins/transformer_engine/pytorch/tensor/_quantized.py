# SPDX-License-Identifier: Apache-2.0
"""A weight in 8 bits that looks like one of its half type: whoever computes with it gets its values, whoever writes into it
gives it new numbers. Layers multiply by the numbers (mindspeed.ops.fp8_products asks `held`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_map

from mindspeed.ops.fp8_weights import Form, Scales
from mindspeed.standins.refusal import RefusedError

_aten = torch.ops.aten
_SAME = (_aten.detach.default, _aten.alias.default)
# What is asked for their form alone.
_NEW = (
    _aten.empty_like.default,
    _aten.zeros_like.default,
    _aten.ones_like.default,
    _aten.new_empty.default,
    _aten.new_zeros.default,
)


@dataclass(slots=True)
class Numbers:
    """Shared by a parameter and its aliases (`.data`, `detach()`)."""

    form: Form
    data: torch.Tensor
    scales: Scales


class QuantizedTensor(torch.Tensor):
    """Base of the classes by recipe."""

    _numbers: Numbers
    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def around(cls, numbers: Numbers, dtype: torch.dtype) -> QuantizedTensor:
        made: QuantizedTensor = torch.Tensor._make_wrapper_subclass(
            cls, numbers.data.shape, dtype=dtype, device=numbers.data.device
        )
        made._numbers = numbers
        return made

    @classmethod
    def of(cls, values: torch.Tensor, form: Form) -> QuantizedTensor:
        data, scales = form.quantise(values.detach().contiguous())
        return cls.around(Numbers(form, data, scales), values.dtype)

    @property
    def _data(self) -> torch.Tensor:
        return self._numbers.data

    @property
    def _scale_inv(self) -> torch.Tensor:
        return self._numbers.scales[0]

    def dequantize(self, *, dtype: torch.dtype | None = None) -> torch.Tensor:
        numbers = self._numbers
        return numbers.form.values(numbers.data, numbers.scales).to(dtype or self.dtype)

    def quantize_(self, values: torch.Tensor) -> QuantizedTensor:
        """New values; where the numbers lie stays."""
        numbers = self._numbers
        given = values.dequantize() if isinstance(values, QuantizedTensor) else values
        given = given.detach().to(self.device, self.dtype).expand(self.shape).contiguous()
        data, numbers.scales = numbers.form.quantise(given)
        numbers.data.copy_(data)
        return self

    def quantize_part_(self, part: torch.Tensor, first: int, largest: torch.Tensor) -> None:
        """Elements from `first` on; `largest` is each block's in the whole."""
        numbers = self._numbers
        data, numbers.scales = numbers.form.quantise_part(part, first, self.shape, largest)
        numbers.data.view(-1)[first : first + part.numel()].copy_(data)

    def held(self, kind: str, make: Callable[[torch.Tensor], Any]) -> Any:
        numbers = self._numbers
        found = numbers.form.operand(kind, numbers.data, numbers.scales)
        return make(self.dequantize()) if found is None else found

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"{type(self).__name__}({tuple(self.shape)}, {self.dtype}, {self._numbers.form.kind})"

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        first = args[0] if args else None
        if isinstance(first, QuantizedTensor):
            if function in _SAME:
                return type(first).around(first._numbers, first.dtype)
            if function is _aten.copy_.default:
                return first.quantize_(args[1])
            if function is _aten.view.default and tuple(args[1]) in ((-1,), (first.numel(),)):
                return Run.of(first, 0, first.numel())
            if function in _NEW:
                like = torch.empty((), dtype=first.dtype, device=first.device).expand(first.shape)
                return function(like, *args[1:], **kwargs)
        return _of_values(function, args, kwargs)


class Run(torch.Tensor):
    """Neighbouring elements of a weight laid out in one dimension. Megatron's distributed optimizer keeps one for each rank's part;
    values are made when they are asked for."""

    _weight: QuantizedTensor
    _first: int
    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def of(cls, weight: QuantizedTensor, first: int, last: int) -> Run:
        made: Run = torch.Tensor._make_wrapper_subclass(
            cls, (last - first,), dtype=weight.dtype, device=weight.device
        )
        made._weight, made._first = weight, first
        return made

    def dequantize(self) -> torch.Tensor:
        return self._weight.dequantize().view(-1)[self._first : self._first + self.numel()]

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Run({self._first}, {self.numel()}, {self._weight!r})"

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        first = args[0] if args else None
        if isinstance(first, Run):
            if function in _SAME:
                return Run.of(first._weight, first._first, first._first + first.numel())
            if function is _aten.slice.Tensor and (len(args) < 2 or args[1] == 0) and len(args) < 5:
                begin, end, _ = slice(*args[2:4]).indices(first.numel())
                return Run.of(first._weight, first._first + begin, first._first + max(begin, end))
        return _of_values(function, args, kwargs or {})


def _of_values(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Compute with values; what is computed in place becomes the weight's."""
    first = args[0] if args else None
    is_changed = function._schema.is_mutable
    if is_changed and isinstance(first, Run):
        raise RefusedError(f"{function} of a part of a quantised weight", "Copy into the whole weight")

    def value(each: Any) -> Any:
        return each.dequantize() if isinstance(each, QuantizedTensor | Run) else each

    given, named = tree_map(value, args), tree_map(value, kwargs)
    result = function(*given, **named)
    if is_changed and isinstance(first, QuantizedTensor):
        return first.quantize_(given[0])
    return result
