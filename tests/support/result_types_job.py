# SPDX-License-Identifier: Apache-2.0
"""Every operator of PyTorch's own list (op_db) on the device and on the CPU, as a function, in place and with out=,
for every pair of element types: a line of JSON for each kind of difference, the counts at the end. Ran by
tests/python/test_result_types_torch.py."""

from __future__ import annotations

import collections
import contextlib
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch_npu  # noqa: F401
from torch.utils._pytree import tree_map

warnings.filterwarnings("ignore")
DTYPES = [
    torch.bool, torch.uint8, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.complex64,
]  # fmt: skip
NUMBERS: tuple[Any, ...] = (True, 2, 1.5, 1 + 1j)
# Random values, memory that nobody has set, and sets of operators with a front of their own.
LEFT_OUT = (
    "linalg.", "fft.", "special.", "signal.", "nn.functional.conv", "sparse", "masked.", "torch.ops", "jiterator",
    "empty", "new_empty", "normal", "rand", "bernoulli", "cauchy", "exponential", "geometric", "log_normal",
    "multinomial", "uniform", "nn.functional.dropout", "nn.functional.alpha_dropout", "nn.functional.feature_alpha",
    "nn.functional.rrelu", "nn.functional.scaled_dot", "nn.functional.linear_cross", "svd", "pca", "qr", "resize",
)  # fmt: skip
# What a result of these types may differ by: the CPU rounds to it after every step, the device once.
TOLERANCE = {torch.float16: 1e-2, torch.bfloat16: 8e-2, torch.float32: 2e-4, torch.complex64: 2e-4}
# An operator that is missing fails by name; that is no matter of types.
MISSING = (
    "not available on virtual NPUs",
    "is not in",
    "not implemented for 'npu",
    "libopapi",
    "Could not run",
)


def map_tensors(f: Callable[[torch.Tensor], torch.Tensor], x: Any) -> Any:
    return tree_map(lambda t: f(t) if isinstance(t, torch.Tensor) else t, x)


def on_device(x: Any) -> Any:
    with contextlib.suppress(RuntimeError):  # of the case before, which has been told
        torch.npu.synchronize()
    return map_tensors(lambda t: t.npu(), x)


def run(fn: Callable[..., Any], args: Any, kwargs: Any) -> tuple[str, Any]:
    try:
        result = fn(*args, **kwargs)
        torch.npu.synchronize()
        return "ok", map_tensors(lambda t: t.cpu(), result)
    except Exception as error:  # whatever PyTorch refuses with
        return "error", f"{type(error).__name__}: {error}"


def differs(a: Any, b: Any, loosest: float) -> bool:
    if isinstance(a, torch.Tensor):
        if not isinstance(b, torch.Tensor) or a.dtype != b.dtype or a.shape != b.shape:
            return True
        if not (a.dtype.is_floating_point or a.dtype.is_complex):
            return not torch.equal(a, b)
        near = max(loosest, TOLERANCE.get(a.dtype, 1e-6))
        wide = torch.complex128
        return not torch.allclose(a.to(wide), b.to(wide), near, near, equal_nan=True)
    if isinstance(a, (tuple, list)):
        return len(a) != len(b) or any(differs(x, y, loosest) for x, y in zip(a, b, strict=True))
    return bool(a != b and not (a != a and b != b))


def sample(op: Any, dtype: torch.dtype) -> Any:
    """The first small input of the type, or of another type and then converted."""
    order = (dtype, torch.float32, torch.int64, torch.bool, torch.complex64)
    source = next((d for d in order if d in op.dtypes), None)
    if source is None:
        return None
    try:
        for s in op.sample_inputs("cpu", source, requires_grad=False):
            tensors = [t for t in (s.input, *s.args) if isinstance(t, torch.Tensor)]
            if not isinstance(s.input, torch.Tensor) or any(not 0 < t.numel() < 3000 for t in tensors):
                continue

            def convert(t: torch.Tensor) -> torch.Tensor:
                return t.to(dtype) if t.dtype == source else t

            s.input, s.args = convert(s.input), tuple(map_tensors(convert, s.args))
            s.kwargs = map_tensors(convert, s.kwargs)
            return s
    except Exception:  # a sample that the type does not allow
        return None
    return None


def others(s: Any, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    """The arguments, their tensors in other types and without dimensions, and numbers in their place."""
    yield s.args
    first = s.args[0] if s.args else None
    if isinstance(first, torch.Tensor) and first.dtype == dtype:
        for d in DTYPES:
            if d != dtype:
                yield tuple(map_tensors(lambda t, d=d: t.to(d) if t.dtype == dtype else t, s.args))
                yield (first.flatten()[0].to(d), *s.args[1:])
    if (isinstance(first, torch.Tensor) and first.dtype == dtype) or isinstance(first, (int, float, complex)):
        for number in NUMBERS:
            yield (number, *s.args[1:])


class Sweep:
    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.missing: collections.Counter[str] = collections.Counter()

    def case(self, name: str, form: str, fn: Callable[..., Any], args: Any, kwargs: Any) -> None:
        cpu = run(fn, *map_tensors(torch.clone, (args, kwargs)))
        device = run(fn, *on_device(map_tensors(torch.clone, (args, kwargs))))
        types: list[torch.dtype] = []
        map_tensors(lambda t: (types.append(t.dtype), t)[1], (args, kwargs))
        if cpu[0] == device[0] == "ok":
            loosest = max(TOLERANCE.get(t, 0.0) for t in types)
            kind, why = ("differs" if differs(cpu[1], device[1], loosest) else "same"), ""
        elif cpu[0] == device[0]:
            kind, why = "both refuse", ""
        elif cpu[0] == "ok":
            kind, why = "refuses", device[1]
        else:
            kind, why = "accepts", cpu[1]
        if device[0] == "error" and any(text in device[1] for text in MISSING):
            kind = "missing"
            self.missing[name] += 1
        self.counts[kind] += 1
        numbers = [a for a in args if isinstance(a, (int, float, complex))]
        if kind in ("differs", "refuses", "accepts"):
            self.report(name, form, kind, types, numbers, why)

    def report(self, name: str, form: str, kind: str, types: Any, numbers: Any, why: str) -> None:
        row = {"op": name, "form": form, "kind": kind, "types": [str(t)[6:] for t in types]}
        print(json.dumps(row | {"numbers": str(numbers), "why": why[:2000]}), flush=True)

    def outputs(self, name: str, op: Any, s: Any, args: tuple[Any, ...]) -> None:
        status, result = run(op.op, *map_tensors(torch.clone, ((s.input, *args), s.kwargs)))
        if status == "ok" and isinstance(result, torch.Tensor):
            for d in DTYPES:
                out = torch.zeros(result.shape, dtype=d)
                self.case(name, "out", op.op, (s.input, *args), s.kwargs | {"out": out})

    def operator(self, op: Any) -> None:
        for dtype in DTYPES:
            s = sample(op, dtype)
            if s is None:
                continue
            for args in others(s, dtype):
                if self.missing[op.name] > 3:
                    return
                self.case(op.name, "function", op.op, (s.input, *args), s.kwargs)
                if op.inplace_variant is not None:
                    self.case(op.name, "in place", op.inplace_variant, (s.input, *args), s.kwargs)
                if op.supports_out:
                    self.outputs(op.name, op, s, args)


def main() -> None:
    from torch.testing._internal.common_methods_invocations import op_db

    sweep = Sweep()
    for op in op_db:
        if not op.name.startswith(LEFT_OUT) and (len(sys.argv) < 2 or op.name in sys.argv[1:]):
            torch.manual_seed(0)
            sweep.operator(op)
    print(json.dumps({"counts": sweep.counts, "missing": sorted(sweep.missing)}))


if __name__ == "__main__":
    main()
