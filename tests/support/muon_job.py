# SPDX-License-Identifier: Apache-2.0
"""Two ranks train by Muon in several layouts, and keep its states: muon_job.py FOLDER. Rank 0 prints what it found."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mindspeed.megatron_adaptor as adaptor
import parallel_checkpoint
import parallel_job
import torch
from parallel_layouts import Layout

STEPS = 2
parallel_job.CLIP = 0.0  # a norm is summed in another order by ranks that share, and would be in every bit
DENSE = {"model": "dense", "world": 2}
EXPERTS = {"model": "moe", "world": 2, "ep": 1, "dtype": "bf16", "grouped": True, "dispatcher": "alltoall"}
# Name of a run: its layout, how tensor-parallel ranks share a matrix.
RUNS = {
    "plain": (Layout(**DENSE), "blockwise"),
    "distributed": (Layout(**DENSE, optimizer="distributed"), "blockwise"),
    "duplicated": (Layout(**DENSE, tp=2), "duplicated"),
    "together": (Layout(**DENSE, tp=2, sp=True), "distributed"),
    "blockwise": (Layout(**DENSE, tp=2), "blockwise"),
    "bf16": (Layout(**DENSE, dtype="bf16"), "blockwise"),
    "bf16 distributed": (Layout(**DENSE, dtype="bf16", optimizer="distributed"), "blockwise"),
    "experts": (Layout(**EXPERTS), "blockwise"),
    "experts distributed": (Layout(**EXPERTS, optimizer="distributed"), "blockwise"),
    "experts apart": (Layout(**EXPERTS | {"ep": 2, "optimizer": "distributed"}), "blockwise"),
}


def started(layout: Layout, sharing: str) -> tuple[list[torch.nn.Module], Any]:
    precision = "high" if layout.dtype == "fp32" else "medium"
    adaptor.repatch(
        {"optimization_level": 2, "optimizer": "muon", "muon_tp_mode": sharing, "muon_fp32_matmul_prec": precision}
        | {"muon_nesterov": True, "muon_extra_scale_factor": 0.2}
    )  # fmt: skip
    config = parallel_job.transformer_config(layout)
    chunks = parallel_job.build_model(layout, config)
    optimizer = parallel_job.build_optimizer(layout, chunks, name="muon")
    parallel_job.connect(layout, config, chunks, optimizer)
    return chunks, optimizer


def states(optimizer: Any) -> int:
    """Numbers that the optimizers of this rank keep."""
    return sum(
        tensor.numel()
        for one in optimizer.chained_optimizers
        for state in one.optimizer.state.values()
        for tensor in state.values()
        if torch.is_tensor(tensor)
    )


def kept(layout: Layout, folder: Path, chunks: list[torch.nn.Module], optimizer: Any) -> dict[str, bool]:
    """Saved in both ways after the steps; what another optimizer that loads it does next is what this one does."""
    parallel_checkpoint.save(str(folder / "named"), chunks, optimizer)
    torch.distributed.barrier()
    optimizer.save_parameter_state(str(folder / "states.pt"))
    told = optimizer.state_dict()
    weights = [[p.detach().clone() for p in chunk.parameters()] for chunk in chunks]
    wanted = [parallel_job.train_step(layout, chunks, optimizer, STEPS + i)[0] for i in range(2)]
    torch.distributed.barrier()

    def goes_on(chunks: list[torch.nn.Module], optimizer: Any, other: Layout) -> bool:
        return [parallel_job.train_step(other, chunks, optimizer, STEPS + i)[0] for i in range(2)] == wanted

    chunks, optimizer = started(layout, "blockwise")
    parallel_checkpoint.load(str(folder / "named"), chunks, optimizer)
    by_name = goes_on(chunks, optimizer, layout)
    plain = Layout(**DENSE, dtype=layout.dtype)
    chunks, optimizer = started(plain, "blockwise")
    parallel_checkpoint.load(str(folder / "named"), chunks, optimizer)
    by_name_on_all = goes_on(chunks, optimizer, plain)
    chunks, optimizer = started(layout, "blockwise")
    with torch.no_grad():
        for chunk, values in zip(chunks, weights, strict=True):
            for p, value in zip(chunk.parameters(), values, strict=True):
                p.copy_(value)
    optimizer.load_state_dict(told)
    optimizer.load_parameter_state(str(folder / "states.pt"))
    return {"named": by_name, "on all": by_name_on_all, "file": goes_on(chunks, optimizer, layout)}


def main() -> None:
    folder = Path(sys.argv[1])
    for number, (name, (layout, sharing)) in enumerate(RUNS.items()):
        parallel_job.initialize(layout, number)
        chunks, optimizer = started(layout, sharing)
        found: dict[str, Any] = {"run": name}
        found["steps"] = [parallel_job.train_step(layout, chunks, optimizer, i) for i in range(STEPS)]
        count = torch.tensor([states(optimizer)], device="npu")
        torch.distributed.all_reduce(count)
        found["numbers"] = int(count)
        if name == "bf16 distributed":
            found |= kept(layout, folder / name.replace(" ", "_"), chunks, optimizer)
        if torch.distributed.get_rank() == 0:
            print(json.dumps(found), flush=True)
        parallel_job.finalize()


if __name__ == "__main__":
    main()
