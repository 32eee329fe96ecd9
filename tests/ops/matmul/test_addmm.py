"""beta * self + alpha * product: aclnnAddmm, aclnnBaddbmm, aclnnAddbmm, aclnnAddmv, aclnnAddr and those in place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from aclnn import OperatorError, Scalar, call
from matmul_cases import DTYPES, assert_product, values, wide

FACTORS = ((1, 1), (1, 0), (2, -3), (0, 1))
REFERENCES: dict[str, Callable[..., torch.Tensor]] = {
    "aclnnAddmm": torch.addmm, "aclnnBaddbmm": torch.baddbmm, "aclnnAddbmm": torch.addbmm, "aclnnAddmv": torch.addmv,
}  # fmt: skip
SHAPES = {
    "aclnnAddmm": [((17, 33), (17, 300), (300, 33)), ((33,), (70, 513), (513, 33)), ((1,), (4, 5), (5, 6)),
                   ((17, 1), (17, 3), (3, 64)), ((3, 4), (3, 0), (0, 4))],
    "aclnnBaddbmm": [((3, 5, 7), (3, 5, 9), (3, 9, 7)), ((7,), (2, 40, 300), (2, 300, 7)), ((1, 5, 1), (4, 5, 6), (4, 6, 7))],
    "aclnnAddbmm": [((5, 7), (3, 5, 9), (3, 9, 7)), ((7,), (6, 40, 300), (6, 300, 7)), ((5, 7), (1, 5, 9), (1, 9, 7)),
                    ((5, 7), (0, 5, 9), (0, 9, 7))],
    "aclnnAddmv": [((5,), (5, 9), (9,)), ((1,), (130, 600), (600,)), ((4,), (4, 0), (0,))],
}  # fmt: skip


def run(
    name: str,
    self: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    beta: Scalar,
    alpha: Scalar,
    out: torch.Tensor,
) -> None:
    if name == "aclnnAddmv":
        call(name, self, a, b, alpha, beta, out, 0)
    else:
        call(name, self, a, b, beta, alpha, out, 0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", REFERENCES)
def test_add_product(name: str, dtype: torch.dtype) -> None:
    for shapes in SHAPES[name]:
        self, a, b = (values(s, dtype, i) for i, s in enumerate(shapes))
        for beta, alpha in FACTORS:
            expected = REFERENCES[name](wide(self), wide(a), wide(b), beta=beta, alpha=alpha)
            out = torch.empty(expected.shape, dtype=dtype)
            run(name, self, a, b, Scalar(beta), Scalar(alpha), out)
            scale = 4 if dtype.is_floating_point or dtype.is_complex else 1
            assert_product(
                out,
                expected,
                torch.cat([a * scale, a * 0 + scale], -1),
                torch.cat([b, b], -2 if b.dim() > 1 else 0),
            )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_inplace_addmm(dtype: torch.dtype) -> None:
    self, a, b = values((40, 33), dtype), values((40, 530), dtype, 1), values((530, 33), dtype, 2)
    expected = wide(self) * 2 + 3 * (wide(a) @ wide(b))
    call("aclnnInplaceAddmm", self, a, b, Scalar(2), Scalar(3), 0)
    assert_product(self, expected, a * 3, b)


def test_inplace_addmm_accumulates_a_weight_gradient() -> None:
    """float32 main_grad += grad_output^T @ input, both bfloat16: nothing is rounded to bfloat16."""
    grad, x = values((600, 48), torch.bfloat16), values((600, 70), torch.bfloat16, 1)
    main = values((48, 70), torch.float32, 2)
    expected = main.double() + grad.double().t() @ x.double()
    call("aclnnInplaceAddmm", main, grad.t(), x, Scalar(1), Scalar(1), 0)
    assert_product(main, expected, grad.t(), x)


def test_addmm_transposed_out_and_strided_self() -> None:
    self, a, b = (
        values((33, 40), torch.bfloat16).t(),
        values((40, 300), torch.bfloat16, 1),
        values((300, 33), torch.bfloat16, 2),
    )
    out = torch.empty(33, 40, dtype=torch.bfloat16).t()
    call("aclnnAddmm", self, a, b, Scalar(1), Scalar(1), out, 0)
    assert_product(out, self.double() + a.double() @ b.double(), a, b)


def test_addmm_self_overlaps_out() -> None:
    memory = values((41, 33), torch.float32)
    a, b = values((40, 300), torch.float32, 1), values((300, 33), torch.float32, 2)
    expected = memory[:-1].double() + a.double() @ b.double()
    call("aclnnAddmm", memory[:-1], a, b, Scalar(1), Scalar(1), memory[1:], 0)
    assert_product(memory[1:], expected, a, b)


def test_not_a_number_in_self_does_not_count_when_beta_is_zero() -> None:
    self, out = torch.full((4, 5), float("nan")), torch.empty(4, 5)
    call("aclnnAddmm", self, torch.ones(4, 3), torch.ones(3, 5), Scalar(0), Scalar(1), out, 0)
    assert torch.equal(out, torch.full((4, 5), 3.0))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_addr(dtype: torch.dtype) -> None:
    self, x, y = values((30, 41), dtype), values((30,), dtype, 1), values((41,), dtype, 2)
    expected = torch.addr(wide(self), wide(x), wide(y), beta=2, alpha=3)
    out = torch.empty(30, 41, dtype=dtype)
    call("aclnnAddr", self, x, y, Scalar(2), Scalar(3), out)
    assert_product(out, expected, 3 * x[:, None], y[None])
    call("aclnnInplaceAddr", self, x, y, None, None)
    assert_product(self, wide(values((30, 41), dtype)) + torch.outer(wide(x), wide(y)), x[:, None], y[None])


@pytest.mark.parametrize("beta", [0, 1])
@pytest.mark.parametrize("alpha", [False, True])
def test_addr_of_truth_values(beta: int, alpha: bool) -> None:
    self, x, y = (torch.arange(30 * n) % 3 == 0 for n in (41, 1, 41))
    self, y = self.reshape(30, 41), y[:41]
    expected = torch.addr(self, x, y, beta=beta, alpha=alpha)
    out = torch.empty(30, 41, dtype=torch.bool)
    call("aclnnAddr", self, x, y, Scalar(beta), Scalar(alpha), out)
    assert torch.equal(out, expected)
    call("aclnnInplaceAddr", self, x, y, Scalar(beta), Scalar(alpha))
    assert torch.equal(self, expected)


def test_addr_of_mixed_kinds_and_of_not_a_number() -> None:
    x, y, out = torch.arange(3.0), torch.arange(4.0) - 1, torch.empty(3, 4)
    mask = torch.arange(12).reshape(3, 4) % 2 == 0
    call("aclnnAddr", mask, x, y, Scalar(2), Scalar(0.5), out)
    assert torch.equal(out, 2 * mask.float() + 0.5 * torch.outer(x, y))
    call("aclnnAddr", torch.full((4,), torch.nan), x, y, Scalar(0), Scalar(1), out)
    assert torch.equal(out, torch.outer(x, y))


M = torch.ones(2, 2)
BAD = [
    ("aclnnAddmm", (torch.ones(3), M, M, Scalar(1), Scalar(1), torch.ones(2, 2), 0), "self is float32[3], which does not broadcast"),
    ("aclnnAddmm", (None, M, M, Scalar(1), Scalar(1), torch.ones(2, 2), 0), "self is null"),
    ("aclnnAddmm", (M, M, M, None, Scalar(1), torch.ones(2, 2), 0), "beta is null"),
    ("aclnnAddmm", (M.int(), M.int(), M.int(), Scalar(1), Scalar(1.5), M.int(), 0), "alpha is float64, wanted an integer"),
    ("aclnnAddmm", (M.double(), M, M, Scalar(1), Scalar(1), torch.ones(2, 2), 0), "self is float64[2,2]"),
    ("aclnnInplaceAddmm", (torch.ones(2, 3), M, M, Scalar(1), Scalar(1), 0), "wanted the shape of the product"),
    ("aclnnAddbmm", (M, torch.ones(2, 2, 2), torch.ones(3, 2, 2), Scalar(1), Scalar(1), M, 0), "as many matrices in both"),
    ("aclnnAddr", (M, M, torch.ones(2), None, None, M), "wanted vectors"),
    ("aclnnAddr", (M, M[0], M[0], None, None, torch.ones(2, 3)), "out is float32[2,3], wanted [2,2]"),
    ("aclnnAddr", (M.int(), M[0].int(), M[0].int(), Scalar(0.5), None, M.int()), "beta is float64, wanted an integer"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "text"), BAD, ids=[b[2] for b in BAD])
def test_bad_input(name: str, args: tuple, text: str) -> None:
    with pytest.raises(OperatorError) as error:
        call(name, *args)
    assert error.value.code in (161001, 161002)
    assert name in error.value.text
    assert text in error.value.text
