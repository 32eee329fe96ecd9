# SPDX-License-Identifier: Apache-2.0
"""Feed-forward layers against float64: floating point, int8 and weights of int8, with experts and without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from aclnn import IntArray, OperatorError, call
from compare import assert_close, layouts, make

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "fastgelu": lambda z: z * torch.sigmoid(1.702 * z),
    "silu": F.silu,
}
GATED = {"geglu": "gelu", "reglu": "relu", "swiglu": "silu"}
NUMBERS = ("bias1 bias2 scale offset deq1 deq2 antiquant1 antiquant2 shift1 shift2").split()
K, N, M = 24, 40, 19
TOKENS = [5, 0, 11, 3]


def activate(word: str, z: torch.Tensor) -> torch.Tensor:
    if word not in GATED:
        return ACTIVATIONS[word](z)
    a, b = z.chunk(2, -1)
    return ACTIVATIONS[GATED[word]](a) * b


def run(
    x: torch.Tensor,
    w1: torch.Tensor,
    w2: torch.Tensor,
    y: torch.Tensor,
    word: str = "gelu",
    tokens: list[int] | torch.Tensor | None = None,
    ends: bool = False,
    precise: int = 0,
    operator: str = "aclnnFFNV2",
    **numbers: Any,
) -> None:
    given = [numbers.pop(name, None) for name in NUMBERS]
    assert not numbers
    groups = IntArray(tokens) if isinstance(tokens, list) else tokens
    call(operator, x, w1, w2, groups, *given, word, precise, ends, y)


def operands(dtype: torch.dtype, experts: int, gated: bool = False) -> dict[str, torch.Tensor]:
    """Of magnitudes that keep results near 1."""
    stack = (experts,) if experts else ()
    return {
        "x": make((M, K), dtype, 0, -1, 1),
        "w1": make((*stack, K, N * (1 + gated)), dtype, 1, -1, 1),
        "w2": make((*stack, N, K), dtype, 2, -0.5, 0.5),
        "bias1": make((*stack, N * (1 + gated)), dtype, 3, -1, 1),
        "bias2": make((*stack, K), dtype, 4, -1, 1),
    }


def by_expert(experts: int) -> list[tuple[slice, int]]:
    """Rows of each expert."""
    if not experts:
        return [(slice(0, M), -1)]
    first = [sum(TOKENS[:e]) for e in range(experts + 1)]
    return [(slice(first[e], first[e + 1]), e) for e in range(experts)]


def of(t: torch.Tensor, expert: int) -> torch.Tensor:
    return (t if expert < 0 else t[expert]).double()


def reference(o: dict[str, torch.Tensor], word: str, experts: int, inner: torch.dtype) -> torch.Tensor:
    """The row between the products is rounded to its type."""
    y = torch.zeros(M, K, dtype=torch.float64)
    for rows, e in by_expert(experts):
        z = o["x"][rows].double() @ of(o["w1"], e) + of(o["bias1"], e)
        y[rows] = activate(word, z).to(inner).double() @ of(o["w2"], e) + of(o["bias2"], e)
    return y


def allowed(inner: torch.dtype) -> float:
    """Float32's sums of numbers up to about 10, and one of the type between where its rounding falls otherwise."""
    return 1e-4 + (N * 4 * 0.5 * torch.finfo(inner).eps / 8 if inner != torch.float32 else 0)


@pytest.mark.parametrize("word", [*ACTIVATIONS, *GATED])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("experts", [0, 4])
def test_floating_point(word: str, dtype: torch.dtype, experts: int) -> None:
    o = operands(dtype, experts, word in GATED)
    for precise in (0, 1):
        inner = torch.float32 if dtype == torch.float16 and precise == 0 else dtype
        want = reference(o, word, experts, inner)
        y = torch.empty(M, K, dtype=dtype)
        tokens = TOKENS if experts else None
        run(**o, y=y, word=word, tokens=tokens, precise=precise)
        assert_close(y, want, 2, allowed(inner))
        if experts:
            again = torch.empty_like(y)
            ends = torch.tensor(TOKENS).cumsum(0)
            run(**o, y=again, word=word, tokens=ends.tolist(), ends=True, precise=precise)
            assert torch.equal(y, again)
            for index in (ends, ends.int()):
                run(
                    **o,
                    y=again.zero_(),
                    word=word,
                    tokens=index,
                    ends=True,
                    precise=precise,
                    operator="aclnnFFNV3",
                )
                assert torch.equal(y, again)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_layouts(dtype: torch.dtype) -> None:
    """Every operand in every memory; x of several dimensions."""
    o = operands(dtype, 4)
    want = reference(o, "silu", 4, dtype if dtype != torch.float16 else torch.float32)
    for name in o:
        for _, view in layouts(o[name]):
            for _, y in layouts(torch.empty(M, K, dtype=dtype)):
                run(**(o | {name: view}), y=y, word="silu", tokens=TOKENS)
                assert_close(y, want, 2, allowed(dtype))
    o = operands(dtype, 0)
    want = reference(o, "silu", 0, dtype if dtype != torch.float16 else torch.float32)
    more = o["x"].reshape(1, M, K).expand(3, M, K).unsqueeze(1)
    y = torch.empty(3, 1, M, K, dtype=dtype)
    run(**(o | {"x": more}), y=y, word="silu")
    for part in y.flatten(0, 1):
        assert_close(part, want, 2, allowed(dtype))
    x = o["x"].clone()
    run(**(o | {"x": x}), y=x, word="silu")
    assert torch.equal(x, y[0, 0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("experts", [0, 4])
@pytest.mark.parametrize("shifted", [False, True])
def test_weights_of_int8(dtype: torch.dtype, experts: int, shifted: bool) -> None:
    o = operands(dtype, experts)
    stack = (experts,) if experts else ()
    w1, w2 = make((*stack, K, N), torch.int8), make((*stack, N, K), torch.int8, 1)
    scales = {
        "antiquant1": make((*stack, N), dtype, 5, 0.01, 0.03),
        "antiquant2": make((*stack, K), dtype, 6, 0.01, 0.03),
    }
    shifts = {"shift1": make((*stack, N), dtype, 7), "shift2": make((*stack, K), dtype, 8)}
    more = scales | (shifts if shifted else {})

    def opened(w: torch.Tensor, i: int) -> torch.Tensor:
        shift = shifts[f"shift{i}"].double().unsqueeze(-2) if shifted else 0
        return (w.double() + shift) * scales[f"antiquant{i}"].double().unsqueeze(-2)

    y = torch.empty(M, K, dtype=dtype)
    run(**(o | {"w1": w1, "w2": w2}), **more, y=y, tokens=TOKENS if experts else None)
    inner = torch.float32 if dtype == torch.float16 else dtype
    want = reference(o | {"w1": opened(w1, 1), "w2": opened(w2, 2)}, "gelu", experts, inner)
    assert_close(y, want, 2, allowed(inner))


@pytest.mark.parametrize("word", list(ACTIVATIONS))
@pytest.mark.parametrize("experts", [0, 4])
@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_int8(word: str, experts: int, each: bool, packed: bool) -> None:
    """What float32 makes of a tie between the products may be the other of two integers."""
    stack = (experts,) if experts else ()
    x, w1, w2 = (
        make((M, K), torch.int8),
        make((*stack, K, N), torch.int8, 1),
        make((*stack, N, K), torch.int8, 2),
    )
    b1, b2 = make((*stack, N), torch.int32, 3) * 30, make((*stack, K), torch.int32, 4) * 30
    d1, d2 = make((*stack, N), torch.float32, 5, 1e-3, 2e-3), make((*stack, K), torch.float32, 6, 1e-3, 2e-3)
    scale = make((*stack, N) if each else (experts or 1,), torch.float32, 7, 2, 8)
    offset = make((experts or 1,), torch.float32, 8)
    factor = [d.view(torch.int32).long() if packed else d for d in (d1, d2)]
    y = torch.empty(M, K, dtype=torch.float16)
    run(x, w1, w2, y, word, TOKENS if experts else None, bias1=b1, bias2=b2, scale=scale, offset=offset,
        deq1=factor[0], deq2=factor[1])  # fmt: skip
    if packed:  # the mantissa's upper bits
        d1, d2 = ((d.view(torch.int32) & -8192).view(torch.float32) for d in (d1, d2))
    for rows, e in by_expert(experts):
        z = (x[rows].double() @ of(w1, e) + of(b1, e)) * of(d1, e)
        number = of(scale, e) if each or e >= 0 else scale.double()
        exact = activate(word, z) * number + (offset.double() if e < 0 else offset[e].double())
        between = exact.round().clamp(-128, 127)
        want = (between @ of(w2, e) + of(b2, e)) * of(d2, e)
        ties = ((exact - exact.floor() - 0.5).abs() < 1e-4).sum(-1, keepdim=True)
        assert ((y[rows].double() - want).abs() <= want.abs() * 2**-10 + 1e-4 + ties * 127 * 2e-3).all()


def test_empty() -> None:
    o = operands(torch.float32, 0)
    y = torch.empty(0, K)
    run(**(o | {"x": torch.empty(0, K)}), y=y)
    y = torch.empty(3, 0, K)
    run(**(o | {"x": torch.empty(3, 0, K)}), y=y)


def test_nan_stays_in_its_row() -> None:
    o = operands(torch.float32, 0)
    o["x"][3, 5] = float("nan")
    for word in ACTIVATIONS:
        y = torch.empty(M, K)
        run(**o, y=y, word=word)
        assert y[3].isnan().all() and y[:3].isfinite().all() and y[4:].isfinite().all()


def test_bad_input() -> None:
    o = operands(torch.float16, 0)
    e = operands(torch.float16, 4)
    y = torch.empty(M, K, dtype=torch.float16)

    def refused(match: str, given: dict[str, Any] = o, **change: Any) -> None:
        with pytest.raises(OperatorError, match="aclnnFFNV[23]: " + match):
            run(**({"y": y} | given | change))

    refused("x is null", x=None)
    refused("weight1 is null", w1=None)
    refused("weight2 is null", w2=None)
    refused("y is null", y=None)
    refused("activation is null", word=None)
    refused("activation is 'tanh', wanted fastgelu", word="tanh")
    refused("innerPrecise is 2", precise=2)
    refused("x is int32.*wanted all of int8", x=o["x"].int())
    refused("x is float16.*weight1 int8.*weight2 float16", w1=o["w1"].to(torch.int8))
    refused("scale is float32\\[1\\], wanted none", scale=torch.ones(1))
    refused("antiquantScale2 is float32\\[1\\], wanted none", antiquant2=torch.ones(1))
    refused("weight1 is float16\\[4,24,40\\], wanted 2 dimensions for 0 experts", given=e)
    refused("weight1 is float16\\[24,40\\], wanted 3 dimensions, a matrix for each", tokens=TOKENS)
    refused("weight1 is .*wanted as many rows as x has columns", x=o["w1"])
    refused("weight1 is .*wanted twice as many columns", word="swiglu")
    refused("weight1 is .*wanted just as many columns", w2=o["x"])
    refused("y is float16\\[19,40\\], wanted", y=torch.empty(M, N, dtype=torch.float16))
    refused("y is int8", y=y.to(torch.int8))
    refused("bias1 is float16\\[3\\], wanted \\[1,40\\]", bias1=torch.ones(3).half())
    refused("bias2 is int32\\[24\\], wanted floating point", bias2=torch.ones(K).int())
    refused(
        "bias1 is float16\\[160\\], wanted \\[4,40\\]",
        given=e | {"bias1": torch.ones(160).half()},
        tokens=TOKENS,
    )
    refused("expertTokens\\[3\\] is 2, wanted 3 to 3", given=e, tokens=[5, 0, 11, 2])
    refused("expertTokens\\[1\\] is -1, wanted 0 to 14", given=e, tokens=[5, -1, 11, 4])
    refused("expertTokens\\[1\\] is 4, wanted 5 to 19", given=e, tokens=[5, 4, 11, 19], ends=True)
    refused("expertTokens has 257 numbers", given=e, tokens=[1] * 257)
    refused("expertTokens is float32", given=e, tokens=torch.ones(4), operator="aclnnFFNV3")
    refused(
        "expertTokens\\[0\\] is 1099511627776",
        given=e,
        tokens=torch.tensor([2**40, 0, 0, 0]),
        operator="aclnnFFNV3",
    )
    eight: dict[str, Any] = {
        "x": torch.ones(M, K, dtype=torch.int8), "w1": torch.ones(K, N, dtype=torch.int8), "w2": torch.ones(N, K, dtype=torch.int8),
        "scale": torch.ones(1), "deq1": torch.ones(N), "deq2": torch.ones(K),
    }  # fmt: skip
    run(**eight, y=y)
    refused("scale is null with x int8", given=eight, scale=None)
    refused("deqScale2 is null with x int8", given=eight, deq2=None)
    refused("deqScale1 is int32", given=eight, deq1=torch.ones(N).int())
    refused(
        "scale is float32\\[7\\], wanted \\[1,40\\] or a number for each expert",
        given=eight,
        scale=torch.ones(7),
    )
    refused("antiquantOffset1 is float32\\[40\\], wanted none", given=eight, shift1=torch.ones(N))
    refused("activation is geglu, reglu or swiglu", given=eight, word="geglu")
    weights = eight | {"x": o["x"], "scale": None, "deq1": None, "deq2": None}
    refused("antiquantScale1 is null", given=weights)
