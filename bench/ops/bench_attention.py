"""Flash attention forward and backward, and rotary embedding, next to PyTorch's CPU kernels."""

from __future__ import annotations

import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import Case, main  # first: it keeps torch_npu out

import torch  # isort: skip
import torch.nn.functional as F  # isort: skip
from aclnn import signatures  # isort: skip


def arguments(name: str, values: dict) -> tuple:
    return tuple(values.get(p, None if "*" in kind else 0) for kind, p in signatures()[name])


def attention(b: int, n: int, nkv: int, s: int, d: int, dtype: torch.dtype, causal: bool) -> list[Case]:
    q, dy = (torch.randn(b, n, s, d).to(dtype) for _ in range(2))
    k, v = (torch.randn(b, nkv, s, d).to(dtype) for _ in range(2))
    out, stats = torch.empty_like(q), [torch.empty(b, n, s, 8) for _ in range(2)]
    mask = torch.triu(torch.ones(2048, 2048), 1).bool() if causal else None
    values = {
        "query": q, "key": k, "keyIn": k, "value": v, "dy": dy, "attenMaskOptional": mask, "scaleValue": 1 / math.sqrt(d),
        "keepProb": 1.0, "preTokens": 1 << 30, "nextTokens": 0, "headNum": n, "inputLayout": "BNSD", "sparseMode": 2,
        "softmaxMaxOut": stats[0], "softmaxSumOut": stats[1], "attentionOutOut": out, "softmaxMaxOptional": stats[0],
        "softmaxSumOptional": stats[1], "attentionInOptional": out, "dqOut": torch.empty_like(q),
        "dkOut": torch.empty_like(k), "dvOut": torch.empty_like(v),
    }  # fmt: skip
    leaves = [t.clone().requires_grad_() for t in (q, k, v)]

    def forward() -> torch.Tensor:
        return F.scaled_dot_product_attention(*leaves, is_causal=causal, enable_gqa=n != nkv)

    with torch.enable_grad():
        result = forward()

    def backward() -> None:
        torch.autograd.grad(result, leaves, dy, retain_graph=True)

    what = f"b{b} n{n}/{nkv} s{s} d{d} {str(dtype)[6:]}{' causal' if causal else ''}"
    names = "aclnnFlashAttentionScore", "aclnnFlashAttentionScoreGrad"
    return [
        Case("forward", names[0], arguments(names[0], values), forward, what),
        Case("backward", names[1], arguments(names[1], values), backward, what),
    ]


def rotary(s: int, b: int, n: int, d: int, dtype: torch.dtype) -> Case:
    x, cos, sin = torch.randn(s, b, n, d).to(dtype), *(torch.randn(s, 1, 1, d).to(dtype) for _ in range(2))

    def reference() -> torch.Tensor:
        a, c = x.chunk(2, -1)
        return x * cos + torch.cat((-c, a), -1) * sin

    return Case("rotary", "aclnnRotaryPositionEmbedding", (x, cos, sin, 0, torch.empty_like(x)), reference)


if __name__ == "__main__":
    cases = []
    for dtype in (torch.float32, torch.bfloat16):
        cases += attention(2, 8, 8, 1024, 64, dtype, True) + attention(1, 8, 8, 1024, 128, dtype, False)
        cases += attention(1, 8, 2, 2048, 128, dtype, True)
        cases.append(rotary(1024, 2, 8, 64, dtype))
    main(cases)
