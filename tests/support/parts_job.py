# SPDX-License-Identifier: Apache-2.0
"""Two ranks with products next to collectives, of which rank 1 is late with the second one: what has rank 0 computed by then?

A product that is whole has one collective, with which rank 1 is late at once. Prints of each form whether rank 0 has
computed a part when a collective is still on its way.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

import torch
import torch_npu  # noqa: F401
from mindspeed.ops import product_parts
from torch import Tensor

RANK, WORLD = int(os.environ["RANK"]), 2
LATE_S, LONG_S = 0.3, 60.0
Form = Callable[[Any, int], Tensor]
FORMS: dict[str, tuple[str, Form]] = {
    "gathered": (
        "all_gather_into_tensor",
        lambda group, parts: product_parts.gathered(
            torch.ones(4, 8, device="npu"), MATRIX, 2, group, parts, False
        )[0],
    ),
    "scattered": (
        "reduce_scatter_tensor",
        lambda group, parts: product_parts.scattered(torch.ones(8, 8, device="npu"), MATRIX, 2, group, parts),
    ),
    "summed": (
        "all_reduce",
        lambda group, parts: product_parts.summed(torch.ones(4, 8, device="npu"), MATRIX, group, parts),
    ),
}
MATRIX: Tensor


class Watch:
    """Counts the collectives of one kind; delays the last one on rank 1; marks each product on rank 0 by an event."""

    def __init__(self, name: str, parts: int) -> None:
        self.name, self.left = name, parts
        self.collective = getattr(torch.distributed, name)
        self.matmul = torch.matmul
        self.products: list[Any] = []
        self.last: Any = None

    def communicate(self, *args: Any, **kwargs: Any) -> Any:
        self.left -= 1
        if self.left == 0 and RANK == 1:
            time.sleep(LATE_S)
        work = self.collective(*args, **kwargs)
        if self.left == 0:
            self.last = work
        return work

    def multiply(self, *args: Any, **kwargs: Any) -> Tensor:
        result = self.matmul(*args, **kwargs)
        self.products.append(torch.npu.current_stream().record_event())
        return result

    def __enter__(self) -> Watch:
        setattr(torch.distributed, self.name, self.communicate)
        torch.matmul = self.multiply  # type: ignore[assignment]
        return self

    def __exit__(self, *error: object) -> None:
        setattr(torch.distributed, self.name, self.collective)
        torch.matmul = self.matmul  # type: ignore[assignment]


def hides(form: str, group: Any, parts: int) -> bool:
    """On rank 0: a product is ready although the last collective is not."""
    name, compute = FORMS[form]
    torch.distributed.barrier()
    torch.npu.synchronize()
    with Watch(name, parts) as watch:
        result = compute(group, parts)
    end = time.monotonic() + LONG_S
    before = 0
    while time.monotonic() < end:
        ready = sum(event.query() for event in watch.products)
        if watch.last.is_completed():
            break
        before = ready
    torch.npu.synchronize()
    assert result.eq(8.0 if form == "gathered" else 16.0).all()
    # Compute first: a product that comes before its own collective is no overlap.
    return before > (0 if form == "gathered" else 1)


def main() -> None:
    global MATRIX
    torch.npu.set_device(int(os.environ["LOCAL_RANK"]))
    store, rank, world = next(torch.distributed.rendezvous("env://"))
    torch.distributed.init_process_group("hccl", store=store, rank=rank, world_size=world)
    MATRIX = torch.ones(8, 8, device="npu")
    group = torch.distributed.group.WORLD
    torch.distributed.all_reduce(MATRIX, op=torch.distributed.ReduceOp.MAX)
    found = {form: {"cut": hides(form, group, 2), "whole": hides(form, group, 1)} for form in FORMS}
    if RANK == 0:
        print(json.dumps(found), flush=True)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
