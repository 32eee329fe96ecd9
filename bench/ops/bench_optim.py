"""AdamW over 20 million parameters in 60 tensors, lists and gradient clipping, next to PyTorch's CPU versions."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import Case, Prepared, best, main  # first: it keeps torch_npu out

import torch  # isort: skip
from aclnn import Scalar  # isort: skip

LR, BETA1, BETA2, DECAY, EPS = 1e-3, 0.9, 0.999, 0.01, 1e-8


def parameters() -> list[torch.Tensor]:
    """Sizes as in a transformer: a few large matrices, many vectors."""
    shapes = [(1024, 1024)] * 12 + [(1024, 2048)] * 4 + [(1024,)] * 44
    return [torch.randn(*s) for s in shapes]


def torch_adam_w(how: dict) -> torch.optim.Optimizer:
    leaves = [torch.nn.Parameter(p) for p in parameters()]
    for p in leaves:
        p.grad = torch.randn_like(p)
    return torch.optim.AdamW(leaves, lr=LR, weight_decay=DECAY, **how)


def ours_adam_w() -> list[Prepared]:
    step = torch.zeros(1)
    return [
        Prepared("aclnnApplyAdamWV2", (p, torch.zeros_like(p), torch.zeros_like(p), None, torch.randn_like(p), step, LR,
                                       BETA1, BETA2, DECAY, EPS, False, False))
        for p in parameters()
    ]  # fmt: skip


def cases() -> list[Case]:
    x, y, z = parameters(), parameters(), parameters()
    norms = [torch.empty(()) for _ in x]
    found, inverse = torch.zeros(1), torch.ones(1)
    what = "60 tensors, 21M float32"
    half = [t.bfloat16() for t in x]
    return [
        Case("add", "aclnnForeachAddScalarV2", (x, Scalar(1e-9), x), lambda: torch._foreach_add_(x, 1e-9), what),
        Case("mul", "aclnnForeachMulScalarV2", (x, Scalar(0.999999), x), lambda: torch._foreach_mul_(x, 0.999999), what),
        Case("lerp", "aclnnForeachLerpScalar", (x, y, Scalar(0.1), x), lambda: torch._foreach_lerp_(x, y, 0.1), what),
        Case("addcmul", "aclnnForeachAddcmulScalarV2", (x, y, z, Scalar(1e-9), x),
             lambda: torch._foreach_addcmul_(x, y, z, 1e-9), what),
        Case("sqrt", "aclnnForeachSqrt", ([t.abs() for t in y], z), lambda: torch._foreach_sqrt(y), what),
        Case("norm", "aclnnForeachNorm", (x, Scalar(2.0), norms), lambda: torch._foreach_norm(x), what),
        Case("copy to bf16", "aclnnForeachCopy", (x, half), lambda: torch._foreach_copy_(half, x), what),
        Case("unscale", "aclnnForeachNonFiniteCheckAndUnscale", (x, found, inverse),
             lambda: torch._amp_foreach_non_finite_check_and_unscale_(x, found, inverse), what),
    ]  # fmt: skip


def adam_rows() -> None:
    prepared = ours_adam_w()
    ours = best(lambda: [p() for p in prepared], 2.0)
    for how in ({"foreach": True}, {"fused": True}):
        optimizer = torch_adam_w(how)
        with torch.no_grad():
            theirs = best(optimizer.step, 2.0)
        print(
            f"AdamW step, 60 tensors, 21M float32, torch {how}: ours {ours:.0f} us, torch {theirs:.0f} us, {theirs / ours:.2f}"
        )


if __name__ == "__main__":
    main(cases())
    adam_rows()
