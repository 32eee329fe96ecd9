"""Activations and their gradients against PyTorch in float64; gradients against autograd's formulas there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from aclnn import OperatorError, Scalar, call
from compare import FLOATS, SHAPES, assert_close, layouts, make

UNARY: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], tuple]] = {
    "Gelu": (F.gelu, ()), "Silu": (F.silu, ()), "Sigmoid": (torch.sigmoid, ()), "Tanh": (torch.tanh, ()),
    "Relu": (F.relu, ()), "Mish": (F.mish, ()), "Hardswish": (F.hardswish, ()), "Hardsigmoid": (F.hardsigmoid, ()),
    "LogSigmoid": (F.logsigmoid, ()), "FastGelu": (lambda x: x * torch.sigmoid(1.702 * x), ()),
    "LeakyRelu": (lambda x: F.leaky_relu(x, 0.25), (Scalar(0.25),)),
    "Softplus": (lambda x: F.softplus(x, 2, 3), (Scalar(2), Scalar(3))),
    "Elu": (lambda x: F.elu(x, 1.5), (Scalar(1.5), Scalar(1), Scalar(1))),
}  # fmt: skip
# gradient operator: (forward, extra arguments, whether it takes the output instead of the input)
BACKWARD: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], tuple, bool]] = {
    "GeluBackward": (F.gelu, (), False), "SiluBackward": (F.silu, (), False), "MishBackward": (F.mish, (), False),
    "SigmoidBackward": (torch.sigmoid, (), True), "TanhBackward": (torch.tanh, (), True),
    "HardswishBackward": (F.hardswish, (), False), "HardsigmoidBackward": (lambda x: torch.where(x.abs() < 3, x / 6, 0 * x), (), False),
    "FastGeluBackward": (UNARY["FastGelu"][0], (), False), "ThresholdBackward": (F.relu, (Scalar(0),), False),
    "LeakyReluBackward": (UNARY["LeakyRelu"][0], (Scalar(0.25), False), False),
    "SoftplusBackward": (UNARY["Softplus"][0], (Scalar(2), Scalar(3)), False),
}  # fmt: skip
# Cancellation near zeros of the function: a few units of the largest term, absolute.
ATOL = {torch.float32: 1e-6, torch.bfloat16: 1e-6, torch.float16: 1e-6, torch.float64: 1e-14}

# Types that are also tried on the shape that needs several threads.
LARGE = (torch.float32, torch.bfloat16)


def gradient(f: Callable[[torch.Tensor], torch.Tensor], g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    leaf = x.double().clone().requires_grad_()
    f(leaf).backward(g.double())
    return leaf.grad


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", UNARY)
def test_forward(name: str, dtype: torch.dtype) -> None:
    reference, args = UNARY[name]
    for shape in SHAPES if dtype in LARGE else SHAPES[:-1]:
        values = make(shape, dtype, low=-8, high=8)
        expected = reference(values.double())
        for _, x in layouts(values):
            out = torch.empty(shape, dtype=dtype)
            call(f"aclnn{name}", x, *args, out)
            assert_close(out, expected, max_ulp=4 if dtype == torch.float32 else 1, atol=ATOL[dtype])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", BACKWARD)
def test_backward(name: str, dtype: torch.dtype) -> None:
    forward, args, from_output = BACKWARD[name]
    for shape in ((0,), (), (7,), (33, 65)):
        x, g = make(shape, dtype, low=-6, high=6), make(shape, dtype, seed=1)
        given = forward(x.double()).to(dtype) if from_output else x
        expected = gradient(forward, g, x)
        if from_output:
            y = given.double()
            expected = g.double() * (y * (1 - y) if name.startswith("Sigmoid") else 1 - y * y)
        out = torch.empty(shape, dtype=dtype)
        call(f"aclnn{name}", g, given, *args, out)
        assert_close(out, expected, max_ulp=4 if dtype == torch.float32 else 1, atol=4 * ATOL[dtype])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("mode", ("none", "tanh"))
def test_gelu_by_mode(mode: str, dtype: torch.dtype) -> None:
    x, g = make((3, 501), dtype, low=-6, high=6), make((3, 501), dtype, seed=1)
    out = torch.empty_like(x)
    call("aclnnGeluV2", x, 0 if mode == "none" else 1, out)
    assert_close(out, F.gelu(x.double(), approximate=mode), max_ulp=4, atol=ATOL[dtype])
    call("aclnnGeluBackwardV2", g, x, mode, out)
    expected = gradient(lambda t: F.gelu(t, approximate=mode), g, x)
    assert_close(out, expected, max_ulp=4, atol=4 * ATOL[dtype])


def gelu_exactly(x: torch.Tensor, mode: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Value and derivative in float64, without the cancellation of 1 + erf and 1 + tanh."""
    if mode == "none":
        cdf = 0.5 * torch.special.erfc(x * -(0.5**0.5))
        return x * cdf, cdf + x * torch.exp(-0.5 * x * x) / (2 * torch.pi) ** 0.5
    root = (2 / torch.pi) ** 0.5
    u = root * (x + 0.044715 * x**3)
    s = torch.sigmoid(2 * u)
    return x * s, s + x * s * torch.sigmoid(-2 * u) * 2 * root * (1 + 3 * 0.044715 * x * x)


@pytest.mark.parametrize("mode", ("none", "tanh"))
def test_gelu_of_every_bfloat16(mode: str) -> None:
    """One unit of bfloat16 at most, also in the tails: results are rounded once. The derivative crosses zero near
    -0.75, where it is the error of float sums of numbers below 1 that counts."""
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    x = every[every.isfinite()]
    value, slope = gelu_exactly(x.double(), mode)
    out = torch.empty_like(x)
    call("aclnnGeluV2", x, 0 if mode == "none" else 1, out)
    assert_close(out, value, max_ulp=1)
    call("aclnnGeluBackwardV2", torch.ones_like(x), x, mode, out)
    assert_close(out, slope, max_ulp=1, atol=2.0**-22)


@pytest.mark.parametrize("name", ("Gelu", "GeluBackward"))
def test_gelu_bfloat16_of_any_length(name: str) -> None:
    for n in (*range(1, 70), 1023, 1025):
        x, g = make((n,), torch.bfloat16, n, low=-6, high=6), make((n,), torch.bfloat16, n + 1)
        x[n // 2] = float("nan")
        out = torch.full((n + 40,), 7.0, dtype=torch.bfloat16)
        call(f"aclnn{name}", *((x, out[:n]) if name == "Gelu" else (g, x, out[:n])))
        value, slope = gelu_exactly(x.double(), "none")
        assert_close(out[:n], value if name == "Gelu" else slope * g.double(), max_ulp=1, atol=1e-6)
        assert bool((out[n:] == 7).all()), f"written beyond {n} values"


def test_gelu_mode_is_checked() -> None:
    with pytest.raises(OperatorError, match="aclnnGeluV2: approximate is 2"):
        call("aclnnGeluV2", torch.ones(2), 2, torch.ones(2))
    with pytest.raises(OperatorError, match='aclnnGeluBackwardV2: approximate is "erf"'):
        call("aclnnGeluBackwardV2", torch.ones(2), torch.ones(2), "erf", torch.ones(2))


def swiglu(x: torch.Tensor, dim: int) -> torch.Tensor:
    a, b = x.chunk(2, dim)
    return F.silu(a) * b


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("forward", "backward", "reference"), (("SwiGlu", "SwiGluGrad", swiglu), ("Glu", "GluBackward", F.glu))
)
def test_gated(forward: str, backward: str, reference: Callable, dtype: torch.dtype) -> None:
    for shape, dim in (((6, 514), -1), ((6, 514), 0), ((4, 6, 3), 1), ((0, 4), 1), ((2,), 0)):
        for _, x in layouts(make(shape, dtype)):
            expected = reference(x.double(), dim)
            out = torch.empty(expected.shape, dtype=dtype)
            call(f"aclnn{forward}", x, dim, out)
            assert_close(out, expected, max_ulp=4 if dtype == torch.float32 else 1, atol=ATOL[dtype])
            g, grad = make(tuple(expected.shape), dtype, seed=2), torch.empty(shape, dtype=dtype)
            call(f"aclnn{backward}", g, x, dim, grad)
            expected = gradient(lambda t: reference(t, dim), g, x)
            assert_close(grad, expected, max_ulp=4 if dtype == torch.float32 else 1, atol=4 * ATOL[dtype])


def test_gated_errors() -> None:
    with pytest.raises(OperatorError, match=r"aclnnSwiGlu: x is float32\[3\], which has an odd size"):
        call("aclnnSwiGlu", torch.ones(3), -1, torch.ones(1))
    with pytest.raises(OperatorError, match="aclnnSwiGlu: dim is 2"):
        call("aclnnSwiGlu", torch.ones(2, 4), 2, torch.ones(2, 2))
    with pytest.raises(OperatorError, match=r"aclnnSwiGlu: out is float32\[3\]"):
        call("aclnnSwiGlu", torch.ones(4), 0, torch.ones(3))


@pytest.mark.parametrize("is_result", (False, True))
def test_elu_backward(is_result: bool) -> None:
    x, g = make((101,), torch.float32), make((101,), torch.float32, seed=1)
    y = F.elu(x.double(), 1.5)
    out = torch.empty_like(x)
    call(
        "aclnnEluBackward",
        g,
        Scalar(1.5),
        Scalar(1),
        Scalar(1),
        is_result,
        y.float() if is_result else x,
        out,
    )
    assert_close(out, gradient(lambda t: F.elu(t, 1.5), g, x), max_ulp=4, atol=1e-6)


def test_relu_keeps_nan_and_works_on_integers() -> None:
    x = torch.tensor([float("nan"), -1.0, 0.0, 2.0])
    call("aclnnInplaceRelu", x)
    assert_close(x, torch.tensor([float("nan"), 0.0, 0.0, 2.0]), max_ulp=0)
    i, out = torch.tensor([-3, 0, 4]), torch.empty(3, dtype=torch.int64)
    call("aclnnRelu", i, out)
    assert out.tolist() == [0, 0, 4]
