"""Elementwise operators next to PyTorch's CPU kernels: memory-bound, arithmetic-bound, broadcast, transposed, small."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import common
import torch
import torch.nn.functional as F
from aclnn import Scalar

LARGE, MIDDLE = (4096, 4096), (512, 1024)

# Of x, and of positive x where a name says so: operator, PyTorch's function.
UNARY: dict[str, tuple[str, Callable[..., torch.Tensor]]] = {
    "abs": ("Abs", torch.abs), "neg": ("Neg", torch.neg), "floor": ("Floor", torch.floor),
    "round": ("Round", torch.round), "sign": ("Sign", torch.sign), "cos": ("Cos", torch.cos),
    "tan": ("Tan", torch.tan), "atan": ("Atan", torch.atan), "sinh": ("Sinh", torch.sinh),
    "erf": ("Erf", torch.erf), "erfc": ("Erfc", torch.erfc), "exp2": ("Exp2", torch.exp2),
    "expm1": ("Expm1", torch.expm1), "sigmoid": ("Sigmoid", torch.sigmoid),
    "reciprocal": ("Reciprocal", torch.reciprocal),
}  # fmt: skip
UNARY_POSITIVE: dict[str, tuple[str, Callable[..., torch.Tensor]]] = {
    "rsqrt": ("Rsqrt", torch.rsqrt), "log1p": ("Log1p", torch.log1p), "log2": ("Log2", torch.log2),
    "log10": ("Log10", torch.log10),
}  # fmt: skip
# Of x and, where there are, scalars.
ACTIVATIONS: dict[str, tuple[str, tuple[float, ...], Callable[[torch.Tensor], torch.Tensor]]] = {
    "relu": ("Relu", (), F.relu), "hardsigmoid": ("Hardsigmoid", (), F.hardsigmoid),
    "hardswish": ("Hardswish", (), F.hardswish), "mish": ("Mish", (), F.mish),
    "log sigmoid": ("LogSigmoid", (), F.logsigmoid), "softplus": ("Softplus", (1.0, 20.0), F.softplus),
    "elu": ("Elu", (1.0, 1.0, 1.0), F.elu), "leaky relu": ("LeakyRelu", (0.01,), F.leaky_relu),
    "clamp": ("Clamp", (-1.0, 1.0), lambda x: torch.clamp(x, -1, 1)),
    "div scalar": ("Divs", (3.0,), lambda x: torch.div(x, 3.0)),
    "fmod scalar": ("FmodScalar", (0.7,), lambda x: torch.fmod(x, 0.7)),
    "remainder scalar": ("RemainderTensorScalar", (0.7,), lambda x: torch.remainder(x, 0.7)),
}  # fmt: skip
BINARY: dict[str, tuple[str, Callable[..., torch.Tensor]]] = {
    "mul": ("Mul", torch.mul), "div": ("Div", torch.div), "maximum": ("Maximum", torch.maximum),
    "fmod": ("FmodTensor", torch.fmod), "remainder": ("RemainderTensorTensor", torch.remainder),
    "atan2": ("Atan2", torch.atan2),
}  # fmt: skip
COMPARE: dict[str, tuple[str, Callable[..., torch.Tensor]]] = {
    "eq": ("EqTensor", torch.eq), "le": ("LeTensor", torch.le), "logical and": ("LogicalAnd", torch.logical_and),
}  # fmt: skip
# Of the gradient and the input or the result, and scalars.
GRADIENTS: dict[str, tuple[str, tuple[float, ...], str, tuple[Any, ...]]] = {
    "tanh backward": ("TanhBackward", (), "tanh_backward", ()),
    "sigmoid backward": ("SigmoidBackward", (), "sigmoid_backward", ()),
    "relu backward": ("ThresholdBackward", (0.0,), "threshold_backward", (0.0,)),
    "softplus backward": ("SoftplusBackward", (1.0, 20.0), "softplus_backward", (1.0, 20.0)),
    "hardswish backward": ("HardswishBackward", (), "hardswish_backward", ()),
    "mish backward": ("MishBackward", (), "mish_backward", ()),
}


def common_cases(dtype: torch.dtype) -> list[common.Case]:
    """What every model has somewhere, at 512 x 1024."""
    x, g = torch.randn(MIDDLE).to(dtype), torch.randn(MIDDLE).to(dtype)
    out, mask, rows = torch.empty_like(x), torch.empty(MIDDLE, dtype=torch.bool), []
    for table, operand in ((UNARY, x), (UNARY_POSITIVE, x.abs() + 0.1)):
        for name, (operator, function) in table.items():
            rows.append(common.Case(name, f"aclnn{operator}", (operand, out),
                                    lambda f=function, x=operand: f(x, out=out)))  # fmt: skip
    for name, (operator, numbers, function) in ACTIVATIONS.items():
        scalars = tuple(Scalar(v) for v in numbers)
        rows.append(common.Case(name, f"aclnn{operator}", (x, *scalars, out), lambda f=function: f(x)))
    for name, (operator, function) in BINARY.items():
        rows.append(common.Case(name, f"aclnn{operator}", (x, g, out), lambda f=function: f(x, g, out=out)))
    for name, (operator, function) in COMPARE.items():
        rows.append(common.Case(name, f"aclnn{operator}", (x, g, mask), lambda f=function: f(x, g, out=mask)))
    for name, (operator, numbers, function, arguments) in GRADIENTS.items():
        scalars = tuple(Scalar(v) for v in numbers)
        rows.append(common.Case(name, f"aclnn{operator}", (g, x, *scalars, out),
                                lambda f=getattr(torch.ops.aten, function), a=arguments: f(g, x, *a)))  # fmt: skip
    truth = torch.rand(MIDDLE) > 0.5
    rows.append(common.Case("logical not", "aclnnLogicalNot", (truth, mask),
                            lambda: torch.logical_not(truth, out=mask)))  # fmt: skip
    rows.append(common.Case("lerp scalar", "aclnnLerps", (x, g, Scalar(0.3), out),
                            lambda: torch.lerp(x, g, 0.3, out=out)))  # fmt: skip
    rows.append(common.Case("addcdiv", "aclnnAddcdiv", (x, g, g, Scalar(0.5), out),
                            lambda: torch.addcdiv(x, g, g, value=0.5)))  # fmt: skip
    rows.append(common.Case("masked fill", "aclnnInplaceMaskedFillScalar", (out, truth, Scalar(0.5)),
                            lambda: out.masked_fill_(truth, 0.5)))  # fmt: skip
    return rows


def cases() -> list[common.Case]:
    rows = []
    for dtype in (torch.float32, torch.bfloat16, torch.int64):
        for shape in ((16,), MIDDLE, LARGE):
            a = torch.ones(shape, dtype=dtype)
            b, out = torch.ones_like(a), torch.empty_like(a)
            rows.append(
                common.Case(
                    "add", "aclnnAdd", (a, b, Scalar(1), out), lambda a=a, b=b, o=out: torch.add(a, b, out=o)
                )
            )
    for dtype in (torch.float32, torch.bfloat16):
        x, g = torch.randn(MIDDLE).to(dtype), torch.randn(MIDDLE).to(dtype)
        out, row = torch.empty_like(x), torch.randn(MIDDLE[1]).to(dtype)
        column, mask = torch.randn(MIDDLE[0], 1).to(dtype), torch.empty(MIDDLE, dtype=torch.bool)
        half, positive = torch.empty(MIDDLE[0], MIDDLE[1] // 2, dtype=dtype), x.abs() + 0.1

        def case(name: str, operator: str, args: tuple, reference: object) -> None:
            rows.append(common.Case(name, f"aclnn{operator}", args, reference))

        case("add row", "Add", (x, row, Scalar(1), out), lambda x=x, r=row, o=out: torch.add(x, r, out=o))
        case("mul column", "Mul", (x, column, out), lambda x=x, c=column, o=out: torch.mul(x, c, out=o))
        case("add transposed", "Add", (x.t(), g.t().contiguous(), Scalar(1), torch.empty_like(x.t())),
             lambda x=x.t(), g=g.t().contiguous(): torch.add(x, g))  # fmt: skip
        case("muls", "Muls", (x, Scalar(0.5), out), lambda x=x, o=out: torch.mul(x, 0.5, out=o))
        case("gt scalar", "GtScalar", (x, Scalar(0.5), mask), lambda x=x, o=mask: torch.gt(x, 0.5, out=o))
        case(
            "where", "SWhere", (mask, x, g, out), lambda m=mask, x=x, g=g, o=out: torch.where(m, x, g, out=o)
        )
        case("exp", "Exp", (x, out), lambda x=x, o=out: torch.exp(x, out=o))
        case("log", "Log", (positive, out), lambda x=positive, o=out: torch.log(x, out=o))
        case("sin", "Sin", (x, out), lambda x=x, o=out: torch.sin(x, out=o))
        case("tanh", "Tanh", (x, out), lambda x=x, o=out: torch.tanh(x, out=o))
        case("sqrt", "Sqrt", (positive, out), lambda x=positive, o=out: torch.sqrt(x, out=o))
        case("pow 2", "PowTensorScalar", (x, Scalar(2), out), lambda x=x, o=out: torch.pow(x, 2, out=o))
        case(
            "pow 1.7",
            "PowTensorScalar",
            (positive, Scalar(1.7), out),
            lambda x=positive, o=out: torch.pow(x, 1.7, out=o),
        )
        case("gelu", "Gelu", (x, out), lambda x=x: F.gelu(x))
        case("gelu tanh", "GeluV2", (x, 1, out), lambda x=x: F.gelu(x, approximate="tanh"))
        case(
            "gelu backward", "GeluBackward", (g, x, out), lambda g=g, x=x: torch.ops.aten.gelu_backward(g, x)
        )
        case("silu", "Silu", (x, out), lambda x=x: F.silu(x))
        case(
            "silu backward", "SiluBackward", (g, x, out), lambda g=g, x=x: torch.ops.aten.silu_backward(g, x)
        )
        case("swiglu", "SwiGlu", (x, -1, half), lambda x=x: F.silu(x.chunk(2, -1)[0]) * x.chunk(2, -1)[1])
        case(
            "addcmul",
            "Addcmul",
            (x, g, g, Scalar(0.5), out),
            lambda x=x, g=g: torch.addcmul(x, g, g, value=0.5),
        )
        rows += common_cases(dtype)
    return rows


if __name__ == "__main__":
    common.main(cases())
