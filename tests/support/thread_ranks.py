# SPDX-License-Identifier: Apache-2.0
"""Ranks that are threads of one process, their tensors the CPU's: collectives without starting anything."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch.testing._internal.distributed.multi_threaded_pg import (
    ProcessLocalGroup,
    _install_threaded_pg,
    _uninstall_threaded_pg,
)


def on_ranks(work: Callable[[int, Any], Any], size: int = 2) -> list[Any]:
    """work(rank, group) on as many threads; their results, or the first error."""
    torch._C._distributed_c10d._set_thread_isolation_mode(True)
    world = _install_threaded_pg()
    store = dist.HashStore()
    results: list[Any] = [None] * size
    errors: list[BaseException] = []

    def rank_main(rank: int) -> None:
        try:
            dist.init_process_group("threaded", rank=rank, world_size=size, store=store)
            results[rank] = work(rank, dist.group.WORLD)
        except BaseException as error:
            errors.append(error)
            ProcessLocalGroup.exception_handle(error)
        finally:
            if world.default_pg is not None:
                dist.destroy_process_group()

    try:
        threads = [threading.Thread(target=rank_main, args=(rank,)) for rank in range(size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        _uninstall_threaded_pg()
        torch._C._distributed_c10d._set_thread_isolation_mode(False)
    if errors:
        raise min(
            errors, key=lambda error: isinstance(error, SystemExit)
        )  # the others were only told to stop
    return results
