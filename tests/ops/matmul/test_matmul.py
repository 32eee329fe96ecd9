"""aclnnMm, aclnnMatmul, aclnnBatchMatMul, aclnnMv, aclnnDot against PyTorch on the CPU in float64."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from aclnn import OperatorError, call
from compare import layouts
from hypothesis import given, settings
from hypothesis import strategies as st
from matmul_cases import DTYPES, FLOATS, assert_product, values, wide

SIZES = (
    (1, 1, 1),
    (5, 7, 3),
    (17, 33, 70),
    (64, 64, 64),
    (1, 130, 300),
    (130, 1, 300),
    (97, 65, 600),
    (3, 2, 20000),
)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_mm(dtype: torch.dtype, size: tuple[int, int, int]) -> None:
    m, n, k = size
    a, b, out = values((m, k), dtype), values((k, n), dtype, 1), torch.empty(m, n, dtype=dtype)
    call("aclnnMm", a, b, out, 0)
    assert_product(out, wide(a) @ wide(b), a, b)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_mm_layouts(dtype: torch.dtype) -> None:
    a, b = values((33, 70), dtype), values((70, 45), dtype, 1)
    expected = wide(a) @ wide(b)
    for _, x in layouts(a):
        for _, y in layouts(b):
            for _, out in layouts(torch.zeros(33, 45, dtype=dtype)):
                call("aclnnMm", x, y, out, 1)
                assert_product(out, expected, a, b)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_mm_float32_result_of_16_bit_matrices(kind: torch.dtype) -> None:
    a, b, out = values((40, 513), kind), values((513, 50), kind, 1), torch.empty(40, 50)
    call("aclnnMm", a, b, out, 0)
    assert_product(out, wide(a) @ wide(b), a, b)


@pytest.mark.parametrize("size", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)])
def test_mm_empty(size: tuple[int, int, int]) -> None:
    m, n, k = size
    out = torch.full((m, n), 7.0)
    call("aclnnMm", torch.ones(m, k), torch.ones(k, n), out, 0)
    assert torch.equal(out, torch.zeros(m, n))


def test_mm_large() -> None:
    a, b = values((515, 700), torch.bfloat16), values((700, 333), torch.bfloat16, 1)
    out = torch.empty(515, 333, dtype=torch.bfloat16)
    call("aclnnMm", a, b, out, 0)
    assert_product(out, wide(a) @ wide(b), a, b)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("k", [39, 40])
def test_mm_not_a_number_and_infinity(dtype: torch.dtype, k: int) -> None:
    a, b = torch.zeros(20, k, dtype=dtype), torch.ones(k, 50, dtype=dtype)
    a[3, 5], a[4, 6], a[5, k - 1], b[7, 9] = float("nan"), float("inf"), float("inf"), float("-inf")
    out = torch.empty(20, 50, dtype=dtype)
    call("aclnnMm", a, b, out, 0)
    expected = a.double() @ b.double()
    assert torch.equal(out.isnan(), expected.isnan())
    assert torch.equal(out.nan_to_num(), expected.to(dtype).nan_to_num())


def test_mm_subnormal_bfloat16() -> None:
    """Where the CPU multiplies bfloat16 itself, subnormal operands and sums count as zero: each step of k is off by
    at most 2^-125 then, and the rest is exact. The largest and smallest normal numbers are not lost."""
    tiny = torch.finfo(torch.bfloat16).smallest_normal
    a, b = torch.zeros(20, 33, dtype=torch.bfloat16), torch.ones(33, 40, dtype=torch.bfloat16)
    a[0, :], a[1, 0], a[2, 32], a[3, 3] = tiny / 2, tiny, -tiny, torch.finfo(torch.bfloat16).max
    a[4, 1], a[4, 2] = 3, tiny / 2
    for result in (torch.bfloat16, torch.float32):
        out = torch.empty(20, 40, dtype=result)
        call("aclnnMm", a, b, out, 0)
        expected = a.double() @ b.double()
        assert bool(((out.double() - expected).abs() <= 33 * 2.0**-125).all())
        assert torch.equal(out[1:].double(), expected[1:].to(result).double())


def test_mm_out_overlaps_an_input() -> None:
    a, b = values((40, 40), torch.float32), values((40, 40), torch.float32, 1)
    expected = a @ b
    call("aclnnMm", a, b, a, 0)
    torch.testing.assert_close(a, expected)


MATMUL = [((3,), (3,)), ((4, 3), (3,)), ((3,), (3, 5)), ((2, 4, 3), (3,)), ((3,), (2, 3, 5)), ((2, 4, 3), (3, 5)),
          ((4, 3), (2, 3, 5)), ((2, 1, 4, 3), (6, 3, 5)), ((7, 2, 4, 3), (7, 2, 3, 5)), ((1, 4, 3), (6, 3, 5)),
          ((0, 4, 3), (3, 5)), ((2, 3, 40, 64), (2, 3, 64, 40))]  # fmt: skip


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int32, torch.complex64], ids=str
)
@pytest.mark.parametrize("shapes", MATMUL, ids=str)
def test_matmul_broadcasts(dtype: torch.dtype, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    a, b = values(shapes[0], dtype), values(shapes[1], dtype, 1)
    expected = torch.matmul(wide(a), wide(b))
    out = torch.empty(expected.shape, dtype=dtype)
    call("aclnnMatmul", a, b, out, 0)
    assert_product(out, expected, a, b)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_matmul_any_view(data: st.DataObject) -> None:
    size = st.integers(1, 40)
    m, n, k, batch = (data.draw(size) for _ in range(4))
    batch = min(batch, 5)

    def stack(rows: int, cols: int, seed: int) -> torch.Tensor:
        order = data.draw(st.permutations([0, 1, 2]))
        shape = [batch, rows, cols]
        steps = [data.draw(st.integers(1, 2)) for _ in range(3)]
        whole = values(tuple(shape[d] * steps[d] for d in order), torch.float32, seed)
        back = [order.index(d) for d in range(3)]
        view = whole.permute(back)[:: steps[0], :: steps[1], :: steps[2]]
        return view[:1].expand(batch, rows, cols) if data.draw(st.booleans()) else view

    a, b = stack(m, k, 0), stack(k, n, 1)
    out = torch.empty(batch, n, m).transpose(1, 2) if data.draw(st.booleans()) else torch.empty(batch, m, n)
    call("aclnnMatmul", a, b, out, 0)
    assert_product(out, wide(a) @ wide(b), a, b)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "shape", [(3, 5, 7, 9), (32, 16, 16, 16), (4, 65, 130, 33), (0, 2, 2, 2), (2, 3, 4, 0)], ids=str
)
def test_batch_mat_mul(dtype: torch.dtype, shape: tuple[int, int, int, int]) -> None:
    batch, m, n, k = shape
    a, b = values((batch, m, k), dtype), values((batch, k, n), dtype, 1)
    out = torch.empty(batch, m, n, dtype=dtype)
    call("aclnnBatchMatMul", a, b, out, 0)
    assert_product(out, torch.bmm(wide(a), wide(b)), a, b)


def test_batch_mat_mul_uses_a_batch_of_one_for_all() -> None:
    a, b, out = values((1, 9, 20), torch.float32), values((6, 20, 8), torch.float32, 1), torch.empty(6, 9, 8)
    call("aclnnBatchMatMul", a, b, out, 0)
    assert_product(out, wide(a) @ wide(b), a, b)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_mv_and_dot(dtype: torch.dtype) -> None:
    for m, k in ((1, 1), (7, 33), (300, 1000), (2, 40000)):
        a, x = values((m, k), dtype), values((k,), dtype, 1)
        for _, matrix in layouts(a):
            out = torch.empty(m, dtype=dtype)
            call("aclnnMv", matrix, x, out, 0)
            assert_product(out, torch.mv(wide(a), wide(x)), a, x)
        out = torch.empty((), dtype=dtype)
        call("aclnnDot", a[0], x, out)
        assert_product(out, torch.dot(wide(a[0]), wide(x)), a[0], x)


BAD = [
    ("aclnnMm", (torch.ones(2, 3), torch.ones(4, 5), torch.ones(2, 5), 0), "3 columns, 4 rows"),
    ("aclnnMm", (torch.ones(2, 3), torch.ones(3, 5), torch.ones(2, 4), 0), "out is float32[2,4], wanted"),
    (
        "aclnnMm",
        (torch.ones(2, 3), torch.ones(3), torch.ones(2), 0),
        "mat2 is float32[3], wanted 2 dimensions",
    ),
    ("aclnnMm", (torch.ones(2, 3), torch.ones(3, 5).double(), torch.ones(2, 5), 0), "mat2 float64[3,5]"),
    (
        "aclnnMm",
        (torch.ones(2, 2).bool(), torch.ones(2, 2).bool(), torch.ones(2, 2).bool(), 0),
        "self is bool[2,2]",
    ),
    ("aclnnMm", (torch.ones(2, 2), torch.ones(2, 2), torch.ones(2, 2), 9), "cubeMathType is 9"),
    ("aclnnMm", (None, torch.ones(2, 2), torch.ones(2, 2), 0), "self is null"),
    ("aclnnMatmul", (torch.ones(2, 2), torch.ones(2, 2), None, 0), "out is null"),
    ("aclnnMatmul", (torch.ones(()), torch.ones(2, 2), torch.ones(2), 0), "wanted 1 to 15 dimensions"),
    ("aclnnMatmul", (torch.ones(2, 2, 2), torch.ones(3, 2, 2), torch.ones(2, 2, 2), 0), "do not broadcast"),
    ("aclnnBatchMatMul", (torch.ones(2, 2), torch.ones(2, 2), torch.ones(2, 2), 0), "wanted 3 dimensions"),
    ("aclnnMv", (torch.ones(2, 3), torch.ones(2), torch.ones(2), 0), "3 columns, 2 rows"),
    ("aclnnDot", (torch.ones(2), torch.ones(3), torch.ones(())), "2 columns, 3 rows"),
]


@pytest.mark.parametrize(("name", "args", "text"), BAD, ids=[b[2] for b in BAD])
def test_bad_input(name: str, args: tuple, text: str) -> None:
    with pytest.raises(OperatorError) as error:
        call(name, *args)
    assert error.value.code in (161001, 161002)
    assert error.value.phase == 1
    assert name in error.value.text
    assert text in error.value.text


BITS = """
import sys, torch
sys.path.insert(0, {support!r})
sys.path.insert(0, {here!r})
from aclnn import call
from matmul_cases import values
import hashlib
h = hashlib.sha256()
for kind in (torch.float32, torch.bfloat16):
    for b, m, n, k in ((1, 300, 270, 600), (1, 2, 500, 900), (1, 3, 5, 50000), (5, 60, 70, 80)):
        x, y = values((b, m, k), kind), values((b, k, n), kind, 1)
        out = torch.empty(b, m, n, dtype=kind)
        call("aclnnBatchMatMul", x, y, out, 0)
        h.update(out.view(torch.uint8).numpy().tobytes())
print(h.hexdigest())
"""


@pytest.mark.slow
def test_same_bits_for_any_thread_count() -> None:
    here = os.path.dirname(__file__)
    program = BITS.format(support=os.path.join(here, "..", "..", "support"), here=here)

    def digest(threads: int) -> str:
        env = {**os.environ, "MINDSPEED_NUM_THREADS": str(threads), "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
        return subprocess.run(
            [sys.executable, "-c", program], env=env, check=True, capture_output=True, text=True
        ).stdout

    assert digest(1) == digest(2) == digest(5)
