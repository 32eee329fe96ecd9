# SPDX-License-Identifier: Apache-2.0
"""One rank of a torch.distributed job on virtual NPUs, through stock torch_npu.

`python -m torch.distributed.run --nproc-per-node N dist_job.py REPORT CHECK...` runs the named checks, each a
function `check_<name>` below, and rank 0 writes {check: "ok" or the error of the first rank that had one}.
What must come out is computed from the ranks' numbers, without a collective."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from datetime import timedelta

import torch
import torch.distributed as dist
import torch_npu

RANK, WORLD = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
FLOATS = (torch.float32, torch.float16, torch.bfloat16)
INTEGERS = (torch.int8, torch.uint8, torch.int32, torch.int64)
OPS = {
    dist.ReduceOp.SUM: lambda x: x.sum(0),
    dist.ReduceOp.PRODUCT: lambda x: x.prod(0),
    dist.ReduceOp.MAX: lambda x: x.max(0).values,
    dist.ReduceOp.MIN: lambda x: x.min(0).values,
}
SIZES = (1, 7, 1000, 50_003)


def data(rank: int, size: int, dtype: torch.dtype = torch.float32, salt: int = 0) -> torch.Tensor:
    """What `rank` brings: small integers on the CPU, exact in every type and every order of summation."""
    return ((torch.arange(size) * 7 + rank * 3 + salt) % 5 - 1).abs().to(dtype)


def on_npu(*args: int | torch.dtype) -> torch.Tensor:
    return data(*args).npu()  # type: ignore[arg-type]


def same(got: torch.Tensor, want: torch.Tensor, what: object = "") -> None:
    got = got.cpu()
    assert got.dtype == want.dtype and got.shape == want.shape, (
        what,
        got.dtype,
        got.shape,
        want.dtype,
        want.shape,
    )
    assert torch.equal(got, want), (what, got.flatten()[:8].tolist(), want.flatten()[:8].tolist())


def stacked(size: int, dtype: torch.dtype, ranks: int = WORLD) -> torch.Tensor:
    wide = torch.float64 if dtype.is_floating_point else torch.int64
    return torch.stack([data(r, size, dtype).to(wide) for r in range(ranks)])


def check_all_reduce() -> None:
    for dtype in FLOATS + INTEGERS:
        for op, reference in OPS.items():
            for size in SIZES:
                x = on_npu(RANK, size, dtype)
                dist.all_reduce(x, op)
                same(x, reference(stacked(size, dtype)).to(dtype), (dtype, op, size))


def check_average() -> None:
    for dtype in FLOATS:
        for size in SIZES:
            want = stacked(size, dtype).sum(0).to(dtype)
            x = on_npu(RANK, size, dtype)
            dist.all_reduce(x, dist.ReduceOp.AVG)
            torch.testing.assert_close(x.cpu(), want / WORLD)
            y = torch.empty(size, dtype=dtype, device="npu")
            dist.reduce_scatter_tensor(y, on_npu(RANK, size * WORLD, dtype), dist.ReduceOp.AVG)
            want = stacked(size * WORLD, dtype).sum(0).to(dtype)[RANK * size : (RANK + 1) * size]
            torch.testing.assert_close(y.cpu(), want / WORLD)


def check_bool() -> None:
    x = torch.tensor([RANK == 0, True, False], device="npu")
    dist.all_reduce(x, dist.ReduceOp.MAX)
    same(x, torch.tensor([True, True, False]))


def check_reduce_and_broadcast() -> None:
    for root in range(WORLD):
        for dtype in FLOATS + INTEGERS:
            for size in SIZES:
                x, y = on_npu(RANK, size, dtype), on_npu(RANK, size, dtype)
                dist.reduce(x, root)
                dist.broadcast(y, root)
                if root == RANK:
                    same(x, stacked(size, dtype).sum(0).to(dtype), (root, dtype, size))
                same(y, data(root, size, dtype), (root, dtype, size))


def check_all_gather() -> None:
    for dtype in FLOATS + INTEGERS:
        for size in SIZES:
            parts = [torch.empty(size, dtype=dtype, device="npu") for _ in range(WORLD)]
            dist.all_gather(parts, on_npu(RANK, size, dtype))
            whole = torch.empty(size * WORLD, dtype=dtype, device="npu")
            dist.all_gather_into_tensor(whole, on_npu(RANK, size, dtype))
            for r in range(WORLD):
                same(parts[r], data(r, size, dtype))
                same(whole[r * size : (r + 1) * size], data(r, size, dtype))


def check_all_gather_uneven() -> None:
    parts = [torch.empty(5 + 1000 * r, device="npu") for r in range(WORLD)]
    dist.all_gather(parts, on_npu(RANK, 5 + 1000 * RANK))
    for r in range(WORLD):
        same(parts[r], data(r, 5 + 1000 * r))


def check_reduce_scatter() -> None:
    for dtype in (*FLOATS, torch.int8, torch.int32, torch.int64):
        for size in SIZES:
            want = stacked(size * WORLD, dtype).sum(0).to(dtype)[RANK * size : (RANK + 1) * size]
            out = torch.empty(size, dtype=dtype, device="npu")
            dist.reduce_scatter_tensor(out, on_npu(RANK, size * WORLD, dtype))
            same(out, want)
            out = torch.empty(size, dtype=dtype, device="npu")
            dist.reduce_scatter(out, list(on_npu(RANK, size * WORLD, dtype).split(size)))
            same(out, want)


def check_reduce_scatter_uneven() -> None:
    sizes = [5 + 100 * r for r in range(WORLD)]
    out = torch.empty(sizes[RANK], device="npu")
    dist.reduce_scatter(out, list(on_npu(RANK, sum(sizes)).split(sizes)))
    same(out, stacked(sum(sizes), torch.float32).sum(0).float().split(sizes)[RANK])


def check_scatter_and_gather() -> None:
    for root in range(WORLD):
        for size in SIZES:
            out = torch.empty(size, device="npu")
            parts = [on_npu(RANK, size, torch.float32, r) for r in range(WORLD)] if root == RANK else None
            dist.scatter(out, parts, src=root)
            same(out, data(root, size, torch.float32, RANK))
            lists = [torch.empty(size, device="npu") for _ in range(WORLD)] if root == RANK else None
            dist.gather(on_npu(RANK, size), lists, dst=root)
            for r in range(WORLD if root == RANK else 0):
                same(lists[r], data(r, size))


def check_all_to_all() -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.int64):
        for size in SIZES:
            out = torch.empty(size * WORLD, dtype=dtype, device="npu")
            dist.all_to_all_single(out, on_npu(RANK, size * WORLD, dtype))
            lists = [torch.empty(size, dtype=dtype, device="npu") for _ in range(WORLD)]
            dist.all_to_all(lists, list(on_npu(RANK, size * WORLD, dtype).split(size)))
            for r in range(WORLD):
                want = data(r, size * WORLD, dtype)[RANK * size : (RANK + 1) * size]
                same(out[r * size : (r + 1) * size], want)
                same(lists[r], want)


def check_all_to_all_uneven() -> None:
    for factor in (1, 5000):
        table = [[(r + 2 * c) % 3 * factor for c in range(WORLD)] for r in range(WORLD)]
        send, receive = table[RANK], [table[r][RANK] for r in range(WORLD)]
        out = torch.empty(sum(receive), 3, device="npu")
        x = data(RANK, sum(send) * 3).reshape(-1, 3)
        dist.all_to_all_single(out, x.npu(), receive, send)
        want = [data(r, sum(table[r]) * 3).reshape(-1, 3).split(table[r])[RANK] for r in range(WORLD)]
        same(out, torch.cat(want))
        lists = [torch.empty(k, 3, device="npu") for k in receive]
        dist.all_to_all(lists, [part.contiguous() for part in x.npu().split(send)])
        same(torch.cat(lists), torch.cat(want))


def check_torch_npu_collectives() -> None:
    """What torch_npu adds to torch.distributed: slices of different sizes in one tensor, scaled sums."""
    import torch_npu.distributed as more

    sizes = [3 + 2000 * r for r in range(WORLD)]
    whole = torch.empty(sum(sizes), device="npu")
    more.all_gather_into_tensor_uneven(whole, on_npu(RANK, sizes[RANK]), sizes)
    same(whole, torch.cat([data(r, sizes[r]) for r in range(WORLD)]))
    part = torch.empty(sizes[RANK], device="npu")
    more.reduce_scatter_tensor_uneven(part, on_npu(RANK, sum(sizes)), sizes)
    same(part, stacked(sum(sizes), torch.float32).sum(0).float().split(sizes)[RANK])
    table = [[(r + 2 * c) % 3 * 500 for c in range(WORLD)] for r in range(WORLD)]
    out = torch.empty(sum(table[r][RANK] for r in range(WORLD)), device="npu")
    more.all_to_all_vc(out, on_npu(RANK, sum(table[RANK])), torch.tensor(table))
    same(out, torch.cat([data(r, sum(table[r])).split(table[r])[RANK] for r in range(WORLD)]))
    x = on_npu(RANK, 1000)
    dist.all_reduce(x, more._make_hccl_premul_sum(2.0))
    same(x, 2 * stacked(1000, torch.float32).sum(0).float())


def check_stop_and_resume() -> None:
    """torch_npu's way out of a hang: rank 0 waits for the others, all stop their devices, and go on."""
    import torch_npu.distributed as more

    x = on_npu(RANK, 100_000)
    dist.all_reduce(x)
    torch.npu.synchronize()
    if RANK == 0:
        dist.all_reduce(x, async_op=True)
        time.sleep(0.2)
    try:
        torch.npu.stop_device(RANK)
        torch.npu.synchronize()
    except RuntimeError as error:
        assert "FORCE STOP" in str(error), str(error)
    store = dist.distributed_c10d._get_default_store()
    store.set(f"stopped/{RANK}", "")
    store.wait([f"stopped/{r}" for r in range(WORLD)])
    torch.npu.restart_device(RANK)
    more.reinit_process_group(None, False)
    x = on_npu(RANK, 100_000)
    dist.all_reduce(x)
    same(x, stacked(100_000, torch.float32).sum(0).float())


def check_async_handles() -> None:
    xs = [on_npu(RANK, 10_000, torch.float32, salt) for salt in range(20)]
    works = [dist.all_reduce(x, async_op=True) for x in xs]
    for salt, (x, work) in enumerate(zip(xs, works, strict=True)):
        work.wait()
        same(x + 1, torch.stack([data(r, 10_000, torch.float32, salt) for r in range(WORLD)]).sum(0) + 1)
    torch.npu.synchronize()
    assert all(work.is_completed() for work in works)
    out = torch.empty(WORLD * 100, device="npu")
    work = dist.all_gather_into_tensor(out, on_npu(RANK, 100), async_op=True)
    work.get_future().wait()
    same(out, torch.cat([data(r, 100) for r in range(WORLD)]))


def check_streams() -> None:
    """Work on a side stream, a collective behind it, and the default stream behind that."""
    side = torch.npu.Stream()
    for size in SIZES:
        x = torch.zeros(size, device="npu")
        side.wait_stream(torch.npu.current_stream())
        with torch.npu.stream(side):
            for _ in range(50):
                x += 1
            work = dist.all_reduce(x, async_op=True)
            work.wait()
            x *= 2
        torch.npu.current_stream().wait_stream(side)
        same(x - 1, torch.full((size,), 100.0 * WORLD - 1))


def check_coalesced() -> None:
    xs = [on_npu(RANK, size, torch.float32, salt) for salt, size in enumerate((3, 5000, 100))]
    with dist._coalescing_manager(device=torch.device("npu", RANK)):
        for x in xs:
            dist.all_reduce(x)
    for salt, x in enumerate(xs):
        same(x, torch.stack([data(r, len(x), torch.float32, salt) for r in range(WORLD)]).sum(0))
    outs = [torch.empty(WORLD * size, device="npu") for size in (4, 6000)]
    with dist._coalescing_manager(device=torch.device("npu", RANK), async_ops=True) as manager:
        for out in outs:
            dist.all_gather_into_tensor(out, on_npu(RANK, len(out) // WORLD))
    manager.wait()
    for out in outs:
        same(out, torch.cat([data(r, len(out) // WORLD) for r in range(WORLD)]))
    outs = [torch.empty(size, device="npu") for size in (4, 6000)]
    with dist._coalescing_manager(device=torch.device("npu", RANK), async_ops=True) as manager:
        for out in outs:
            dist.reduce_scatter_tensor(out, on_npu(RANK, WORLD * len(out)))
    manager.wait()
    for out in outs:
        size = len(out)
        same(out, stacked(WORLD * size, torch.float32).sum(0).float()[RANK * size : (RANK + 1) * size])


def check_objects() -> None:
    def thing(rank: int) -> dict[str, object]:
        return {"rank": rank, "text": "x" * (rank + 1) * 1000, "tensor": data(rank, 5)}

    def equal(a: dict[str, object], rank: int) -> bool:
        b = thing(rank)
        return a["rank"] == b["rank"] and a["text"] == b["text"] and torch.equal(a["tensor"], b["tensor"])

    for root in range(WORLD):
        objects = [thing(RANK), "two", None] if root == RANK else [None, None, 3]
        dist.broadcast_object_list(objects, src=root)
        assert equal(objects[0], root) and objects[1:] == ["two", None]
        gathered: list = [None] * WORLD if root == RANK else None  # type: ignore[assignment]
        dist.gather_object(thing(RANK), gathered, dst=root)
        assert root != RANK or all(equal(gathered[r], r) for r in range(WORLD))
        received: list = [None]
        dist.scatter_object_list(
            received, [thing(r) for r in range(WORLD)] if root == RANK else None, src=root
        )
        assert equal(received[0], RANK)
    everything: list = [None] * WORLD
    dist.all_gather_object(everything, thing(RANK))
    assert all(equal(everything[r], r) for r in range(WORLD))


def check_point_to_point() -> None:
    following, previous = (RANK + 1) % WORLD, (RANK - 1) % WORLD
    for size in SIZES:
        x, y = on_npu(RANK, size), torch.empty(size, device="npu")
        if RANK % 2 == 0:
            dist.send(x, following)
        dist.recv(y, previous)
        if RANK % 2 == 1:
            dist.send(x, following)
        same(y, data(previous, size), ("send", size))
        works = [dist.P2POp(dist.isend, x, following), dist.P2POp(dist.irecv, y.zero_(), previous)]
        works += [dist.P2POp(dist.isend, x + 1, previous)]
        z = torch.empty(size, device="npu")
        works += [dist.P2POp(dist.irecv, z, following)]
        for work in dist.batch_isend_irecv(works):
            work.wait()
        same(y, data(previous, size), ("batch", size))
        same(z, data(following, size) + 1, ("batch", size))
    if RANK < 2:
        x, y = on_npu(RANK, 5000), torch.empty(5000, device="npu")
        order = [lambda: dist.isend(x, 1 - RANK), lambda: dist.irecv(y, 1 - RANK)]
        for work in [call() for call in (order if RANK == 0 else order[::-1])]:
            work.wait()
        same(y, data(1 - RANK, 5000))


def check_groups() -> None:
    evens = dist.new_group(list(range(0, WORLD, 2)))
    rest = dist.new_group(list(range(WORLD))[::-1])
    if RANK % 2 == 0:
        x = on_npu(RANK, 1000)
        dist.all_reduce(x, group=evens)
        same(x, torch.stack([data(r, 1000) for r in range(0, WORLD, 2)]).sum(0))
    x = on_npu(RANK, 1000)
    dist.broadcast(x, src=WORLD - 1, group=rest)
    same(x, data(WORLD - 1, 1000))
    if WORLD % 2 == 0:
        pair, pairs = dist.new_subgroups(2)
        x = on_npu(RANK, 1000)
        dist.all_reduce(x, group=pair)
        first = RANK - RANK % 2
        same(x, data(first, 1000) + data(first + 1, 1000))
        assert len(pairs) == WORLD // 2
    if RANK % 2 == 0:
        dist.destroy_process_group(evens)
    dist.destroy_process_group(rest)


def check_many_groups() -> None:
    """As many as Megatron makes; each is used, and each takes the same small numbers."""
    groups = [dist.new_group(list(range(WORLD))) for _ in range(20)]
    for number, group in enumerate(groups):
        x = torch.full((10,), float(RANK + number), device="npu")
        dist.all_reduce(x, dist.ReduceOp.MAX, group=group)
        same(x, torch.full((10,), float(WORLD - 1 + number)))
    for group in groups:
        dist.destroy_process_group(group)


def check_barrier() -> None:
    for _ in range(5):
        dist.barrier(device_ids=[RANK])


def check_waiting_costs_nothing() -> None:
    """The last rank is a second late; what the others burn meanwhile is what their interpreters need."""
    x = on_npu(RANK, 100_000)
    dist.all_reduce(x)
    torch.npu.synchronize()
    began = time.process_time()
    if RANK == WORLD - 1:
        time.sleep(1)
    dist.all_reduce(x)
    torch.npu.synchronize()
    assert time.process_time() - began < 0.1, time.process_time() - began


def communicator(group: dist.ProcessGroup | None = None) -> str:
    group = group or dist.group.WORLD
    return group._get_backend(torch.device("npu")).get_hccl_comm_name(dist.get_rank())


# The last one is scattered with its rows shared by the ranks; K 0 gives zeros.
PRODUCTS = ((WORLD * 3, 5, 7), (WORLD, 1, 1), (WORLD * 64, 300, 129), (WORLD * 2, 0, 4))


def normal(*shape: int, dtype: torch.dtype, salt: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(salt)).to(dtype)


def check_all_gather_products() -> None:
    """The same bits as a gather and a matmul; transposed operands, a bias, rows that are no contiguous memory."""
    name = communicator()
    for dtype in FLOATS:
        for m, k, n in PRODUCTS:
            parts = [normal(m, k, dtype=dtype, salt=r) for r in range(WORLD)]
            whole, x2, bias = (
                torch.cat(parts),
                normal(k, n, dtype=dtype, salt=99),
                normal(n, dtype=dtype, salt=98),
            )
            for mine in (parts[RANK].npu(), parts[RANK].t().contiguous().npu().t()):
                for second in (x2.npu(), x2.t().contiguous().npu().t()):
                    out, gathered = torch_npu.npu_all_gather_base_mm(mine, second, name, WORLD)
                    same(gathered, whole)
                    same(out, (whole.npu() @ second).cpu())
                    bare, nothing = torch_npu.npu_all_gather_base_mm(
                        mine, second, name, WORLD, gather_output=False
                    )
                    assert nothing.numel() == 0 or k == 0
                    same(bare, out.cpu())
            biased, _ = torch_npu.npu_all_gather_base_mm(
                parts[RANK].npu(), x2.npu(), name, WORLD, bias=bias.npu()
            )
            near(biased, whole.double() @ x2.double() + bias.double())
    refused_products(name)


def near(got: torch.Tensor, want: torch.Tensor) -> None:
    """Sums of 300 products up to 100, which halves round to steps of 0.5."""
    relative, absolute = (1e-4, 1e-4) if got.dtype is torch.float32 else (4e-2, 0.5)
    torch.testing.assert_close(got.cpu().double(), want.cpu().double(), rtol=relative, atol=absolute)


def refused_products(name: str) -> None:
    """Before anything is launched: the ranks go on together."""
    x, w = torch.ones(2 * WORLD, 4, device="npu"), torch.ones(4, 3, device="npu")
    calls = {
        "no communicator called 'nobody'": lambda: torch_npu.npu_all_gather_base_mm(x, w, "nobody", WORLD),
        "gatherIndex is 1": lambda: torch_npu.npu_all_gather_base_mm(x, w, name, WORLD, gather_index=1),
        "commTurn is 3, wanted 0": lambda: torch_npu.npu_all_gather_base_mm(x, w, name, WORLD, comm_turn=3),
        f"{WORLD} ranks": lambda: torch_npu.npu_mm_reduce_scatter_base(x, w, name, 2 if WORLD != 2 else 4),
        "reduceOp is 'max', wanted sum": lambda: torch_npu.npu_mm_reduce_scatter_base(
            x, w, name, WORLD, reduce_op="max"
        ),
        "wanted one type": lambda: torch_npu.npu_mm_all_reduce_base(x, w.half(), name),
    }
    for text, call in calls.items():
        try:
            call()
            torch.npu.synchronize()
        except RuntimeError as error:
            assert text in str(error), (text, str(error))
        else:
            raise AssertionError(f"not refused: {text}")


def check_products_that_scatter() -> None:
    name = communicator()
    for dtype in FLOATS:
        for m, k, n in PRODUCTS:
            x1 = [normal(m, k, dtype=dtype, salt=r) for r in range(WORLD)]
            x2 = [normal(k, n, dtype=dtype, salt=50 + r) for r in range(WORLD)]
            for first in (x1[RANK].npu(), x1[RANK].t().contiguous().npu().t()):
                out = torch_npu.npu_mm_reduce_scatter_base(first, x2[RANK].npu(), name, WORLD)
                plain = torch.empty_like(out)
                dist.reduce_scatter_tensor(plain, first @ x2[RANK].npu())
                same(out, plain.cpu(), (dtype, m, k, n))
            if dtype is torch.float32:
                want = sum(a.double() @ b.double() for a, b in zip(x1, x2, strict=True))
                near(out, want.chunk(WORLD)[RANK])
            bias = normal(n, dtype=dtype, salt=97).npu()
            biased = torch_npu.npu_mm_reduce_scatter_base(
                x1[RANK].npu(), x2[RANK].npu(), name, WORLD, bias=bias
            )
            near(biased, out.double() + WORLD * bias.double())


def check_products_that_are_exchanged() -> None:
    """The same bits as an exchange and a matmul, on either side of it."""
    name = communicator()
    if WORLD not in (2, 4, 8, 16):  # torch_npu takes no other
        return
    for dtype in FLOATS:
        for m, k, n in ((WORLD * 3, 5, 2 * WORLD), (WORLD, 1, WORLD), (WORLD * 64, 300, 128)):
            x1 = [normal(m, k, dtype=dtype, salt=r) for r in range(WORLD)]
            wide, bias = normal(k * WORLD, n, dtype=dtype, salt=50), normal(n, dtype=dtype, salt=51)
            rows = torch.cat([x.chunk(WORLD)[RANK] for x in x1], 1)
            for first in (x1[RANK].npu(), x1[RANK].t().contiguous().npu().t()):
                out, moved = torch_npu.npu_all_to_all_matmul(
                    first, wide.npu(), name, WORLD, all2all_axes=[-2, -1], all2all_out_flag=True
                )
                same(moved, rows)
                same(out, (rows.npu() @ wide.npu()).cpu())
            biased, _ = torch_npu.npu_all_to_all_matmul(
                x1[RANK].npu(), wide.npu(), name, WORLD, bias=bias.npu(), all2all_out_flag=False
            )
            near(biased, rows.double() @ wide.double() + bias.double())
            x2 = [normal(k, n, dtype=dtype, salt=60 + r) for r in range(WORLD)]
            out = torch_npu.npu_matmul_all_to_all(
                x1[RANK].npu(), x2[RANK].npu(), name, WORLD, all2all_axes=[-1, -2]
            )
            products = [(a.npu() @ b.npu()).cpu() for a, b in zip(x1, x2, strict=True)]
            same(out, torch.cat([p.chunk(WORLD, 1)[RANK] for p in products]))


def expert_rows(x: list[torch.Tensor], counts: torch.Tensor, rank: int) -> list[torch.Tensor]:
    """What each expert of a rank gets, from rank 0 on; counts [from, to, expert], rows by the rank they go to."""
    parts = [rows.split(mine.flatten().tolist()) for rows, mine in zip(x, counts, strict=True)]
    experts = counts.shape[2]
    return [torch.cat([p[rank * experts + e] for p in parts]) for e in range(experts)]


def check_products_of_experts() -> None:
    """Uneven numbers of rows to the experts of all ranks and back: npu_alltoallv_gmm, npu_gmm_alltoallv."""
    name = communicator()
    cases = ((3, 40, 9, 1), (1, 5, 3, 2), (2, 64, 128, 60))
    for dtype in FLOATS:
        for experts, k, n, most in cases:
            make = torch.Generator().manual_seed(experts)
            counts = torch.randint(0, most + 1, (WORLD, WORLD, experts), generator=make)
            counts[0, -1] = 0
            x = [normal(int(counts[r].sum()), k, dtype=dtype, salt=r) for r in range(WORLD)]
            weight = normal(experts, k, n, dtype=dtype, salt=50 + RANK)
            shared, matrix = normal(7, k, dtype=dtype, salt=RANK), normal(k, n, dtype=dtype, salt=51)
            send, receive = counts[RANK].flatten().tolist(), counts[:, RANK].flatten().tolist()
            rows = expert_rows(x, counts, RANK)
            for first in (x[RANK].npu(), x[RANK].t().contiguous().npu().t()):
                out, beside, moved = torch_npu.npu_alltoallv_gmm(
                    first, weight.npu(), name, WORLD, send, receive, mm_x=shared.npu(), mm_weight=matrix.npu(),
                    permute_out_flag=True,
                )  # fmt: skip
                same(moved, torch.cat(rows))
                near(out, torch.cat([r.double() @ w.double() for r, w in zip(rows, weight, strict=True)]))
                near(beside, shared.double() @ matrix.double())
                bare, none, nothing = torch_npu.npu_alltoallv_gmm(
                    first, weight.transpose(1, 2).contiguous().npu(), name, WORLD, send, receive,
                    trans_gmm_weight=True,
                )  # fmt: skip
                assert none is None and nothing is None
                near(bare, out)
            back, beside = torch_npu.npu_gmm_alltoallv(
                moved, weight.npu(), name, WORLD, receive, send, mm_x=shared.npu(),
                mm_weight=matrix.t().contiguous().npu(), trans_mm_weight=True,
            )  # fmt: skip
            weights = [normal(experts, k, n, dtype=dtype, salt=50 + r) for r in range(WORLD)]
            mine = x[RANK].split(send)
            near(back, torch.cat([a.double() @ torch.cat(weights)[i].double() for i, a in enumerate(mine)]))
            near(beside, shared.double() @ matrix.double())


def check_products_that_are_summed() -> None:
    name = communicator()
    for dtype in FLOATS:
        for m, k, n in PRODUCTS:
            x1, x2 = (
                normal(2, m, k, dtype=dtype, salt=RANK).npu(),
                normal(k, n, dtype=dtype, salt=50 + RANK).npu(),
            )
            for first in (x1, x1[0], x1.transpose(0, 1)):
                out = torch_npu.npu_mm_all_reduce_base(first, x2, name)
                plain = (first.reshape(out.shape[:-1].numel(), k) @ x2).view(out.shape)
                dist.all_reduce(plain)
                same(out, plain.cpu(), (dtype, m, k, n))
            bias, x3 = normal(n, dtype=dtype, salt=97).npu(), normal(m, n, dtype=dtype, salt=RANK).npu()
            out = torch_npu.npu_mm_all_reduce_base(x1[0], x2, name, bias=bias, x3=x3)
            plain = (x1[0].float() @ x2.float() + bias.float() + x3.float()).to(dtype)
            dist.all_reduce(plain)
            near(out, plain)


def check_products_of_int8() -> None:
    """Scales of columns, and of rows: (x1 @ x2 + bias) * scale * row scale + x3, rounded once, then summed."""
    name = communicator()
    m, k, n = 12, 200, 33
    for dtype in (torch.float16, torch.bfloat16):
        x1, x2 = (
            normal(*shape, dtype=torch.float32, salt=RANK).mul(40).to(torch.int8)
            for shape in ((m, k), (k, n))
        )
        scale, rows = (
            normal(n, dtype=torch.bfloat16, salt=3).abs(),
            normal(m, dtype=torch.float32, salt=4).abs(),
        )
        if dtype is torch.float16:
            scale = scale.float()
        bias, x3 = torch.arange(n, dtype=torch.int32), normal(m, n, dtype=dtype, salt=RANK)
        product = x1.double() @ x2.double() + bias
        options = {"dequant_scale": scale.npu() / 4096, "bias": bias.npu()}
        for row_scale, summand in ((None, None), (rows, x3)):
            more = {} if row_scale is None else {"pertoken_scale": rows.npu(), "x3": x3.npu()}
            out = torch_npu.npu_mm_all_reduce_base(x1.npu(), x2.npu(), name, **options, **more)
            want = product * scale.double() / 4096
            if row_scale is not None:
                want = want * rows.double()[:, None] + summand.double()
            plain = want.to(dtype).npu()
            dist.all_reduce(plain)
            assert out.dtype is dtype
            near(out, plain)


def check_products_with_weights_of_int8() -> None:
    """x1 @ ((x2 + offset) * scale) + bias + x3, rounded once, then summed."""
    name = communicator()
    for dtype in (torch.float16, torch.bfloat16):
        for m, k, n, rows in ((12, 192, 33, 0), (700, 64, 40, 32)):
            groups = 1 if rows == 0 else k // rows
            x1, x3 = (normal(*s, dtype=dtype, salt=RANK) for s in ((m, k), (m, n)))
            x2 = normal(k, n, dtype=torch.float32, salt=7 + RANK).mul(40).to(torch.int8)
            scale, offset = (normal(groups, n, dtype=dtype, salt=s) for s in (3, 4))
            scale, bias = scale.abs() / 64, normal(n, dtype=dtype, salt=5)
            out = torch_npu.npu_mm_all_reduce_base(
                x1.npu(), x2.npu(), name, bias=bias.npu(), antiquant_scale=scale.npu(), antiquant_offset=offset.npu(),
                x3=x3.npu(), antiquant_group_size=rows,
            )  # fmt: skip
            wide = [t.double().repeat_interleave(k // groups, 0) for t in (scale, offset)]
            want = x1.double() @ ((x2.double() + wide[1]) * wide[0]) + bias.double() + x3.double()
            plain = want.to(dtype).npu()
            dist.all_reduce(plain)
            near(out, plain)


def check_products_of_int8_with_int8_on_the_way() -> None:
    """Every rank sends int8, and gets sums of int8: the formula in float64, but for halves of a step."""
    name = communicator()
    for m, k, n in ((12, 200, 33), (1, 30, 5), (7, 64, 300)):
        x1, x2 = (
            normal(*shape, dtype=torch.float32, salt=RANK).mul(40).to(torch.int8)
            for shape in ((m, k), (k, n))
        )
        scale = normal(n, dtype=torch.bfloat16, salt=3).abs() / 4096
        x3, rows = normal(m, n, dtype=torch.bfloat16, salt=RANK), normal(m, dtype=torch.float32, salt=4).abs()
        sent, total = (normal(n, dtype=torch.bfloat16, salt=s).abs() * 0.02 + 0.05 for s in (5, 6))
        out = torch_npu.npu_mm_all_reduce_base(
            x1.npu(), x2.npu(), name, dequant_scale=scale.npu(), pertoken_scale=rows.npu(), x3=x3.npu(),
            comm_quant_scale_1=sent.npu(), comm_quant_scale_2=total.npu(),
        )  # fmt: skip
        product = x1.double() @ x2.double() * scale.double() * rows.double()[:, None] + x3.double()
        steps = (product / sent.double()).round().clamp(-128, 127)
        sums = steps.float().npu()
        dist.all_reduce(sums)
        want = (sums.cpu().double() * sent.double() / total.double()).clamp(-128, 127) * total.double()
        off = (out.cpu().double() - want).abs() - total.double() / 2 - 0.01 * want.abs()
        assert (off <= 1e-6 + sent.double()).all(), off.max()
        assert (off <= 1e-6).double().mean() > 0.99
        every = [torch.empty_like(out) for _ in range(WORLD)]
        dist.all_gather(every, out)
        assert all(torch.equal(e, out) for e in every)


def check_products_that_are_normalised() -> None:
    from mindspeed.ops.npu_mm_all_reduce_add_rms_norm import npu_mm_all_reduce_add_rms_norm as fused
    from mindspeed.ops.npu_mm_all_reduce_add_rms_norm_ import npu_mm_all_reduce_add_rms_norm_ as fused_

    b, s, k, n = 2, 6, 32, 24
    x1 = [normal(b, s, k, dtype=torch.float32, salt=r) for r in range(WORLD)]
    x2, gamma = normal(k, n, dtype=torch.float32, salt=8), normal(n, dtype=torch.float32, salt=9)
    residual = normal(b, s, n, dtype=torch.float32, salt=10)
    total = sum(x.double() for x in x1) @ x2.double() + residual.double()
    norm = total * (total.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * gamma.double()
    for operator in (fused, fused_):
        given = residual.npu()
        y, normalised = operator(x1[RANK].npu(), x2.npu(), given, gamma.npu(), communicator())
        near(y, total)
        near(normalised, norm)
        assert (y.data_ptr() == given.data_ptr()) == (operator is fused_)
        same(given, y.cpu() if operator is fused_ else residual)


def check_products_of_groups() -> None:
    """Two groups have the same sizes; each product is of its own, whatever else is under way."""
    groups = [dist.new_group(list(range(WORLD))) for _ in range(2)]
    x, w = (
        normal(WORLD * 8, 16, dtype=torch.float32, salt=RANK).npu(),
        normal(16, 8, dtype=torch.float32, salt=5).npu(),
    )
    waiting = dist.all_reduce(x.clone(), group=groups[1], async_op=True)
    outs = [torch_npu.npu_mm_reduce_scatter_base(x, w, communicator(group), WORLD) for group in groups]
    waiting.wait()
    plain = torch.empty_like(outs[0])
    dist.reduce_scatter_tensor(plain, x @ w)
    for out in outs:
        same(out, plain.cpu())
    for group in groups:
        dist.destroy_process_group(group)


def check_functional_collectives() -> None:
    import torch.distributed._functional_collectives as funcol

    group = dist.group.WORLD
    x = on_npu(RANK, 1000)
    same(funcol.all_reduce(x, "sum", group), stacked(1000, torch.float32).sum(0).float())
    same(x, data(RANK, 1000))
    same(funcol.all_gather_tensor(x, 0, group), torch.cat([data(r, 1000) for r in range(WORLD)]))
    y = on_npu(RANK, 100 * WORLD)
    want = stacked(100 * WORLD, torch.float32).sum(0).float()[RANK * 100 : (RANK + 1) * 100]
    same(funcol.reduce_scatter_tensor(y, "sum", 0, group), want)
    same(funcol.broadcast(x, 0, group), data(0, 1000))
    want = torch.cat([data(r, 100 * WORLD)[RANK * 100 : (RANK + 1) * 100] for r in range(WORLD)])
    same(funcol.all_to_all_single(y, None, None, group), want)
    a, b = funcol.all_reduce_coalesced([x, y], "sum", group)
    same(a, stacked(1000, torch.float32).sum(0).float())
    same(b, stacked(100 * WORLD, torch.float32).sum(0).float())


def check_differentiable_collectives() -> None:
    import torch.distributed.nn.functional as differentiable

    x = on_npu(RANK, 1000).requires_grad_()
    y = differentiable.all_reduce(x * 2)
    same(y.detach(), 2 * stacked(1000, torch.float32).sum(0).float())
    (y * (RANK + 1)).sum().backward()
    same(x.grad, torch.full((1000,), 2.0 * sum(range(1, WORLD + 1))))
    x = on_npu(RANK, 100).requires_grad_()
    parts = differentiable.all_gather(x)
    sum(part.sum() * (r + 1) for r, part in enumerate(parts)).backward()
    same(x.grad, torch.full((100,), float(WORLD * (RANK + 1))))


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = torch.nn.Linear(32, 64)
        self.b = torch.nn.Linear(64, 64)
        self.c = torch.nn.Linear(64, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(torch.nn.functional.gelu(self.b(torch.nn.functional.gelu(self.a(x)))))


BATCH, STEPS = 12, 8  # divides among 2, 3 and 4 ranks


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(3)
    return [
        (torch.randn(BATCH, 32, generator=generator), torch.randn(BATCH, 8, generator=generator))
        for _ in range(STEPS)
    ]


def train(model: torch.nn.Module, device: str, share: slice, ranks: int) -> list[float]:
    """Losses over all ranks' samples."""
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=1e-2), []
    for x, y in batches():
        loss = torch.nn.functional.mse_loss(model(x[share].to(device)), y[share].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total = loss.detach().clone()
        if ranks > 1:
            dist.all_reduce(total)
        losses.append(total.item() / ranks)
    return losses


def alone() -> list[float]:
    torch.manual_seed(1)
    return train(Net(), "cpu", slice(0, BATCH), 1)


def my_share() -> slice:
    part = BATCH // WORLD
    return slice(RANK * part, (RANK + 1) * part)


def check_ddp() -> None:
    torch.manual_seed(1)
    model = torch.nn.parallel.DistributedDataParallel(Net().npu(), device_ids=[RANK])
    torch.testing.assert_close(train(model, "npu", my_share(), WORLD), alone(), rtol=2e-5, atol=0)


def check_fsdp() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(1)
    model = Net().npu()
    mesh = init_device_mesh("npu", (WORLD,))
    for layer in (model.a, model.b, model.c):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    torch.testing.assert_close(train(model, "npu", my_share(), WORLD), alone(), rtol=2e-5, atol=0)


def check_dtensor() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    mesh = init_device_mesh("npu", (WORLD,))
    a, b = data(0, 24 * 36).reshape(24, 36), data(1, 36 * 12).reshape(36, 12)
    x = distribute_tensor(a.npu(), mesh, [Shard(1)]) @ distribute_tensor(b.npu(), mesh, [Shard(0)])
    same(x.redistribute(mesh, [Replicate()]).to_local(), a @ b)
    same(x.redistribute(mesh, [Shard(0)]).full_tensor(), a @ b)


def check_two_backends() -> None:
    """Of a group with a backend for each device; the default group of this job is one."""
    x = data(RANK, 100)
    dist.all_reduce(x)
    same(x, stacked(100, torch.float32).sum(0).float())
    y = on_npu(RANK, 100)
    dist.all_reduce(y)
    same(y, x)


def check_refused() -> None:
    """What torch_npu does not have (docs/distributed.md): an error that says so, and the group works on."""
    x, doubles = on_npu(RANK, 8, torch.int32), on_npu(RANK, 8, torch.float64)
    out, byte = torch.empty(8, dtype=torch.uint8, device="npu"), on_npu(RANK, 8 * WORLD, torch.uint8)
    calls = {
        "Cannot use ReduceOp.BAND": lambda: dist.all_reduce(x, dist.ReduceOp.BAND),
        "Unsupported data type at::kDouble": lambda: dist.all_reduce(doubles),
        "Unsupported data type at::kByte": lambda: dist.reduce_scatter_tensor(out, byte),
        "does not support recv": lambda: dist.recv(x),
        "does not support splitting": lambda: dist.split_group(split_ranks=[list(range(WORLD))]),
    }
    for text, call in calls.items():
        try:
            call()
        except Exception as error:
            assert text in str(error), (text, str(error))
        else:
            raise AssertionError(f"not refused: {text}")
    dist.all_reduce(x)
    same(x, stacked(8, torch.int32).sum(0).to(torch.int32))


# What goes wrong: each rank is looked at from outside.


def fault_missing() -> None:
    """Rank 1 never comes."""
    x = on_npu(RANK, 1000)
    dist.all_reduce(x)
    torch.npu.synchronize()
    if RANK == 1:
        time.sleep(60)
    dist.all_reduce(x)
    torch.npu.synchronize()


def fault_mismatch() -> None:
    dist.all_reduce(on_npu(RANK, 1000 + RANK))
    torch.npu.synchronize()
    time.sleep(60)


def fault_killed() -> None:
    for step in range(1_000_000):
        if RANK == 1 and step == 50:
            os.kill(os.getpid(), signal.SIGKILL)
        dist.all_reduce(on_npu(RANK, 1000))
        torch.npu.synchronize()


def fault_idle() -> None:
    """Rank 0 computes nothing when rank 1 fails: the watchdog alone can tell."""
    dist.all_reduce(on_npu(RANK, 10))
    torch.npu.synchronize()
    if RANK == 0:
        time.sleep(60)
    dist.all_reduce(on_npu(RANK, 10))
    time.sleep(60)


def fault_index() -> None:
    """An operator of rank 1 fails in front of a collective; rank 1 is told of it before its collective is due."""
    table = torch.ones(100, 8, device="npu")
    x = torch.nn.functional.embedding(on_npu(1, 4).long() + 100 * RANK, table).sum(0)
    dist.all_reduce(x)
    try:
        print("sum", x.cpu())
    except RuntimeError:
        if RANK == 0:
            raise
        traceback.print_exc()
    time.sleep(60)


def fault_product() -> None:
    """Rank 1 brings other rows than rank 0 to a product that gathers them."""
    x, w = torch.ones(8 + RANK, 4, device="npu"), torch.ones(4, 3, device="npu")
    torch_npu.npu_all_gather_base_mm(x, w, communicator(), WORLD)
    torch.npu.synchronize()
    time.sleep(60)


def fault_raises() -> None:
    """Python code of rank 1 raises and its process ends without destroying the group."""
    if RANK == 1:
        raise ValueError("rank 1 has had enough")
    dist.all_reduce(on_npu(RANK, 1000))
    torch.npu.synchronize()


def main() -> None:
    report, names = sys.argv[1], sys.argv[2:]
    torch.npu.set_device(RANK)
    backend = "cpu:gloo,npu:hccl" if "two_backends" in names else "hccl"
    dist.init_process_group(backend, timeout=timedelta(seconds=200), device_id=torch.device("npu", RANK))
    if report == "fault":
        dist.barrier(device_ids=[RANK])
        globals()[f"fault_{names[0]}"]()
        return
    store = dist.distributed_c10d._get_default_store()
    results = {}
    for name in names:
        mine = "ok"
        try:
            globals()[f"check_{name}"]()
        except Exception:
            mine = f"rank {RANK}: {traceback.format_exc()}"
        store.set(f"{name}/{RANK}", mine)
        all_of_them = [store.get(f"{name}/{r}").decode() for r in range(WORLD)]
        results[name] = next((text for text in all_of_them if text != "ok"), "ok")
        if results[name] != "ok":
            break  # ranks may be anywhere now
    if RANK == 0:
        with open(report, "w") as file:
            json.dump(results, file)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
