"""aclnnConvolution, aclnnConvDepthwise2d and aclnnConvTbc, with PyTorch in float64 as the reference."""

from __future__ import annotations

import pytest
import torch
from aclnn import IntArray, OperatorError, call
from conv_cases import CASES, DTYPES, TRANSPOSED_CASES, Case, assert_linear
from matmul_cases import values

T = torch.Tensor
I2, Z2 = IntArray([1, 1]), IntArray([0, 0])


def convolve(case: Case, x: T, weight: T, bias: T | None, out: T) -> None:
    stride, padding, dilation, extra = (
        IntArray(case.list_of(v)) for v in (case.stride, case.padding, case.dilation, case.extra)
    )
    call(
        "aclnnConvolution", x, weight, bias, stride, padding, dilation, case.transposed, extra, case.groups, out, 0
    )  # fmt: skip


def operands(case: Case, dtype: torch.dtype) -> tuple[T, T, T]:
    return values(case.x, dtype), values(case.weight_shape(), dtype, 1), values((case.out,), dtype, 2)


def empty_out(case: Case, dtype: torch.dtype) -> T:
    meta = case.run(torch.empty(case.x, device="meta"), torch.empty(case.weight_shape(), device="meta"))
    return torch.full(meta.shape, float("nan"), dtype=dtype)


@pytest.mark.parametrize("dtype", (*DTYPES, torch.float64), ids=str)
@pytest.mark.parametrize("case", CASES + TRANSPOSED_CASES, ids=str)
def test_forward(case: Case, dtype: torch.dtype) -> None:
    x, weight, bias = operands(case, dtype)
    for b in (None, bias):
        out = empty_out(case, dtype)
        convolve(case, x, weight, b, out)
        assert_linear(out, case.run, x, weight, b)


@pytest.mark.parametrize("case", CASES + TRANSPOSED_CASES, ids=str)
def test_strided_operands(case: Case) -> None:
    """Channels last, every other element, a bias with gaps; and an output that is a view."""
    x, weight = values(case.x, torch.float32), values(case.weight_shape(), torch.float32, 1)
    bias = values((case.out, 2), torch.float32, 2)[:, 1]
    wide = values((*case.x[:-1], 2 * case.x[-1]), torch.float32, 3)[..., ::2]
    for view in (x.movedim(1, -1).contiguous().movedim(-1, 1), wide):
        out = empty_out(case, torch.float32).movedim(1, -1).contiguous().movedim(-1, 1)
        convolve(case, view, weight.transpose(0, 1).contiguous().transpose(0, 1), bias, out)
        assert_linear(out, case.run, view, weight, bias)


def test_types_of_one_kind_mix() -> None:
    case = CASES[2]
    x, weight = values(case.x, torch.bfloat16), values(case.weight_shape(), torch.float16, 1)
    bias, out = values((case.out,), torch.float32, 2), empty_out(case, torch.float32)
    convolve(case, x, weight, bias, out)
    assert_linear(out, case.run, x, weight, bias)


def test_output_over_its_input() -> None:
    case = Case(x=(1, 4, 6, 6), out=4, kernel=(3, 3), padding=1)
    weight, x = values(case.weight_shape(), torch.float32), values(case.x, torch.float32, 1)
    out = x.clone()
    convolve(case, out, weight, None, out)
    assert_linear(out, case.run, x, weight)


@pytest.mark.parametrize("transposed", [False, True])
def test_empty_batch_and_no_channels(transposed: bool) -> None:
    case = Case(x=(0, 4, 6, 6), out=4, kernel=(3, 3), transposed=transposed)
    convolve(case, torch.empty(case.x), torch.ones(case.weight_shape()), None, empty_out(case, torch.float32))
    out, bias = torch.empty(2, 3, 4, 4), torch.arange(3.0)
    none = Case(x=(2, 0, 4, 4), out=3, kernel=(1, 1), transposed=transposed)
    convolve(none, torch.empty(none.x), torch.empty(none.weight_shape()), bias, out)
    assert torch.equal(out, bias[:, None, None].expand(2, 3, 4, 4))


@pytest.mark.parametrize("groups", [1, 4])
def test_a_sample_does_not_depend_on_its_company(groups: int) -> None:
    case = Case(x=(5, 4, 20, 20), out=8, kernel=(3, 3), padding=1, groups=groups)
    x, weight = values(case.x, torch.bfloat16), values(case.weight_shape(), torch.bfloat16, 1)
    together, alone = empty_out(case, torch.bfloat16), torch.empty(1, 8, 20, 20, dtype=torch.bfloat16)
    convolve(case, x, weight, None, together)
    for i in range(5):
        convolve(case, x[i : i + 1], weight, None, alone)
        assert torch.equal(alone[0], together[i])


def test_not_a_number_stays_where_its_patches_are() -> None:
    for groups in (1, 2):
        case = Case(x=(1, 2, 1, 40), out=2, kernel=(1, 3), groups=groups)
        x, weight = torch.ones(case.x), torch.ones(case.weight_shape())
        x[..., 20] = float("nan")
        out = empty_out(case, torch.float32)
        convolve(case, x, weight, None, out)
        assert out.isnan().nonzero()[:, 3].unique().tolist() == [18, 19, 20]


def test_both_sides_of_the_padding() -> None:
    """{top, bottom, left, right}, as torch_npu passes it for NNPACK's convolution."""
    x, weight = values((1, 2, 4, 5), torch.float32), values((3, 2, 3, 3), torch.float32, 1)
    out = torch.empty(1, 3, 5, 8)
    call("aclnnConvolution", x, weight, None, I2, IntArray([1, 2, 3, 2]), I2, False, Z2, 1, out, 0)
    padded = torch.nn.functional.pad(x, (3, 2, 1, 2))
    assert_linear(out, torch.nn.functional.conv2d, padded, weight)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("multiple", [1, 3])
def test_depthwise(dtype: torch.dtype, multiple: int) -> None:
    case = Case(x=(2, 5, 9, 20), out=5 * multiple, kernel=(3, 5), stride=(2, 1), padding=(1, 2), groups=5)
    x, weight, bias = operands(case, dtype)
    out = empty_out(case, dtype)
    lists = [IntArray(case.list_of(v)) for v in (case.stride, case.padding, case.dilation)]
    call("aclnnConvDepthwise2d", x, weight, IntArray((3, 5)), bias, *lists, out, 0)
    assert_linear(out, case.run, x, weight, bias)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tbc(dtype: torch.dtype) -> None:
    x, weight, bias = values((9, 2, 4), dtype), values((3, 4, 5), dtype, 1), values((5,), dtype, 2)
    out = torch.empty(11, 2, 5, dtype=dtype)
    call("aclnnConvTbc", x, weight, bias, 2, out, 0)
    assert_linear(out, lambda x, w, b: torch.conv_tbc(x, w, b, 2), x, weight, bias)


X, W = torch.ones(2, 4, 5, 6), torch.ones(8, 4, 3, 3)
# input, weight, bias, stride, padding, dilation, transposed, outputPadding, groups, output
BAD = [
    ((None, W, None, I2, Z2, I2, False, Z2, 1, torch.ones(2, 8, 3, 4)), "input is null"),
    ((X, None, None, I2, Z2, I2, False, Z2, 1, torch.ones(2, 8, 3, 4)), "weight is null"),
    ((X, W, None, I2, Z2, I2, False, Z2, 1, None), "output is null"),
    ((X, W, None, None, Z2, I2, False, Z2, 1, torch.ones(2, 8, 3, 4)), "stride is null"),
    ((X[:, :3], W, None, I2, Z2, I2, False, Z2, 1, torch.ones(2, 8, 3, 4)),
     "input is float32[2,3,5,6], wanted 4 channels for weight float32[8,4,3,3] and 1 groups"),
    ((X, W, None, I2, Z2, I2, False, Z2, 3, torch.ones(2, 8, 3, 4)), "wanted a first dimension that groups, 3, divides"),
    ((X, W, None, I2, Z2, I2, False, Z2, 0, torch.ones(2, 8, 3, 4)), "groups is 0, wanted at least 1"),
    ((X, W, None, I2, Z2, I2, False, Z2, 2**62, torch.ones(2, 8, 3, 4)), "groups is 4611686018427387904"),
    ((X, W, None, I2, IntArray([-1, 0]), I2, False, Z2, 1, torch.ones(2, 8, 1, 4)), "padding[0] is -1, wanted at least 0"),
    ((X, W, None, IntArray([1, 0]), Z2, I2, False, Z2, 1, torch.ones(2, 8, 3, 4)), "stride[1] is 0, wanted at least 1"),
    ((X, W, None, I2, Z2, IntArray([0, 1]), False, Z2, 1, torch.ones(2, 8, 3, 4)), "dilation[0] is 0"),
    ((X, W, None, I2, Z2, IntArray([2**62, 1]), False, Z2, 1, torch.ones(2, 8, 3, 4)), "dilation[0] is 4611686018427387904"),
    ((X, W, None, IntArray([1, 1, 1]), Z2, I2, False, Z2, 1, torch.ones(2, 8, 3, 4)), "stride has 3 values, wanted 2"),
    ((X, W, None, I2, Z2, IntArray([3, 1]), False, Z2, 1, torch.ones(2, 8, 3, 4)), "dimension 2 of the output would not be at least 1"),
    ((X, W, None, I2, Z2, I2, False, Z2, 1, torch.ones(2, 8, 3, 5)), "output is float32[2,8,3,5], wanted float32[2,8,3,4]"),
    ((X, W, torch.ones(4), I2, Z2, I2, False, Z2, 1, torch.ones(2, 8, 3, 4)), "bias is float32[4], wanted [8]"),
    ((X, W, None, I2, Z2, I2, False, IntArray([1, 0]), 1, torch.ones(2, 8, 3, 4)), "outputPadding is 1, wanted 0"),
    ((X, W[:4], None, I2, Z2, I2, True, IntArray([1, 0]), 1, torch.ones(2, 4, 8, 8)), "outputPadding is 1, wanted 0"),
    ((X, W[0], None, I2, Z2, I2, False, Z2, 1, torch.ones(2, 8, 3, 4)), "as many dimensions in both"),
    ((X[0, 0], W[0, 0], None, I2, Z2, I2, False, Z2, 1, torch.ones(2, 8)), "weight is float32[3,3], wanted 3 to 5 dimensions"),
    ((X.int(), W.int(), None, I2, Z2, I2, False, Z2, 1, torch.ones(2, 8, 3, 4)), "input is int32[2,4,5,6], wanted float32"),
    ((X, W.double(), None, I2, Z2, I2, False, Z2, 1, torch.ones(2, 8, 3, 4)), "weight is float64[8,4,3,3]"),
    ((X, W[..., :0], None, I2, Z2, I2, False, Z2, 1, torch.ones(2, 8, 3, 4)), "wanted a kernel of 1 or more"),
]  # fmt: skip


@pytest.mark.parametrize(("args", "text"), BAD, ids=[b[1] for b in BAD])
def test_bad_input(args: tuple, text: str) -> None:
    with pytest.raises(OperatorError) as error:
        call("aclnnConvolution", *args, 0)
    assert "aclnnConvolution" in error.value.text
    assert text in error.value.text


def test_bad_input_of_the_other_forms() -> None:
    rest = (None, I2, Z2, I2, torch.ones(2, 4, 3, 4))
    with pytest.raises(OperatorError, match="kernelSize"):
        call("aclnnConvDepthwise2d", X, W[:4, :1], IntArray([3, 2]), *rest, 0)
    with pytest.raises(OperatorError, match="cubeMathType is 9"):
        call("aclnnConvDepthwise2d", X, W[:4, :1], IntArray([3, 3]), *rest, 9)
    with pytest.raises(OperatorError, match="aclnnConvTbc: self is .* wanted 3 dimensions"):
        call("aclnnConvTbc", X, W[0], None, 0, X[0], 0)


def test_padding_far_larger_than_the_image() -> None:
    """One channel a group, but a plane with its padding would be 2^80 elements."""
    far = IntArray([2**40, 2**40])
    x, weight, out = torch.ones(1, 2, 1, 1), torch.ones(2, 1, 1, 1), torch.empty(1, 2, 3, 3)
    call("aclnnConvolution", x, weight, None, far, far, I2, False, Z2, 2, out, 0)
    assert out.sum() == 2
    assert out[0, 0, 1, 1] == 1
