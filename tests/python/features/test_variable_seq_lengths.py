# SPDX-License-Identifier: Apache-2.0
"""--variable-seq-lengths: micro-batches of several lengths pass a pipeline, with the losses of one rank."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import memory_cases
import pytest
import torch
from memory_cases import SIZES, case
from mindspeed.adaptor import Level, rules
from mindspeed.features.pipeline import variable_seq_lengths as feature

FLASH = {"use_flash_attn": True}
TOLD = FLASH | {"variable_seq_lengths": True}
LENGTHS = SIZES | {"SHORTER": 4, "BATCH": 4}
LAYERS = {"dtype": "fp32", "layers": 4}


@pytest.mark.slow
def test_training_is_that_of_one_rank() -> None:
    whole = memory_cases.run({"whole": case(FLASH, LENGTHS, **LAYERS)})["whole"]
    two = memory_cases.run(
        {
            "one length": case(FLASH, SIZES, **LAYERS, world=2, pp=2),
            "one length, told": case(FLASH | {"variable_seq_lengths": True}, SIZES, **LAYERS, world=2, pp=2),
            "two stages": case(TOLD, LENGTHS, **LAYERS, world=2, pp=2),
            "interleaved": case(TOLD, LENGTHS, **LAYERS, world=2, pp=2, vp=2, overlap_p2p=True),
        }
    )
    assert two.pop("one length, told")["losses"] == two.pop("one length")["losses"]
    four = memory_cases.run(
        {
            "one length": case(FLASH, SIZES, **LAYERS, world=4, pp=4),
            "four stages": case(TOLD, LENGTHS, **LAYERS, world=4, pp=4),
            "in parts": case(TOLD, LENGTHS, **LAYERS, world=4, pp=2, tp=2, sp=True),
            "in uneven parts": case(
                TOLD | {"unaligned_linear": True},
                LENGTHS | {"SHORTER": 5},
                **LAYERS,
                world=4,
                pp=2,
                tp=2,
                sp=True,
            ),
        }
    )
    four.pop("one length")
    uneven = memory_cases.run({"whole": case(FLASH, LENGTHS | {"SHORTER": 5}, **LAYERS)})["whole"]
    for name, found in (two | four).items():
        wanted = uneven if name == "in uneven parts" else whole
        for what in ("losses", "norms"):
            assert found[what] == pytest.approx(wanted[what], rel=1e-4), f"{name}: {what}"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, ""),
        ({"moe_token_dispatcher_type": "allgather"}, ""),
        ({"num_experts": 4, "moe_token_dispatcher_type": "alltoall"}, ""),
        (
            {"num_experts": 4, "moe_token_dispatcher_type": "allgather"},
            "dispatcher-type allgather wants sequences of one",
        ),
    ],
)
def test_rules(given: dict[str, Any], problem: str) -> None:
    found = rules.problems(
        [feature.FEATURE], Namespace(variable_seq_lengths=True, **given), Level.ACCELERATION
    )
    assert len(found) == bool(problem) and problem in "".join(found)


class Sent:
    """A message that is over when it is waited for."""

    def __init__(self, into: torch.Tensor | None, values: torch.Tensor) -> None:
        self.into, self.values = into, values

    def wait(self) -> None:
        if self.into is not None:
            self.into.detach().copy_(self.values)


def mirrored(calls: list[dict[str, Any]], batch: bool) -> Any:
    """In the place of Megatron's function that starts messages: what goes to a stage comes from it."""

    def start(**given: Any) -> Any:
        calls.append(given)
        works = {
            f"recv_{side}": Sent(given[f"tensor_recv_{side}"], given[f"tensor_send_{side}"])
            for side in ("prev", "next")
            if given[f"tensor_recv_{side}"] is not None
        }
        return list(works.values()) if batch else works

    return start


@pytest.mark.parametrize("batch", [False, True])
def test_by_name_shapes_go_first(megatron: None, batch: bool) -> None:
    from mindspeed.core.pipeline_parallel.variable_seq_length.communicate import communicate_impl

    shapes: list[dict[str, Any]] = []
    tensors: list[dict[str, Any]] = []
    forward, back = torch.arange(12.0).view(2, 2, 3).npu(), torch.arange(20.0).view(5, 1, 4).npu()
    config = Namespace(
        use_ring_exchange_p2p=False, batch_p2p_comm=batch, batch_p2p_sync=True, variable_seq_lengths=True,
        pipeline_dtype=torch.float32,
    )  # fmt: skip
    ways = {"batched_p2p_ops": mirrored(tensors, True), "p2p_ops": mirrored(tensors, False)}
    of_shapes = {
        "original_batched_p2p_ops": mirrored(shapes, True),
        "original_p2p_ops": mirrored(shapes, False),
    }
    places = {"group": "stages", "next_rank": 7, "prev_rank": 5}
    prev, behind, under_way = communicate_impl(
        tensor_send_next=forward, tensor_send_prev=back, recv_prev=True, recv_next=True, tensor_shape=[9, 9, 9],
        config=config, **ways, **of_shapes,
        **{f"get_pipeline_model_parallel_{name}": (lambda value=value: value) for name, value in places.items()},
    )  # fmt: skip
    assert torch.equal(prev, back) and torch.equal(behind, forward) and under_way is None
    assert len(shapes) == len(tensors) == 1 and shapes[0]["tensor_send_next"].tolist() == [2, 2, 3]
    for given in (*shapes, *tensors):
        assert (given["group"], given["next_pipeline_rank"], given["prev_pipeline_rank"]) == ("stages", 7, 5)


def test_by_name_a_ring_exchange_is_refused() -> None:
    from mindspeed.core.pipeline_parallel.variable_seq_length.communicate import communicate_shapes_impl

    config = Namespace(use_ring_exchange_p2p=True)
    with pytest.raises(NotImplementedError, match="use_ring_exchange_p2p"):
        communicate_shapes_impl(None, None, False, False, config, *5 * [None])
