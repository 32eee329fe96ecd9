# SPDX-License-Identifier: Apache-2.0
"""Names of the original whose work is shared by ranks: the same numbers as without them."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
import torchrun

JOB = Path(__file__).parents[2] / "support" / "names_job.py"
# Numbers that only travel are the same; products are summed in another order.
LIMITS = {
    "all_to_all": 0.0,
    "split and gather": 1e-7,
    "ulysses": 2e-5,
    "ulysses few keys": 2e-5,
    "grid 1 x 2": 2e-6,
    "grid 2 x 1": 2e-6,
    "gather and scatter of the host's": 0.0,
}
RINGS = [
    "ring",
    "ring that keeps",
    "ring of all",
    "ring of sequences",
    "ring of padded sequences",
    "ring of stretches",
]
LAYERS = [f"{way} {kind}" for way in ("mc2", "coc", "coc fused") for kind in ("Column", "Row")]


@functools.cache
def differences() -> dict[str, float]:
    return {row["case"]: row["difference"] for row in torchrun.rows(2, JOB, timeout=300)}


@pytest.mark.parametrize("case", [*LIMITS, *RINGS, *LAYERS])
def test_by_name_as_without(case: str) -> None:
    assert differences()[case] <= LIMITS.get(case, 2e-5 if case in RINGS else 2e-6)


class Alone:
    """A group of one rank of several."""

    def size(self) -> int:
        return 2

    def rank(self) -> int:
        return 0


def test_parts_of_another_length_than_was_said_are_refused() -> None:
    from mindspeed.core.context_parallel.ulysses_context_parallel.unaligned_cp import mapping

    assert mapping.cal_split_sizes(7, 3) == [3, 2, 2]
    with pytest.raises(ValueError, match="has 3 in dimension 0, wanted 4 of 7"):
        mapping.all_to_all(torch.ones(3, 2), Alone(), 1, 0, 7)
    with pytest.raises(ValueError, match=r"has 3 in dimension 0, and \[4, 3\] say something else"):
        mapping.gather_forward_split_backward(torch.ones(3, 2), Alone(), 0, [4, 3])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"attn_mask": torch.ones(2, 2)}, "attn_mask"),
        (
            {"packed_seq_params": object(), "cp_para": {"pse": torch.ones(2), "pse_type": 2}},
            "pse with packed_seq_params",
        ),
        ({"shapes": [1, 2]}, "shapes"),
        ({"cp_para": {"causal": True, "pse": torch.ones(2), "pse_type": 3}}, "pse_type is 3"),
    ],
)
def test_what_a_ring_by_name_does_not_do(given: dict[str, object], words: str) -> None:
    from mindspeed.core.context_parallel.ring_context_parallel import ring_context_parallel as names

    q = torch.ones(2, 1, 4)
    with pytest.raises(NotImplementedError, match=words):
        names.ringattn_context_parallel(q, q, q, 2, **{"cp_para": {"causal": False}} | given)


class Packed:
    """Of one rank of two."""

    def __init__(self, ends: list[int], of_keys: list[int] | None = None, padded: bool = False) -> None:
        self.cu_seqlens_q = torch.tensor(ends)
        self.cu_seqlens_kv = torch.tensor(of_keys or ends)
        self.cu_seqlens_q_padded = self.cu_seqlens_q if padded else None


@pytest.mark.parametrize(
    ("packed", "causal", "error", "words"),
    [
        (Packed([2, 4], [3, 4]), True, NotImplementedError, "keys have other lengths"),
        (Packed([2, 6]), True, ValueError, "ends at 6, and this rank's tokens are 4"),
        (Packed([0, 2, 6], padded=True), True, ValueError, r"cu_seqlens_q_padded is \[0, 2, 6\]"),
        (Packed([0, 4, 12], padded=True), True, ValueError, r"end at 8"),
        (
            Packed([2, 6]),
            False,
            ValueError,
            "ends at 6, and the tokens of all ranks and batch entries are 40",
        ),
    ],
)
def test_packed_sequences_that_are_not_those_of_the_tokens(
    packed: Packed, causal: bool, error: type[Exception], words: str
) -> None:
    from mindspeed.core.context_parallel.ring_context_parallel import ring_context_parallel as names

    q = torch.ones(4, 5, 8)
    with pytest.raises(error, match=words):
        names.ringattn_context_parallel(
            q, q, q, 5 if causal else 2, {"cp_group": Alone(), "causal": causal}, packed_seq_params=packed
        )


def test_the_group_of_a_ring_in_megatron_s_parallel_state(megatron: None) -> None:
    from megatron.core import parallel_state
    from mindspeed.core import parallel_state as ours

    asked = parallel_state.get_context_parallel_group_for_send_recv_overlap
    assert asked is ours.get_context_parallel_group_for_send_recv_overlap
    assert asked(check_initialized=False) is parallel_state.get_context_parallel_group(False)


def test_layers_that_keep_by_name() -> None:
    from mindspeed.core.context_parallel.ring_context_parallel.context_parallel_kv_cache import (
        get_cache_policy,
    )

    assert [get_cache_policy(layer, "full", 2) for layer in range(1, 6)] == ["full", None, None, "full", None]
    assert get_cache_policy(3, "half", 0) == "half" and get_cache_policy(1, None, 1) is None
