# SPDX-License-Identifier: Apache-2.0
"""--reset-bucket-group-order: from the second pass on only the first bucket is waited for, and losses are the same."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import torchrun
from mindspeed.adaptor import arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.communication.reset_bucket_group_order import Order

JOB = Path(__file__).parents[2] / "support" / "bucket_order_job.py"


def found(**flags: Any) -> dict[str, Any]:
    (row,) = torchrun.rows(2, JOB, [json.dumps(flags)], timeout=300)
    return row


def test_a_model_that_is_defined_in_another_order() -> None:
    by_definition, by_use = found(), found(reset_bucket_group_order=True, overlap_param_gather=True)
    assert by_use["losses"] == by_definition["losses"]
    assert by_use["late"][0] == by_definition["late"][0] > 1
    assert by_use["late"][2:] == [1] * 3 and min(by_definition["late"]) > 1


class Group:
    param_gather_handle = None
    next_param_gather_bucket_group: Any = "as defined"

    def __init__(self) -> None:
        self.param_gather_dispatched = False


def test_the_order_of_a_pass() -> None:
    order, groups = Order(), [Group() for _ in range(4)]
    first, second, third, idle = groups
    for group in (second, second, first, second, third):  # layers of one bucket take turns with others
        order.meet(group)
        group.param_gather_dispatched = True
    assert not order.is_known and second.next_param_gather_bucket_group == "as defined"
    for group in groups:
        group.param_gather_dispatched = False
    order.meet(second)
    assert order.is_known
    assert second.next_param_gather_bucket_group is first
    assert first.next_param_gather_bucket_group is third
    assert third.next_param_gather_bucket_group is None
    assert idle.next_param_gather_bucket_group == "as defined"


def test_it_needs_gathers_that_overlap() -> None:
    features = tuple(f for f in all_features() if f.name == "reset-bucket-group-order")
    args = Namespace(reset_bucket_group_order=True)
    arguments.complete(args, features)
    assert "--overlap-param-gather" in next(iter(rules.problems(features, args, 2)))
