"""Random operators: distribution (fixed seeds), reproducibility, layouts, bounds."""

from __future__ import annotations

import math

import pytest
import torch
from aclnn import IntArray, OperatorError, Scalar, call
from compare import FLOATS, INTS

N = 200_003
SEED, OFFSET = 1234, 10


def kolmogorov_distance(sample: torch.Tensor, cdf: torch.Tensor) -> float:
    """Largest gap between the empirical distribution of a sorted sample and its cdf there."""
    n = sample.numel()
    steps = torch.arange(1, n + 1, dtype=torch.float64) / n
    return float(torch.maximum((steps - cdf).abs(), (steps - 1 / n - cdf).abs()).max())


def normal_cdf(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * (1 + torch.erf(x / math.sqrt(2)))


# With a fixed seed the outcome is fixed; 1.95 / sqrt(n) is the 0.1 % point of the Kolmogorov-Smirnov test. A 16-bit
# float is a grid: half a grid step of probability is added.
@pytest.mark.parametrize(
    ("dtype", "grid"), [(torch.float32, 0), (torch.float64, 0), (torch.float16, 2e-3), (torch.bfloat16, 8e-3)]
)
def test_uniform_and_normal_are_distributed_so(dtype: torch.dtype, grid: float) -> None:
    x = torch.empty(N, dtype=dtype)
    call("aclnnInplaceUniform", x, -1.0, 3.0, SEED, OFFSET)
    assert x.min() >= -1 and x.max() < 3
    values = x.double().sort().values
    assert kolmogorov_distance(values, (values + 1) / 4) < 1.95 / math.sqrt(N) + grid
    call("aclnnInplaceNormal", x, 2.0, 0.5, SEED, OFFSET)
    values = x.double().sort().values
    assert kolmogorov_distance(values, normal_cdf((values - 2) / 0.5)) < 1.95 / math.sqrt(N) + grid
    assert x.isfinite().all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("to", [1.0, 0.5, 1000.0, 3.3, -1e-3])
def test_uniform_never_reaches_to(dtype: torch.dtype, to: float) -> None:
    x = torch.empty(N, dtype=dtype)
    start = to - 2 ** math.floor(math.log2(abs(to)))
    call("aclnnInplaceUniform", x, start, to, 7, 0)
    assert float(x.double().max()) < to


@pytest.mark.parametrize(
    "dtype", [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool], ids=str
)
def test_normal_without_fraction(dtype: torch.dtype) -> None:
    """The same numbers as a float has, converted as a cast does."""
    x, wide = torch.empty(1031, dtype=dtype), torch.empty(1031)
    mean, std = (100.0, 20.0) if dtype == torch.uint8 else (1.0, 20.0)
    call("aclnnInplaceNormal", x, mean, std, SEED, OFFSET)
    call("aclnnInplaceNormal", wide, mean, std, SEED, OFFSET)
    assert torch.equal(x, wide.to(dtype))


def test_neighbours_are_not_correlated() -> None:
    x = torch.empty(N)
    call("aclnnInplaceNormal", x, 0.0, 1.0, SEED, OFFSET)
    for lag in (1, 2, 16, 32, 48, 64):
        assert abs(float((x[lag:] * x[:-lag]).mean())) < 4 / math.sqrt(N)


@pytest.mark.parametrize("op", ["aclnnInplaceUniform", "aclnnInplaceNormal"])
def test_seed_and_offset_and_nothing_else(op: str) -> None:
    def sample(seed: int, offset: int, n: int = 100_000) -> torch.Tensor:
        x = torch.empty(n)
        call(op, x, 0.0, 1.0, seed, offset)
        return x

    first = sample(SEED, OFFSET)
    assert torch.equal(first, sample(SEED, OFFSET))
    assert torch.equal(first[:1000], sample(SEED, OFFSET, 1000))
    assert not torch.equal(first, sample(SEED + 1, OFFSET))
    assert not torch.equal(first, sample(SEED, OFFSET + 4))


def test_strided_output_gets_the_values_of_a_contiguous_one() -> None:
    plain, strided = torch.empty(30, 40), torch.zeros(40, 90).t()[::3]
    call("aclnnInplaceUniform", plain, 0.0, 1.0, SEED, OFFSET)
    call("aclnnInplaceUniform", strided, 0.0, 1.0, SEED, OFFSET)
    assert torch.equal(plain, strided)


@pytest.mark.parametrize("dtype", (*INTS, torch.float32, torch.bool))
def test_random_from_to(dtype: torch.dtype) -> None:
    low, high = (0, 2) if dtype == torch.bool else (3, 11)
    x = torch.empty(N, dtype=dtype)
    call("aclnnInplaceRandom", x, low, high, SEED, OFFSET)
    counts = torch.bincount(x.long() - low)
    assert counts.numel() == high - low
    expected = N / (high - low)
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < 30  # 7 degrees of freedom: 0.01 %


def test_random_over_the_whole_range_of_int64() -> None:
    x = torch.empty(N, dtype=torch.int64)
    call("aclnnInplaceRandom", x, -(2**62), 2**62, SEED, OFFSET)
    assert x.min() < -(2**61) and x.max() > 2**61
    call("aclnnInplaceRandomWithoutFromTo", x, SEED, OFFSET)
    assert x.min() >= 0 and x.max() > 2**62


@pytest.mark.parametrize("prob", [0.0, 0.25, 0.5, 1.0])
def test_bernoulli(prob: float) -> None:
    x, each = torch.empty(N), torch.empty(N, dtype=torch.bfloat16)
    call("aclnnInplaceBernoulli", x, Scalar(prob), SEED, OFFSET)
    assert set(x.unique().tolist()) <= {0.0, 1.0}
    assert abs(float(x.double().mean()) - prob) <= 4 * math.sqrt(prob * (1 - prob) / N)
    call("aclnnInplaceBernoulliTensor", each, torch.tensor([prob]), SEED, OFFSET)
    assert torch.equal(x, each.float())


def test_bernoulli_names_a_bad_probability() -> None:
    with pytest.raises(OperatorError, match="probability 1.5 at element 1"):
        call("aclnnInplaceBernoulliTensor", torch.empty(2), torch.tensor([0.5, 1.5]), 1, 0)


def unpack(mask: torch.Tensor, n: int) -> torch.Tensor:
    bits = (mask[:, None] >> torch.arange(8)) & 1
    return bits.flatten()[:n].bool()


@pytest.mark.parametrize("prob", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(), (127,), (128,), (129,), (37, 1031)])
def test_dropout_mask_and_its_use(prob: float, shape: tuple[int, ...]) -> None:
    n = math.prod(shape)
    mask = torch.full(((n + 127) // 128 * 16,), 255, dtype=torch.uint8)
    call("aclnnDropoutGenMaskV2", IntArray(shape), prob, SEED, OFFSET, torch.float32, mask)
    keep = unpack(mask, n)
    assert abs(float(keep.double().mean()) - (1 - prob)) <= 4 * math.sqrt(prob * (1 - prob) / n) + 1e-12
    assert not unpack(mask, mask.numel() * 8)[n:].any()
    for dtype in FLOATS:
        x = torch.linspace(-3, 3, max(n, 1), dtype=torch.float64)[:n].reshape(shape).to(dtype)
        out = torch.full_like(x, 99)
        call("aclnnDropoutDoMask", x, mask, prob, out)
        scale = 1 / (1 - prob) if prob < 1 else 0
        expected = torch.where(keep.reshape(shape), x.double() * scale, 0.0)
        assert torch.allclose(out.double(), expected, rtol=torch.finfo(dtype).eps, atol=0)


def test_dropout_in_one_operator_equals_the_two() -> None:
    x, mask = torch.randn(33, 65), torch.empty(272, dtype=torch.uint8)
    out, mask_2, out_2 = torch.empty_like(x), torch.empty_like(mask), torch.empty_like(x)
    call("aclnnDropoutV3", x, None, 0.3, SEED, OFFSET, out, mask)
    call("aclnnDropoutGenMask", IntArray(x.shape), 0.3, SEED, OFFSET, mask_2)
    call("aclnnDropoutDoMask", x, mask_2, 0.3, out_2)
    assert torch.equal(mask, mask_2) and torch.equal(out, out_2)


@pytest.mark.parametrize(
    ("dtype", "grid"), [(torch.float32, 0), (torch.float64, 0), (torch.float16, 2e-3), (torch.bfloat16, 8e-3)]
)
@pytest.mark.parametrize("rate", [0.5, 1.0, 20.0])
def test_exponential(dtype: torch.dtype, grid: float, rate: float) -> None:
    """Distributed so, by seed and offset, finite and never 0; the number of threads and strides do not count."""
    x, wide = torch.empty(N, dtype=dtype), torch.zeros(N, 2, dtype=dtype)
    call("aclnnSimThreadExponential", x, N, rate, SEED, OFFSET)
    call("aclnnSimThreadExponential", wide[:, 1], N, rate, SEED, OFFSET)
    assert torch.equal(x, wide[:, 1]) and wide[:, 0].eq(0).all()
    assert x.isfinite().all() and x.min() > 0
    values = x.double().sort().values
    assert kolmogorov_distance(values, 1 - (-rate * values).exp()) < 1.95 / math.sqrt(N) + grid
    other = torch.empty_like(x)
    for seed, offset in ((SEED + 1, OFFSET), (SEED, OFFSET + 1)):
        call("aclnnSimThreadExponential", other, N, rate, seed, offset)
        assert not torch.equal(x, other)


def test_exponential_at_its_limits() -> None:
    x = torch.full((1031,), 9.0)
    call("aclnnSimThreadExponential", x, 1031, math.inf, SEED, OFFSET)
    assert x.eq(0).all()
    x = torch.empty(1031, dtype=torch.float16)
    call("aclnnSimThreadExponential", x, 1031, 1e9, SEED, OFFSET)
    assert x.min() == 2.0**-24  # what is less would be 0
    call("aclnnSimThreadExponential", torch.empty(0), 0, 1.0, SEED, OFFSET)
    call("aclnnSimThreadExponential", torch.empty(()), 1, 1.0, SEED, OFFSET)
    for args, text in (
        ((None, 1, 1.0), "selfRef is null"),
        ((torch.empty(2, dtype=torch.int32), 2, 1.0), "selfRef is int32"),
        ((torch.empty(2), 3, 1.0), "count is 3, selfRef is float32\\[2\\]: wanted 2"),
        ((torch.empty(2), 2, 0.0), "lambda is 0, wanted more than 0"),
        ((torch.empty(2), 2, math.nan), "lambda is nan"),
    ):
        with pytest.raises(OperatorError, match=f"aclnnSimThreadExponential: {text}"):
            call("aclnnSimThreadExponential", *args, SEED, OFFSET)


ON_DEVICE: list[tuple[str, tuple]] = [
    ("Normal", (2.0, 0.5)), ("Uniform", (-1.0, 3.0)), ("Random", (-5, 1000)), ("RandomWithoutFromTo", ()),
]  # fmt: skip


@pytest.mark.parametrize(("op", "args"), ON_DEVICE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_seed_and_offset_on_the_device_are_those_of_the_numbers(
    op: str, args: tuple, dtype: torch.dtype
) -> None:
    want, got, other = (torch.zeros(5, 77, dtype=dtype) for _ in range(3))
    seed, offset = torch.tensor([SEED]), torch.tensor(OFFSET)
    call(f"aclnnInplace{op}", want, *args, SEED, OFFSET + 5)
    call(f"aclnnInplace{op}Tensor", got, *args, seed, offset, 5)
    call(f"aclnnInplace{op}Tensor", other, *args, seed, offset, 6)
    assert torch.equal(want, got) and not torch.equal(want, other)
    with pytest.raises(OperatorError, match=f"aclnnInplace{op}Tensor: seedTensor is int32"):
        call(f"aclnnInplace{op}Tensor", got, *args, seed.int(), offset, 5)
    with pytest.raises(OperatorError, match=f"aclnnInplace{op}Tensor: offsetTensor is null"):
        call(f"aclnnInplace{op}Tensor", got, *args, seed, None, 5)


def test_a_mask_with_seed_and_offset_on_the_device_is_that_of_the_numbers() -> None:
    shape, masks = IntArray((7, 33)), [torch.zeros(48, dtype=torch.uint8) for _ in range(3)]
    call("aclnnDropoutGenMaskV2", shape, 0.3, SEED, OFFSET + 5, torch.float32, masks[0])
    seed, offset = torch.tensor([SEED]), torch.tensor(OFFSET)
    call("aclnnDropoutGenMaskV2Tensor", shape, 0.3, seed, offset, 5, torch.float32, masks[1])
    call("aclnnDropoutGenMaskV2Tensor", shape, 0.3, seed, offset, 6, torch.float32, masks[2])
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    with pytest.raises(OperatorError, match="seedTensor is"):
        call("aclnnDropoutGenMaskV2Tensor", shape, 0.3, seed.int(), offset, 5, torch.float32, masks[1])
    with pytest.raises(OperatorError, match="offsetTensor is"):
        call(
            "aclnnDropoutGenMaskV2Tensor",
            shape,
            0.3,
            seed,
            torch.zeros(2, dtype=torch.long),
            5,
            torch.float32,
            masks[1],
        )


def test_dropped_nan_becomes_zero() -> None:
    x, mask, out = torch.full((128,), float("nan")), torch.zeros(16, dtype=torch.uint8), torch.empty(128)
    call("aclnnDropoutDoMask", x, mask, 0.5, out)
    assert torch.equal(out, torch.zeros(128))


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_randperm(n: int) -> None:
    out = torch.empty(n, dtype=torch.int64)
    call("aclnnRandperm", n, SEED, OFFSET, out)
    assert torch.equal(out.sort().values, torch.arange(n))
    assert n < 1000 or int((out == torch.arange(n)).sum()) < 10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_multinomial_with_replacement(dtype: torch.dtype) -> None:
    weights = torch.tensor([[1, 0, 3, 4], [0, 2, 0, 2]], dtype=dtype)
    out = torch.empty(2, 40_000, dtype=torch.int64)
    call("aclnnMultinomial", weights, 40_000, True, SEED, OFFSET, out)
    for row, probabilities in enumerate(weights.double() / weights.double().sum(1, keepdim=True)):
        share = torch.bincount(out[row], minlength=4).double() / 40_000
        assert torch.allclose(share, probabilities, atol=0.015)
        assert not share[probabilities == 0].any()


def test_multinomial_without_replacement() -> None:
    weights = torch.tensor([5.0, 1, 0, 1, 1]).expand(2000, 5)
    out = torch.empty(2000, 4, dtype=torch.int64)
    call("aclnnMultinomial", weights, 4, False, SEED, OFFSET, out)
    assert (out.sort(1).values == torch.tensor([0, 1, 3, 4])).all()
    assert abs(float((out[:, 0] == 0).double().mean()) - 5 / 8) < 0.05


@pytest.mark.parametrize(
    ("weights", "samples", "message"),
    [
        ([1.0, -1], 1, "weight -1 of category 1"),
        ([0.0, 0], 1, "sum to 0"),
        ([1.0, 0], 2, "1 categories of positive weight"),
    ],
)
def test_multinomial_names_what_is_wrong(weights: list[float], samples: int, message: str) -> None:
    with pytest.raises(OperatorError, match=message):
        call(
            "aclnnMultinomial",
            torch.tensor(weights),
            samples,
            False,
            1,
            0,
            torch.empty(samples, dtype=torch.int64),
        )


@pytest.mark.parametrize("kind", ["FloatFloat", "TensorFloat", "FloatTensor", "TensorTensor"])
def test_normal_with_tensors(kind: str) -> None:
    out, standard = torch.empty(100, 3), torch.empty(100, 3)
    mean, std = torch.tensor([1.0, 2, 3]), torch.tensor([[0.5]])
    call("aclnnInplaceNormal", standard, 0.0, 1.0, SEED, OFFSET)
    first = mean if kind.startswith("Tensor") else 4.0
    second = std if kind.endswith("Tensor") else 0.25
    call(f"aclnnNormal{kind}", first, second, SEED, OFFSET, out)
    assert torch.allclose(out, first + standard * second, rtol=1e-6, atol=1e-6)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(OperatorError, match="from 2 to 1 is no range"):
        call("aclnnInplaceUniform", torch.empty(3), 2.0, 1.0, 0, 0)
    with pytest.raises(OperatorError, match="std is -1"):
        call("aclnnInplaceNormal", torch.empty(3), 0.0, -1.0, 0, 0)
    with pytest.raises(OperatorError, match="complex64"):
        call("aclnnInplaceNormal", torch.empty(3, dtype=torch.complex64), 0.0, 1.0, 0, 0)
    with pytest.raises(OperatorError, match="int32"):
        call("aclnnNormalFloatFloat", 0.0, 1.0, 0, 0, torch.empty(3, dtype=torch.int32))
    with pytest.raises(OperatorError, match="32 contiguous bytes"):
        call(
            "aclnnDropoutGenMaskV2",
            IntArray([129]),
            0.5,
            0,
            0,
            torch.float32,
            torch.empty(16, dtype=torch.uint8),
        )
