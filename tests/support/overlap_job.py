# SPDX-License-Identifier: Apache-2.0
"""A rank of a group with slow links (MINDSPEED_HCCL_LINK): products fused with collectives, which are cut into parts there,
have the bits of a product and a collective one after the other."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
import torch_npu

WORLD, RANK = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
# Rows of a rank, columns of x1, of x2: parts of unequal rows; no parts, as rows or columns are few. The last is what the
# trace of rank 0 shows: parts of some ms.
SIZES = ((1030, 96, 40), (515, 300, 129), (63, 32, 64), (2000, 64, 5))
LONG = (2048, 512, 512)


def normal(*shape: int, dtype: torch.dtype, salt: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(salt + 10 * RANK)).to("npu", dtype)


def same(got: torch.Tensor, want: torch.Tensor) -> None:
    assert got.shape == want.shape and torch.equal(got.cpu(), want.cpu()), (
        (got.cpu() - want.cpu()).abs().max()
    )


def gathered(name: str, dtype: torch.dtype, rows: int, k: int, n: int) -> None:
    x1, x2 = normal(rows, k, dtype=dtype, salt=1), normal(k, n, dtype=dtype, salt=2)
    whole = torch.empty(WORLD * rows, k, dtype=dtype, device="npu")
    dist.all_gather_into_tensor(whole, x1)
    for mine in (x1, x1.t().contiguous().t()):
        out, all_rows = torch_npu.npu_all_gather_base_mm(mine, x2, name, WORLD)
        same(all_rows, whole)
        same(out, whole @ x2)
        bare, _ = torch_npu.npu_all_gather_base_mm(mine, x2, name, WORLD, gather_output=False)
        same(bare, out)


def scattered(name: str, dtype: torch.dtype, rows: int, k: int, n: int) -> None:
    x1, x2 = normal(WORLD * rows, k, dtype=dtype, salt=3), normal(k, n, dtype=dtype, salt=4)
    want = torch.empty(rows, n, dtype=dtype, device="npu")
    dist.reduce_scatter_tensor(want, x1 @ x2)
    same(torch_npu.npu_mm_reduce_scatter_base(x1, x2, name, WORLD), want)


def summed(name: str, dtype: torch.dtype, rows: int, k: int, n: int) -> None:
    """Over two leading dimensions, and with a summand for each element."""
    x1, x2 = normal(2, rows // 2, k, dtype=dtype, salt=5), normal(k, n, dtype=dtype, salt=6)
    x3 = normal(2, rows // 2, n, dtype=dtype, salt=7)
    want = x1 @ x2
    dist.all_reduce(want)
    same(torch_npu.npu_mm_all_reduce_base(x1, x2, name), want)
    added = torch_npu.npu_mm_all_reduce_base(x1, x2, name, x3=x3)
    dist.all_reduce(x3)
    limit = {"rtol": 1e-4, "atol": 1e-4} if dtype is torch.float32 else {"rtol": 5e-2, "atol": 0.5}
    torch.testing.assert_close(added.cpu(), (want + x3).cpu(), **limit)


def main() -> None:
    torch.npu.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("hccl")
    name = dist.group.WORLD._get_backend(torch.device("npu")).get_hccl_comm_name(RANK)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for size in SIZES:
            for check in (gathered, scattered, summed):
                check(name, dtype, *size)
    for _ in range(3):
        for check in (gathered, scattered, summed):
            check(name, torch.float32, *LONG)
    dist.barrier()
    dist.destroy_process_group()
    print("done", RANK)


main()
