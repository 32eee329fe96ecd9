# SPDX-License-Identifier: Apache-2.0
"""What `mindspeed plan` says of memory, and what the same command line then takes on virtual NPUs.

    python bench/plan_memory.py --megatron DIR                          # the configurations of docs/plan.md
    python bench/plan_memory.py --megatron DIR --only llama --only moe  # those whose names contain a word
    python bench/plan_memory.py --megatron DIR -- torchrun --nproc-per-node 2 pretrain_gpt.py ...

Every rank is a process that runs the script as torchrun starts it, with --mock-data and a tokenizer without files, for two
iterations. Measured are torch_npu.npu.max_memory_allocated() after the second one, from the start of the process on, and the peak of
the bytes that were asked for, which is less by what the allocator rounds up. Processes are forked from one that has imported Megatron.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import runpy
import shlex
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from processes import in_process

MIB = 2**20
SIZES = (
    "--num-layers 3 --hidden-size 256 --num-attention-heads 8 --seq-length 256 --max-position-embeddings 512 "
    "--micro-batch-size 2 --global-batch-size 4 --lr 1e-4 --vocab-size 4223"
)
RUN = (
    "--train-iters 3 --mock-data --tokenizer-type NullTokenizer --split 100,0,0 --eval-iters 0 --eval-interval 1000 "
    "--num-workers 0"
)
LLAMA = (
    "--swiglu --normalization RMSNorm --disable-bias-linear --position-embedding-type rope --group-query-attention "
    "--num-query-groups 2 --ffn-hidden-size 704 --untie-embeddings-and-output-weights --hidden-dropout 0 "
    "--attention-dropout 0 --no-persist-layer-norm"
)
FULL = "--recompute-granularity full --recompute-num-layers 1 --recompute-method"
EXPERTS = "--num-experts 4 --moe-router-topk 2 --moe-ffn-hidden-size 256 --disable-bias-linear --swiglu"
LOCAL = "--transformer-impl local"
SHARED = "--use-distributed-optimizer"
INTERLEAVED = f"{LLAMA} --num-layers 8 --pipeline-model-parallel-size 2 --num-layers-per-virtual-pipeline-stage 2 --global-batch-size 16"
LATENT = (
    "--multi-latent-attention --swiglu --normalization RMSNorm --disable-bias-linear --position-embedding-type rope "
    "--untie-embeddings-and-output-weights --hidden-dropout 0 --attention-dropout 0 --no-persist-layer-norm --no-rope-fusion "
    "--q-lora-rank 128 --kv-lora-rank 64 --qk-head-dim 32 --qk-pos-emb-head-dim 16 --v-head-dim 32 --qk-layernorm --kv-channels 32"
)
# name: (ranks, words)
CONFIGURATIONS = {
    "gpt-0-local-fp32": (1, f"--optimization-level 0 {LOCAL}"),
    "gpt-0-fp32": (1, "--optimization-level 0"),
    "gpt-0-local-bf16": (1, f"--optimization-level 0 {LOCAL} --bf16"),
    "gpt-0-local-long": (1, f"--optimization-level 0 {LOCAL} --bf16 --seq-length 512 --micro-batch-size 1"),
    "gpt-0-selective": (1, f"--optimization-level 0 {LOCAL} --recompute-activations"),
    "gpt-1-local-fp32": (1, f"--optimization-level 1 {LOCAL}"),
    "gpt-1-fp32-shared": (1, f"--optimization-level 1 {SHARED}"),
    "gpt-1-full": (1, f"--optimization-level 1 --bf16 {FULL} uniform"),
    "gpt-2-swap-optimizer": (1, f"--optimization-level 2 --bf16 {SHARED} --swap-optimizer"),
    "gpt-2-swap-attention": (
        1, "--optimization-level 2 --bf16 --swap-attention --use-flash-attn --num-layers 6 --hidden-dropout 0",
    ),
    "gpt-2-recompute-act": (1, "--optimization-level 2 --bf16 --recompute-activation-function"),
    "llama-0-local-bf16": (1, f"--optimization-level 0 {LOCAL} --bf16 {LLAMA}"),
    "llama-0-fp32": (1, f"--optimization-level 0 {LLAMA}"),
    "llama-1-local-bf16": (1, f"--optimization-level 1 {LOCAL} --bf16 {LLAMA}"),
    "llama-1-bf16": (1, f"--optimization-level 1 --bf16 {LLAMA}"),
    "llama-1-block": (1, f"--optimization-level 1 --bf16 {LLAMA} {FULL} block"),
    "llama-2-reuse": (1, f"--optimization-level 2 --bf16 {LLAMA} --reuse-fp32-param"),
    "moe-0-local-fp32": (1, f"--optimization-level 0 {LOCAL} {EXPERTS}"),
    "moe-1-grouped-bf16": (1, f"--optimization-level 1 --bf16 {EXPERTS} --moe-grouped-gemm"),
    "gpt-1-tp2": (2, "--optimization-level 1 --bf16 --tensor-model-parallel-size 2 --sequence-parallel"),
    "llama-1-pp2": (2, f"--optimization-level 1 --bf16 {LLAMA} --num-layers 4 --pipeline-model-parallel-size 2"),
    "llama-1-dp2": (2, f"--optimization-level 1 --bf16 {LLAMA} {SHARED}"),
    "llama-2-recompute-norm": (1, f"--optimization-level 2 {LOCAL} --bf16 {LLAMA} --num-layers 6 --recompute-norm"),
    "gpt-2-recompute-norm-act": (
        1, f"--optimization-level 2 {LOCAL} --recompute-norm --recompute-activation-function --num-layers 6",
    ),
    "llama-1-interleaved": (2, f"--optimization-level 1 {LOCAL} --bf16 {INTERLEAVED}"),
    "llama-2-bubble": (2, f"--optimization-level 2 {LOCAL} --bf16 {INTERLEAVED} --recompute-in-bubble"),
    "llama-1-cp2": (2, f"--optimization-level 1 {LOCAL} --bf16 {LLAMA} --context-parallel-size 2 --seq-length 512"),
    "llama-2-cp2-ring": (
        2, f"--optimization-level 2 {LOCAL} --bf16 {LLAMA} --context-parallel-size 2 --seq-length 512 "
        "--context-parallel-algo megatron_cp_algo --attention-mask-type causal --use-flash-attn",
    ),
    "mla-1-bf16": (1, f"--optimization-level 1 --bf16 {LATENT}"),
    "mla-0-fp32": (1, f"--optimization-level 0 {LATENT}"),
    "mtp-1-bf16": (1, f"--optimization-level 1 --bf16 {LLAMA} --mtp-num-layers 1"),
}  # fmt: skip


def command_of(name: str, megatron: Path) -> list[str]:
    ranks, words = CONFIGURATIONS[name]
    script = str(megatron / "pretrain_gpt.py")
    return shlex.split(
        f"CUDA_DEVICE_MAX_CONNECTIONS=1 torchrun --nproc-per-node {ranks} {script} {SIZES} {RUN} {words}"
    )


def wait(pids: Sequence[int]) -> bool:
    codes = [os.waitpid(pid, 0)[1] for pid in pids]
    return not any(codes)


def planned(command: Sequence[str], megatron: Path) -> dict[str, Any]:
    """As the command `mindspeed plan` makes it."""
    from mindspeed.planning import plan

    return plan.make(command, megatron=str(megatron))


def measured(words: Sequence[str], rank: int, ranks: int, port: int, log: Path) -> dict[str, int]:
    """The script as one rank, up to the end of its second iteration."""
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_WORLD_SIZE": str(ranks)}
    os.environ.update(where | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)})
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(log.parent)  # Megatron builds indices of its data where it is
    import torch
    from megatron.training import training

    step, steps = training.train_step, []

    class Done(Exception):
        pass

    def counted(*args: Any, **kwargs: Any) -> Any:
        result = step(*args, **kwargs)
        steps.append(None)
        if len(steps) == 2:
            raise Done
        return result

    training.train_step = counted
    sys.argv = list(words)
    try:
        runpy.run_path(words[0], run_name="__main__")
    except Done:
        asked = torch.npu.memory_stats()["requested_bytes.all.peak"]
        return {"allocated": torch.npu.max_memory_allocated(), "asked": asked}
    raise RuntimeError("the script has ended before its second iteration")


def compare(command: Sequence[str], megatron: Path, folder: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(rank, what it took and what the plan says of its stage)"""
    from mindspeed.planning import launch

    started = launch.parse(command)
    if not wait([in_process(lambda: planned(command, megatron), folder / "plan")]):
        raise SystemExit("it cannot be planned")
    plan = json.loads((folder / "plan").read_text())
    if plan["problems"]:
        raise SystemExit("\n".join(plan["problems"]))
    os.environ.update(started.environment)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words, ranks = [started.script, *started.words], started.ranks
    pids = [
        in_process(
            lambda rank=rank: measured(words, rank, ranks, port, folder / f"log{rank}"), folder / f"{rank}"
        )
        for rank in range(ranks)
    ]
    if not wait(pids):
        raise SystemExit(f"the run failed:\n{(folder / 'log0').read_text()[-3000:]}")
    stages = plan["estimate"]["stages"]
    for rank in range(ranks):
        stage = stages[rank * len(stages) // ranks]  # Megatron's ranks are in the order of stages
        yield rank, json.loads((folder / f"{rank}").read_text()) | {"stage": stage}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megatron", type=Path, required=True, help="a checkout of Megatron-LM")
    parser.add_argument("--only", action="append", default=[], metavar="WORD")
    parser.add_argument("command", nargs="*", help="after --: a command of one node")
    return parser.parse_args()


def main() -> None:
    options = parse()
    checkout = options.megatron.resolve()
    names = [n for n in CONFIGURATIONS if not options.only or any(word in n for word in options.only)]
    commands = {name: command_of(name, checkout) for name in names}
    if options.command:
        commands = {"command": options.command}
    sys.path.insert(0, str(checkout))
    for name in ("mindspeed.megatron_adaptor", "megatron.training.training"):
        importlib.import_module(name)  # before the first fork: it takes longer than a small run

    print(
        f"{'MiB per rank':22}{'rank':>5}{'allocated':>11}{'asked':>9}{'plan':>9}{'ratio':>7}  {'peak is planned at'}"
    )
    ratios = []
    for name, command in commands.items():
        with tempfile.TemporaryDirectory() as folder:
            for rank, found in compare(command, checkout, Path(folder)):
                plan = found["stage"]["peak"]
                ratios.append(plan / found["allocated"])
                print(
                    f"{name:22}{rank:5}{found['allocated'] / MIB:11.1f}{found['asked'] / MIB:9.1f}{plan / MIB:9.1f}"
                    f"{ratios[-1]:7.3f}  {found['stage']['moment']}",
                    flush=True,
                )
    print(f"{len(ratios)} ranks: ratios from {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
