"""Elementwise operators next to PyTorch's CPU kernels: memory-bound, arithmetic-bound, broadcast, transposed, small."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import common
import torch
import torch.nn.functional as F
from aclnn import Scalar

LARGE, MIDDLE = (4096, 4096), (512, 1024)


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
    return rows


if __name__ == "__main__":
    common.main(cases())
