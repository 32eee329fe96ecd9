"""CTC loss and its gradient against PyTorch's, and against the sum over all alignments."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from aclnn import IntArray, OperatorError, call
from compare import FLOATS, assert_close

# Room behind the states, as torch_npu hands over.
ALIGN = 8


def sample(
    steps: int, rows: int, classes: int, most: int, seed: int, blank: int
) -> tuple[torch.Tensor, torch.Tensor, list[int], list[int]]:
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.randn(steps, rows, classes, generator=generator, dtype=torch.float64).log_softmax(-1)
    labels = [c for c in range(classes) if c != blank]
    targets = torch.tensor(labels)[torch.randint(0, len(labels), (rows, most), generator=generator)]
    lengths = torch.randint(steps // 2, steps + 1, (rows,), generator=generator).tolist()
    return log_probs, targets, lengths, torch.randint(0, most + 1, (rows,), generator=generator).tolist()


def forward(
    log_probs: torch.Tensor,
    targets: torch.Tensor,
    steps: list[int],
    lengths: list[int],
    blank: int,
    zero: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    batched = log_probs.dim() == 3
    rows = log_probs.shape[1] if batched else 1
    states = -(-(2 * max(lengths, default=0) + 1) // ALIGN) * ALIGN
    loss = torch.empty((rows,) if batched else (), dtype=log_probs.dtype)
    alpha = torch.full((rows, log_probs.shape[0], states), torch.nan, dtype=log_probs.dtype)
    call("aclnnCtcLoss", log_probs, targets, IntArray(steps), IntArray(lengths), blank, zero, loss, alpha)
    return loss, alpha


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("blank", (0, 3))
@pytest.mark.parametrize("flat", (False, True))
def test_against_pytorch(flat: bool, blank: int, dtype: torch.dtype) -> None:
    for steps, rows, classes, most in ((12, 5, 7, 4), (30, 3, 4, 6), (1, 2, 5, 1), (50, 1, 33, 20)):
        exact, matrix, lengths, target_lengths = sample(steps, rows, classes, most, steps, blank)
        log_probs = exact.to(dtype)
        wide = log_probs.double()
        targets = (
            torch.cat([row[:n] for row, n in zip(matrix, target_lengths, strict=True)]) if flat else matrix
        )
        want, want_alpha = torch.ops.aten._ctc_loss(wide, targets, lengths, target_lengths, blank, False)
        loss, alpha = forward(log_probs, targets.to(torch.int32), lengths, target_lengths, blank, False)
        assert_close(loss, want, 1.01, 1e-11)
        for n, (t, s) in enumerate(zip(lengths, target_lengths, strict=True)):
            states = 2 * s + 1
            assert_close(alpha[n, :t, :states], want_alpha[n, :t, :states].to(dtype), 1.01, 1e-11)
        grad = torch.linspace(0.5, 2, rows, dtype=dtype)
        out = torch.full_like(log_probs, torch.nan)
        call("aclnnCtcLossBackward", grad, log_probs, targets, IntArray(lengths), IntArray(target_lengths), loss, alpha,
             blank, True, out)  # fmt: skip
        want = torch.ops.aten._ctc_loss_backward(
            grad.double(), wide, targets, lengths, target_lengths, want, want_alpha, blank, True
        )
        # Alpha and the loss are rounded to the type: exponents of up to 100 are.
        bound = {torch.float64: 1e-11, torch.float32: 1e-4}.get(dtype, 1.5)
        assert (out.double() - want).abs().max() <= bound


def test_sum_over_all_alignments() -> None:
    """By its definition: every path that becomes the targets when repeats are merged and blanks dropped."""
    log_probs, _, _, _ = sample(5, 1, 3, 2, 7, 0)
    for target in ([], [1], [2, 2], [1, 2], [2, 1, 2]):
        probability = 0.0
        for path in itertools.product(range(3), repeat=5):
            if [c for c, _ in itertools.groupby(path) if c != 0] == target:
                probability += math.exp(sum(log_probs[t, 0, c].item() for t, c in enumerate(path)))
        loss, _ = forward(log_probs, torch.tensor([[*target, 0]]), [5], [len(target)], 0, False)
        assert abs(loss.item() + math.log(probability)) < 1e-12


def test_rows_without_an_alignment() -> None:
    """Two equal targets need three steps; rows without steps; one row without a dimension."""
    log_probs = torch.randn(3, 4, 5, dtype=torch.float64).log_softmax(-1)
    targets, steps, lengths = (
        torch.tensor([[1, 1, 2], [1, 1, 2], [1, 2, 3], [1, 2, 3]]),
        [3, 3, 0, 0],
        [3, 2, 1, 0],
    )
    infinite, alpha = forward(log_probs, targets, steps, lengths, 0, False)
    assert infinite.isinf().tolist() == [True, False, True, False] and infinite[3] == 0
    loss, again = forward(log_probs, targets, steps, lengths, 0, True)
    assert loss.tolist() == [0, infinite[1].item(), 0, 0] and torch.equal(alpha, again)
    for handed_over in (loss, infinite):
        out = torch.full_like(log_probs, torch.nan)
        call("aclnnCtcLossBackward", torch.ones(4, dtype=torch.float64), log_probs, targets, IntArray(steps),
             IntArray(lengths), handed_over, alpha, 0, True, out)  # fmt: skip
        assert out[:, [0, 2, 3]].eq(0).all() and out[:, 1].isfinite().all() and out[:, 1].ne(0).any()
    alone, _ = forward(log_probs[:, 1].contiguous(), targets[1], [3], [2], 0, False)
    assert alone.dim() == 0 and alone == infinite[1]


def test_errors() -> None:
    log_probs, targets = torch.zeros(4, 2, 3), torch.tensor([[1, 2], [1, 2]])
    alpha, loss = torch.zeros(2, 4, 5), torch.zeros(2)
    for args, text in (
        ((log_probs[0, 0], targets, [4, 4], [2, 2], 0), r"logProbs is float32\[3\]"),
        ((log_probs, targets[:1], [4, 4], [2, 2], 0), r"targets is int64\[1,2\]"),
        ((log_probs, targets, [4], [2, 2], 0), "inputLengths has 1 values and targetlengths 2, wanted one for each of 2"),
        ((log_probs, targets, [4, 5], [2, 2], 0), r"inputLengths\[1\] is 5, wanted 0 to 4"),
        ((log_probs, targets, [4, -(2**63)], [2, 2], 0), r"inputLengths\[1\] is -9223372036854775808"),
        ((log_probs, targets, [4, 4], [2, 3], 0), r"targetlengths\[1\] is 3, wanted 0 to 2"),
        ((log_probs, targets.view(-1), [4, 4], [2, 2**63 - 1], 0), r"targetlengths\[1\] is 9223372036854775807, wanted 0 to 2"),
        ((log_probs, targets, [4, 4], [2, 2], 3), "blank is 3"),
        ((log_probs, targets + 1, [4, 4], [2, 2], 0), "target 1 of row 0 is 3, wanted a class of logProbs, 0 to 2"),
        ((log_probs, targets - 2**62, [4, 4], [0, 1], 0), "target 0 of row 1 is -4611686018427387903"),
    ):  # fmt: skip
        x, t, steps, lengths, blank = args
        with pytest.raises(OperatorError, match="aclnnCtcLoss: " + text):
            call("aclnnCtcLoss", x, t, IntArray(steps), IntArray(lengths), blank, False, loss, alpha)
    with pytest.raises(
        OperatorError, match=r"logAlpha is float32\[2,4,4\], wanted floating point \[2,4,5 or more\]"
    ):
        call(
            "aclnnCtcLoss",
            log_probs,
            targets,
            IntArray([4, 4]),
            IntArray([2, 2]),
            0,
            False,
            loss,
            torch.zeros(2, 4, 4),
        )


@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
def test_zeros_among_the_probabilities(dtype: torch.dtype) -> None:
    """-inf is a logarithm: alignments through it count for nothing. NaN stays NaN. Another row is not touched."""
    log_probs = sample(6, 3, 4, 2, 5, 0)[0].to(dtype)
    log_probs[2, 0, 1] = log_probs[3, 0, 0] = -math.inf
    log_probs[2, 1, 2] = math.nan
    targets, steps, lengths = torch.tensor([[1, 3], [2, 3], [1, 2]]), [6, 6, 6], [2, 2, 2]
    want, _ = torch.ops.aten._ctc_loss(log_probs.double(), targets, steps, lengths, 0, False)
    loss, alpha = forward(log_probs, targets, steps, lengths, 0, False)
    assert_close(loss, want, 1.01, 1e-11)
    assert loss[1].isnan() and loss[[0, 2]].isfinite().all()
    out = torch.full_like(log_probs, math.nan)
    call("aclnnCtcLossBackward", torch.ones(3, dtype=dtype), log_probs, targets, IntArray(steps), IntArray(lengths), loss, alpha,
         0, False, out)  # fmt: skip
    assert out[:, [0, 2]].isfinite().all() and out[2, 0, 1] == 0 and out[:, 1].isnan().any()
    # The gradient of a row adds up to 0 at each step: both parts are probabilities of classes.
    assert out[:, 2].sum(-1).abs().max() < (1e-12 if dtype == torch.float64 else 1e-4)


def test_an_impossible_row_without_zero_infinity() -> None:
    log_probs = sample(2, 1, 3, 2, 5, 0)[0]
    loss, alpha = forward(log_probs, torch.tensor([[1, 1]]), [2], [2], 0, False)
    out = torch.zeros_like(log_probs)
    call("aclnnCtcLossBackward", torch.ones(1, dtype=torch.float64), log_probs, torch.tensor([[1, 1]]), IntArray([2]), IntArray([2]),
         loss, alpha, 0, False, out)  # fmt: skip
    assert loss.isinf().all() and out.isnan().all()
