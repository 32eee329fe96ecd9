# SPDX-License-Identifier: Apache-2.0
"""Lossless compression by ranks of exponents: the same bits come back, whatever they are, and few where they are alike."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
WORDS = {4: torch.int32, 2: torch.int16}
LEAST = 32768
Parts = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def bound(numel: int) -> int:
    return 512 + numel // 64 + numel


def parts(x: torch.Tensor, fixed: int, pdf: torch.Tensor | None = None) -> Parts:
    """pdf, mantissa, fixed of so many bytes, and var of the rest."""
    item = x.element_size()
    rest = max(bound(x.numel()) - fixed, 0)
    made = [torch.zeros(-(-size // item), dtype=x.dtype) for size in (x.numel() * (item - 1), fixed, rest)]
    return torch.zeros(1, 256, dtype=torch.int32) if pdf is None else pdf, *made


def encode(x: torch.Tensor, p: Parts, statistic: bool = True, reshuff: bool = False) -> None:
    pdf, mantissa, fixed, var = p
    call("aclnnHansEncode", x, pdf, statistic, reshuff, mantissa, fixed, var)


def decode(x: torch.Tensor, p: Parts, reshuff: bool = False) -> torch.Tensor:
    pdf, mantissa, fixed, var = p
    out = torch.zeros_like(x, memory_format=torch.contiguous_format)
    call("aclnnHansDecode", mantissa, fixed, var, pdf, reshuff, out)
    return out


def words(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous().view(WORDS[x.element_size()])


def coded(x: torch.Tensor) -> torch.Tensor:
    """The byte of each element that is coded."""
    bits = words(x).flatten().long() & (2 ** (8 * x.element_size()) - 1)
    return (bits >> (8 * x.element_size() - 9)) & 255


def size(p: Parts) -> int:
    return int(p[2].view(torch.uint8)[16:24].view(torch.int64))


def normal(numel: int, dtype: torch.dtype, scale: float = 1.0) -> torch.Tensor:
    return (torch.randn(numel, generator=torch.Generator().manual_seed(numel)) * scale).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("numel", [LEAST, LEAST + 64, 3 * LEAST - 64, 8 * LEAST + 192])
def test_normal_numbers(dtype: torch.dtype, numel: int) -> None:
    x = normal(numel, dtype)
    whole = bound(numel)
    for fixed in (512, 516, whole // 3, whole + 64):
        p = parts(x, fixed)
        encode(x, p)
        assert torch.equal(p[0].flatten().long(), torch.bincount(coded(x), minlength=256))
        assert torch.equal(words(decode(x, p)), words(x))
    # Of bfloat16 and float32 the exponent: most are among eight, in 64 elements the rarest counts.
    limit = 0.62 if dtype != torch.float16 else 0.85
    assert size(p) < limit * numel + 512


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_bit_pattern(dtype: torch.dtype) -> None:
    """NaN of all kinds, infinities, both zeros and subnormal numbers; nothing is alike, nothing is lost."""
    words_ = torch.randint(-(2**31), 2**31, (LEAST * 2,), generator=torch.Generator().manual_seed(1))
    if dtype != torch.float32:
        words_ = torch.arange(-(2**15), 2**15)
    x = words_.to(WORDS[torch.empty(0, dtype=dtype).element_size()]).view(dtype)
    x = x[torch.randperm(x.numel(), generator=torch.Generator().manual_seed(2))]
    p = parts(x, 512)
    encode(x, p)
    assert size(p) <= bound(x.numel())
    assert torch.equal(words(decode(x, p)), words(x))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_one_value_takes_a_byte_for_64(dtype: torch.dtype) -> None:
    for value in (0.0, -1.5, float("nan"), float("-inf")):
        x = torch.full((LEAST,), value, dtype=dtype)
        p = parts(x, bound(LEAST))
        encode(x, p)
        assert size(p) == 512 + LEAST // 64
        assert torch.equal(words(decode(x, p)), words(x))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_with_a_distribution_of_another_tensor(dtype: torch.dtype) -> None:
    x, other = normal(LEAST, dtype), normal(2 * LEAST, dtype, 100.0)
    p = parts(x, 1024)
    encode(x, p)
    pdf, alone = p[0].clone(), parts(other, 1024)
    alone[0].copy_(pdf)
    encode(other, alone, statistic=False)
    assert torch.equal(alone[0], pdf)
    assert torch.equal(words(decode(other, alone)), words(other))
    least = parts(other, 1024)
    encode(other, least)
    assert size(least) < size(alone)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_all_in_fixed(dtype: torch.dtype) -> None:
    x = normal(LEAST, dtype)
    pdf, mantissa, fixed, _ = parts(x, bound(LEAST))
    p = (pdf, mantissa, fixed, torch.zeros(0, dtype=dtype))
    encode(x, p, reshuff=True)
    assert torch.equal(words(decode(x, p, reshuff=True)), words(x))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_strided(dtype: torch.dtype) -> None:
    x = normal(LEAST * 3, dtype).reshape(256, -1)[:, ::3].t()
    p = parts(x, 512)
    encode(x, p)
    assert torch.equal(decode(x, p), x)
    pdf, mantissa, fixed, var = p
    out = torch.zeros(x.shape[1], x.shape[0], dtype=dtype).t()
    call("aclnnHansDecode", mantissa, fixed, var, pdf, False, out)
    assert torch.equal(out, x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, p: (x[:64], p), "inputTensor has 64 elements, wanted a multiple of 64 that is 32768 or more"),
        (lambda x, p: (x[:-1], p), "inputTensor has 65535 elements, wanted a multiple of 64"),
        (lambda x, p: (x.double(), p), "inputTensor is float64"),
        (lambda x, p: (x, (p[0].long(), *p[1:])), "pdf is int64"),
        (lambda x, p: (x, (p[0][0, :255], *p[1:])), "pdf has 255 elements, wanted 256"),
        (lambda x, p: (x, (p[0], p[1][1:], *p[2:])), "mantissa has 196604 bytes, wanted 196608"),
        (lambda x, p: (x, (p[0], p[1], p[2][:100], p[3])), "fixed has 400 bytes, wanted 512 or more"),
        (lambda x, p: (x, (*p[:3], p[3][1:])), "fixed and var together have"),
        (lambda x, p: (x, (*p[:3], p[3].half())), "var is float16"),
        (lambda x, p: (x, (p[0], p[1].repeat_interleave(2)[::2], *p[2:])), "with gaps, wanted contiguous float32"),
    ],
)  # fmt: skip
def test_bad_arguments(change: object, message: str) -> None:
    x = normal(2 * LEAST, torch.float32)
    x, p = change(x, parts(x, 1024))  # type: ignore[operator]
    with pytest.raises(OperatorError) as raised:
        encode(x, p)
    assert message in raised.value.text


def test_too_little_room_with_reshuff() -> None:
    x = normal(LEAST, torch.float32)
    with pytest.raises(OperatorError, match="with reshuff fixed is all there is and has 1024 bytes"):
        encode(x, parts(x, 1024), reshuff=True)


def test_bad_streams() -> None:
    x = normal(LEAST, torch.bfloat16)

    def refused(message: str, spoil: object) -> None:
        p = parts(x, 1024)
        encode(x, p)
        spoil(p, p[2].view(torch.uint8))  # type: ignore[operator]
        with pytest.raises(OperatorError) as raised:
            decode(x, p)
        assert message in raised.value.text

    refused("does not begin with a stream", lambda p, stream: stream[0].fill_(1))
    refused("the stream is of 33024 elements of 2 bytes", lambda p, stream: stream[9].fill_(129))
    refused("pdf is another one", lambda p, stream: p[0].copy_(torch.arange(256)[None]))
    refused("block 3 of the stream has 9 planes", lambda p, stream: stream[515].fill_(9))
    refused("blocks of the stream have", lambda p, stream: stream[515].fill_(0))
    refused("the stream 18", lambda p, stream: stream[16:24].fill_(255))
