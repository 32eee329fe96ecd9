# SPDX-License-Identifier: Apache-2.0
"""Products of complex tensors that are conjugated lazily, on the device.

PyTorch does not conjugate `a.conj()` but marks it, and materialises what is marked before an operator of a device sees it,
except for products: a device's own are to read the mark. torch_npu's do not, and compute with what is not conjugated, without
an error. Here the mark is resolved in front of them. Its vdot() is dot(), which forgets to conjugate at all.

Only tensors with the mark pass here (dispatch key Conjugate), and those of other devices go on as they came.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

# Those that PyTorch leaves to the device.
PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "dot")

Operator = Callable[..., torch.Tensor]
_kept: list[torch.library.Library] = []  # registrations last as long as their library


def _is_lazy(x: object) -> bool:
    return isinstance(x, torch.Tensor) and x.device.type == "npu" and x.is_conj()


def _resolved(x: Any) -> Any:
    return x.resolve_conj() if _is_lazy(x) else x


def _store(to: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    """What is marked holds the conjugate of what it is."""
    if _is_lazy(to):
        to.conj().copy_(result.conj().resolve_conj())
    else:
        to.copy_(result)
    return to


def _in_front_of(operator: Operator) -> Operator:
    key = torch._C.DispatchKeySet(torch._C.DispatchKey.Conjugate)

    def call(*args: Any, **options: Any) -> torch.Tensor:
        with torch._C._ExcludeDispatchKeyGuard(key):
            return operator(*map(_resolved, args), **options)

    return call


def _into(operator: Operator) -> Operator:
    """With out=, which may itself be marked, and so is written apart."""

    def call(*args: Any, out: torch.Tensor, **options: Any) -> torch.Tensor:
        result = operator(*args, **options)
        if out.dtype != result.dtype:
            raise RuntimeError(
                f"Expected out tensor to have dtype {result.dtype}, but got {out.dtype} instead"
            )
        if out.shape != result.shape:
            out.resize_(result.shape)
        return _store(out, result)

    return call


def _in_place(operator: Operator) -> Operator:
    def call(written: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        return _store(written, operator(written, *args, **options))

    return call


def _vdot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.dot(a.conj().resolve_conj() if a.is_complex() else a, b)


def resolve() -> None:
    """Once; needs torch_npu."""
    if _kept:
        return
    aten = torch.library.Library("aten", "IMPL")
    _kept.append(aten)
    for name in PRODUCTS:
        operator = _in_front_of(getattr(torch.ops.aten, name).default)
        aten.impl(name, operator, "Conjugate")
        aten.impl(f"{name}.out", _into(operator), "Conjugate")
        if hasattr(torch.ops.aten, f"{name}_"):
            aten.impl(f"{name}_", _in_place(operator), "Conjugate")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch tells of each kernel that takes another's place
        aten.impl("vdot", _vdot, "PrivateUse1")
        aten.impl("vdot.out", _into(_vdot), "PrivateUse1")
