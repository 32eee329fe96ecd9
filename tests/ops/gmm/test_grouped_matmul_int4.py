# SPDX-License-Identifier: Apache-2.0
"""Products of groups of integers: weights of int4 with x of int4 or int8, against float64."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError
from compare import assert_close, make
from quant_cases import pack
from test_grouped_matmul_quant import FORMS, LENGTHS, K, N, integers, of_rows, run

VERSIONS = ("V4", "V5")


def case(lengths: tuple[int, ...], parts: int, bits: int) -> tuple[torch.Tensor, ...]:
    """x, the weight, its scales [groups, parts, N], scales of rows, and what is added for each group."""
    groups, m = len(lengths), sum(lengths)
    x = integers((m, K), 1, -(1 << bits - 1), 1 << bits - 1)
    weight = integers((groups, K, N), 2, -8, 8)
    scale, rows = make((groups, parts, N), torch.float32, 3, 1e-3, 1e-2), make((m,), torch.float32, 4, 0.1, 1)
    return x, weight, scale, rows, make((groups, N), torch.float32, 5, -3, 3)


def product(
    x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, lengths: tuple[int, ...], taken: int
) -> torch.Tensor:
    parts = scale.shape[1]
    scaled = weight.double() * scale.double().repeat_interleave(K // parts, 1)
    return torch.cat([(a.double() - taken) @ w for a, w in zip(x.split(lengths), scaled, strict=True)])


def packed(scale: torch.Tensor) -> torch.Tensor:
    """The lower halves of numbers of 64 bits."""
    return scale.view(torch.int32).long() & 0xFFFFFFFF


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("bits", [8, 4])
def test_int4_weights(bits: int, dtype: torch.dtype, form: str) -> None:
    """int8 count as x - 8, which the bias makes up for; scales of rows are last."""
    for lengths in LENGTHS:
        for parts, version in ((1, "V4"), (4, "V5")):
            x, weight, scale, rows, bias = case(lengths, parts, bits)
            want = product(x, weight, scale, lengths, 8 if bits == 8 else 0)
            if bits == 8:
                want = want + of_rows(lengths, bias).double()
            for by in (None, rows):
                for numbers in (scale, packed(scale)):
                    y = torch.full((sum(lengths), N), 7, dtype=dtype)
                    run(
                        pack(x.int()) if bits == 4 else x, pack(weight.int()), y, lengths, form, version, scale=numbers,
                        rows=by, bias=bias if bits == 8 else None,
                    )  # fmt: skip
                    assert_close(y, want if by is None else want * by.double()[:, None], 2, 1e-3)


def test_a_bias_makes_up_for_the_eight() -> None:
    """With 8 times the sums of scaled weights it is the product of int8 itself."""
    lengths = (5, 3)
    x, weight, scale, rows, _ = case(lengths, 2, 8)
    bias = (8 * weight.double() * scale.double().repeat_interleave(K // 2, 1)).sum(1).float()
    y = torch.zeros(8, N)
    run(x, pack(weight.int()), y, lengths, "sss", scale=packed(scale), rows=rows, bias=bias)
    assert_close(y, product(x, weight, scale, lengths, 0) * rows.double()[:, None], 2, 1e-3)


def test_scales_of_columns_without_parts() -> None:
    lengths = (5, 3)
    x, weight, scale, rows, _ = case(lengths, 1, 4)
    ys = [torch.zeros(8, N) for _ in range(2)]
    for y, s in zip(ys, (scale, scale[:, 0].contiguous()), strict=True):
        run(pack(x.int()), pack(weight.int()), y, lengths, "sss", scale=s, rows=rows)
    assert torch.equal(*ys)


def test_a_weight_packed_along_k() -> None:
    """The transpose of a contiguous matrix has its int4 along the columns."""
    lengths = (5, 3)
    x, weight, scale, rows, _ = case(lengths, 2, 4)
    turned = pack(weight.int().transpose(1, 2).contiguous()).transpose(1, 2)
    y = torch.zeros(8, N)
    run(pack(x.int()), turned, y, lengths, "sss", scale=scale, rows=rows)
    assert_close(y, product(x, weight, scale, lengths, 0) * rows.double()[:, None], 2, 1e-3)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": None}, "scaleOptional is null"),
        ({"bias": None}, "biasOptional is null, x of int8 with a weight of int4 wants the floats"),
        ({"bias": torch.zeros(2, N, dtype=torch.int32)}, "biasOptional of a group is int32"),
        ({"scale": torch.zeros(2, 3, N)}, "scaleOptional of a group is float32.3,40., wanted uint64 or floating point"),
        ({"scale": torch.zeros(2, N, dtype=torch.int32)}, "scaleOptional of a group is int32"),
        ({"offset": torch.zeros(2, N)}, "offsetOptional is float32.* wanted none with a weight of int4"),
        ({"antiquant": torch.zeros(2, N)}, "antiquantScaleOptional is given with x of integers"),
        ({"y": torch.zeros(8, N, dtype=torch.int8)}, "y of a group is int8.*, wanted floating point"),
        ({"x": torch.zeros(8, K // 8, dtype=torch.int32)}, "biasOptional of a group is float32.*, wanted none with x of int4"),
    ],
)  # fmt: skip
def test_refused(version: str, change: dict, message: str) -> None:
    lengths = (5, 3)
    x, weight, scale, rows, bias = case(lengths, 1, 8)
    given = {"x": x, "y": torch.zeros(8, N), "scale": scale[:, 0], "rows": rows, "bias": bias} | change
    with pytest.raises(OperatorError, match=f"aclnnGroupedMatmul{version}: .*{message}"):
        run(given.pop("x"), pack(weight.int()), given.pop("y"), lengths, "sss", version, **given)
