# SPDX-License-Identifier: Apache-2.0
"""What each feature costs and gains: a step of a small GPT of Megatron's with its flag and without.

    python bench/feature_figures.py --megatron DIR                  # all of the table below, one after the other
    python bench/feature_figures.py --megatron DIR --only norm      # those whose names contain a word
    python bench/feature_figures.py --megatron DIR --rows docs/features    # also write each row into the feature's page

Both are processes that run pretrain_gpt.py of the checkout with --mock-data, at level 2, with one thread a rank, at the same time but in turns:
a step of one, then of the other, so that what else the machine does meets both. Core ms (of all ranks; nobody else's work is in them)
are the median over the steps, memory is the peak of torch's allocator over these steps on the rank that has most of it, and the loss
is that of the last step. Ranks that wait for others use little of a core, so what a feature hides behind messages is not seen here.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import re
import runpy
import shlex
import socket
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import in_process

MIB = 2**20
SIZES = (
    "--num-layers 4 --hidden-size 256 --num-attention-heads 8 --seq-length 256 --max-position-embeddings 512 "
    "--micro-batch-size 2 --global-batch-size {batch} --lr 1e-4 --vocab-size 4223"
)
RUN = (
    "--train-iters {steps} --mock-data --tokenizer-type NullTokenizer --split 100,0,0 --eval-iters 0 --eval-interval 1000 "
    "--num-workers 0 --hidden-dropout 0 --attention-dropout 0 --no-persist-layer-norm --transformer-impl local "
    "--optimization-level 2 --seed 7"
)
LLAMA = "--swiglu --normalization RMSNorm --disable-bias-linear --position-embedding-type rope --untie-embeddings-and-output-weights"
EXPERTS = "--num-experts 8 --moe-router-topk 2 --moe-ffn-hidden-size 256 --disable-bias-linear --swiglu --moe-token-dispatcher-type alltoall"
LATENTS = "--multi-latent-attention --q-lora-rank 128 --kv-lora-rank 64 --qk-head-dim 32 --qk-pos-emb-head-dim 16 --v-head-dim 32"
SHARED = "--moe-shared-expert-intermediate-size 256"
OVERLAP = "--use-distributed-optimizer --overlap-grad-reduce --overlap-param-gather"
TWO = "--pipeline-model-parallel-size 2"
FULL = "--recompute-granularity full --recompute-method block --recompute-num-layers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison: what both have, what only one has; level 1 is switched off in the other.

    script  of this folder, in place of pretrain_gpt.py where the feature is on.
    """

    model: str
    on: str
    off: str = ""
    script: str = ""
    ranks: int = 1
    batch: int = 2


ROWS = {
    "flash-attention": Row(model=LLAMA, on="", off="--no-flash-attn"),
    "fused-gelu": Row(model="", on="", off="--no-fused-gelu"),
    "fused-rmsnorm": Row(model=LLAMA, on="", off="--no-fused-rmsnorm"),
    "fused-rope": Row(model=LLAMA, on="", off="--no-fused-rotary-pos-emb"),
    "fused-softmax": Row(model=f"{LLAMA} --bf16 --no-flash-attn", on="", off="--no-fused-softmax"),
    "fused-swiglu": Row(model=LLAMA, on="", off="--no-fused-swiglu"),
    "vocab-parallel-cross-entropy": Row(model=f"{LLAMA} --bf16", on="", off="--no-fused-cross-entropy"),
    "vocab-parallel-embedding": Row(
        model=f"{LLAMA} --tensor-model-parallel-size 2", on="", off="--no-fused-vocab-embedding", ranks=2
    ),
    "latent-position-gradients": Row(
        model=f"{LLAMA} {LATENTS} --tensor-model-parallel-size 2",
        on="",
        off="--no-latent-position-gradients",
        ranks=2,
    ),
    "alibi": Row(model="", on="--position-embedding-type alibi", off="--position-embedding-type none"),
    "ascend-mc2": Row(
        model=f"{LLAMA} --tensor-model-parallel-size 2 --sequence-parallel", on="--use-ascend-mc2", ranks=2
    ),
    "ascend-coc": Row(
        model=f"{LLAMA} --tensor-model-parallel-size 2 --sequence-parallel",
        on="--use-ascend-coc --coc-parallel-num 2",
        ranks=2,
    ),
    "ttp-enabled": Row(
        model=f"{LLAMA} --bf16 --use-distributed-optimizer",
        on="--ttp-enabled --ttp-copy-interval 1",
        ranks=2,
        batch=4,
    ),
    "unaligned-linear": Row(
        model=f"{LLAMA} --tensor-model-parallel-size 2 --sequence-parallel", on="--unaligned-linear", ranks=2
    ),
    "tp-2d": Row(
        model=f"{LLAMA} --tensor-model-parallel-size 4",
        on="--tp-2d --tp-x 2 --tp-y 2",
        off="--sequence-parallel",
        ranks=4,
    ),
    "fsdp2-config": Row(
        model=f"{LLAMA} --use-torch-fsdp2 --ckpt-format torch_dist --no-gradient-accumulation-fusion",
        on="--fsdp2-config-path {bench}/fsdp2.yaml",
        ranks=2,
        batch=4,
    ),
    "layerzero": Row(
        model=f"{LLAMA} --ckpt-format torch_dist --no-gradient-accumulation-fusion",
        on="--layerzero --layerzero-config {bench}/layerzero.yaml",
        ranks=2,
        batch=4,
    ),
    "reset-bucket-group-order": Row(
        model=f"{LLAMA} --bf16 {OVERLAP}",
        on="--reset-bucket-group-order",
        ranks=2,
        batch=4,
    ),
    "param-and-grad-buffer-pad": Row(
        model=f"{LLAMA} --bf16 --use-distributed-optimizer",
        on="--param-and-grad-buffer-pad 512",
        ranks=2,
        batch=4,
    ),
    "async-log-allreduce": Row(
        model=f"{LLAMA} --bf16", on="--async-log-allreduce", script="loss_later.py", ranks=2, batch=8
    ),
    "disable-gloo-group": Row(
        model=f"{LLAMA} --bf16 --use-distributed-optimizer", on="--disable-gloo-group", ranks=2, batch=4
    ),
    "profile": Row(
        model=LLAMA, on="--profile --profile-step-start 3 --profile-step-end 4 --profile-save-path profiles"
    ),
    "hccl-group-buffer": Row(
        model=f"{LLAMA} --tensor-model-parallel-size 2 --sequence-parallel",
        on="--hccl-group-buffer tp:2",
        ranks=2,
    ),
    "hccl-op-mode": Row(
        model=f"{LLAMA} --tensor-model-parallel-size 2 --sequence-parallel", on="--hccl-op-mode tp:3", ranks=2
    ),
    "hccl-group-buffer-adaptive": Row(
        model=f"{LLAMA} --tensor-model-parallel-size 2 --sequence-parallel",
        on="--hccl-group-buffer-adaptive",
        ranks=2,
    ),
    "moe-grouped-gemm": Row(
        model=f"{EXPERTS} --moe-grouped-gemm --bf16", on="--gemm-gradient-accumulation-fusion"
    ),
    "moe-permute-fusion": Row(model=f"{EXPERTS} --moe-grouped-gemm --bf16", on="--moe-permute-fusion"),
    "moe-permutation-async-comm": Row(
        model=f"{EXPERTS} --moe-grouped-gemm --bf16 --expert-model-parallel-size 2",
        on="--moe-permutation-async-comm",
        ranks=2,
        batch=4,
    ),
    "moe-alltoall-overlap-comm": Row(
        model=f"{EXPERTS} {SHARED} --moe-grouped-gemm --bf16 --expert-model-parallel-size 2",
        on="--moe-alltoall-overlap-comm",
        ranks=2,
        batch=4,
    ),
    "moe-allgather-overlap-comm": Row(
        model=f"{EXPERTS} {SHARED} --moe-token-dispatcher-type allgather --moe-grouped-gemm --bf16 --expert-model-parallel-size 2",
        on="--moe-allgather-overlap-comm",
        ranks=2,
        batch=4,
    ),
    "balanced-moe-experts": Row(
        model=f"{EXPERTS} --moe-grouped-gemm --bf16 --expert-model-parallel-size 2",
        on="--balanced-moe-experts --balanced-moe-hot-expert-num 2",
        ranks=2,
        batch=4,
    ),
    "moe-fb-overlap": Row(
        model=f"{EXPERTS} --moe-grouped-gemm --bf16 --expert-model-parallel-size 2",
        on="--moe-fb-overlap",
        ranks=2,
        batch=16,
    ),
    "moe-model-type": Row(
        model=f"{EXPERTS} --bf16 --expert-model-parallel-size 2",
        on="--moe-model-type deepspeed_moe",
        ranks=2,
        batch=4,
    ),
    "use-pipe-experts": Row(
        model=f"{EXPERTS} --bf16 --expert-model-parallel-size 2 --moe-model-type deepspeed_moe",
        on="--use-pipe-experts --pipe-experts-multi-data 2",
        ranks=2,
        batch=4,
    ),
    "moe-tp-extend-ep": Row(
        model=f"{EXPERTS} --moe-grouped-gemm --bf16 --tensor-model-parallel-size 2 --sequence-parallel",
        on="--moe-tp-extend-ep",
        ranks=2,
    ),
    "moe-zero-memory": Row(
        model=f"{EXPERTS} {SHARED} --moe-grouped-gemm --bf16", on="--moe-zero-memory level0"
    ),
    "adaptive-recompute": Row(
        model=f"{LLAMA} --bf16",
        on="--adaptive-recompute-device-size 115 --adaptive-recompute-profiling-step 4",
    ),
    "compress-activation": Row(model=f"{LLAMA} --bf16 --num-layers 8", on="--compress-activation 0"),
    "compress-dense": Row(model=f"{LLAMA} --bf16 --num-layers 8", on="--compress-dense level1"),
    "recompute-activation-function": Row(model=f"{LLAMA} --bf16", on="--recompute-activation-function"),
    "recompute-norm": Row(model=f"{LLAMA} --bf16", on="--recompute-norm"),
    "recompute-layers-per-stage": Row(
        model=f"{LLAMA} {TWO} --num-layers-per-virtual-pipeline-stage 1 {FULL} 1",
        on="--enable-recompute-layers-per-pp-rank",
        ranks=2,
        batch=8,
    ),
    "reuse-fp32-param": Row(model=f"{LLAMA} --bf16", on="--reuse-fp32-param"),
    "smart-swap": Row(model=f"{LLAMA} --bf16", on="--smart-swap --smart-swap-device-size 130"),
    "swap-attention": Row(model=f"{LLAMA} --bf16", on="--swap-attention"),
    "swap-optimizer": Row(model=f"{LLAMA} --bf16 --use-distributed-optimizer", on="--swap-optimizer"),
    "optimizer-selection": Row(model=f"{LLAMA} --bf16", on="--optimizer-selection fused_ema_adamw"),
    "virtual-optimizer": Row(model=f"{LLAMA} --bf16", on="--virtual-optimizer all"),
    "quant-states": Row(model=f"{LLAMA} --bf16", on="--quant-states fp8"),
    "quant-grads": Row(model=f"{LLAMA} --bf16 --no-gradient-accumulation-fusion", on="--quant-grads"),
    "compress-optimizer": Row(model=f"{LLAMA} --bf16", on="--compress-optimizer"),
    "fp8-reuse-quantized-weight": Row(
        model=f"{LLAMA} --bf16 --transformer-impl transformer_engine --fp8-format hybrid --fp8-recipe tensorwise",
        on="--fp8-reuse-quantized-weight",
        batch=4,
    ),
    "qat-scheme": Row(
        model=f"{LLAMA} --bf16 --no-gradient-accumulation-fusion", on="--qat-scheme w4a16-mxfp4"
    ),
    "qad": Row(
        model=f"{LLAMA} --bf16 --no-gradient-accumulation-fusion",
        on="--qat-scheme w4a16-mxfp4 --qad-enable --qad-teacher-load teacher",
        off="--qat-scheme w4a16-mxfp4",
        script="with_teacher.py",
    ),
    "swap-layer-input": Row(model=f"{LLAMA} --bf16 --num-layers 8 {FULL} 8", on="--swap-layer-input"),
    "muon-optimizer": Row(
        model=f"{LLAMA} --bf16", on="--optimizer muon --muon-extra-scale-factor 0.2", ranks=2, batch=4
    ),
    "noop-layers": Row(model=f"{LLAMA} {TWO} --num-layers 6", on="--noop-layers 5", ranks=2, batch=8),
    "pipeline-num-transformer-layers": Row(
        model=f"{LLAMA} {TWO} --num-layers-per-virtual-pipeline-stage 1",
        on="--pipeline-num-transformer-layers [[1,1],[2,0]]",
        ranks=2,
        batch=8,
    ),
    "variable-seq-lengths": Row(model=f"{LLAMA} {TWO}", on="--variable-seq-lengths", ranks=2, batch=8),
    "recompute-in-advance": Row(
        model=f"{LLAMA} {TWO} --num-layers-per-virtual-pipeline-stage 1 {FULL} 1",
        on="--recompute-in-advance",
        ranks=2,
        batch=8,
    ),
    "optimize-send-recv-comm": Row(
        model=f"{LLAMA} {TWO} --bf16", on="--optimize-send-recv-comm", ranks=2, batch=16
    ),
    "multiparameter-pipeline": Row(
        model=f"{LLAMA} {TWO} --bf16",
        on="--use-multiparameter-pipeline-model-parallel",
        ranks=2,
        batch=16,
    ),
    "schedules-method": Row(
        model=f"{LLAMA} {TWO} --bf16",
        on="--schedules-method dualpipev",
        ranks=2,
        batch=16,
    ),
    "dualpipev-dw-detach": Row(
        model=f"{LLAMA} {TWO} --bf16 --schedules-method dualpipev",
        on="--dualpipev-dw-detach",
        ranks=2,
        batch=16,
    ),
    "recompute-in-bubble": Row(
        model=f"{LLAMA} {TWO} --num-layers-per-virtual-pipeline-stage 1",
        on="--recompute-in-bubble",
        ranks=2,
        batch=8,
    ),
    "context-parallel-algo": Row(
        model=f"{LLAMA} --context-parallel-size 2",
        on="--context-parallel-algo megatron_cp_algo --attention-mask-type causal",
        ranks=2,
    ),
    "context-parallel-kv-cache": Row(
        model=f"{LLAMA} --context-parallel-size 2 --context-parallel-algo megatron_cp_algo --attention-mask-type causal",
        on="--context-parallel-kv-cache-policy full",
        ranks=2,
    ),
    "fix-router": Row(model=f"{EXPERTS} --moe-grouped-gemm --bf16", on="--fix-router"),
    "npu-deterministic": Row(model=LLAMA, on="--npu-deterministic"),
    "op-cal-tflops": Row(model=LLAMA, on="--op-cal-tflops"),
}


class Turn:
    """A pipe per side: who has read its byte may compute."""

    def __init__(self) -> None:
        self.pipes = [os.pipe(), os.pipe()]

    def wait(self, side: int) -> None:
        os.read(self.pipes[side][0], 1)

    def give(self, side: int) -> None:
        os.write(self.pipes[side][1], b"x")


def words_of(row: Row, more: str, megatron: Path, steps: int) -> list[str]:
    text = f"{SIZES} {RUN} {row.model} {more}".format(
        batch=row.batch, steps=steps, bench=Path(__file__).parent
    )
    is_on_by_script = row.script and more == row.on
    script = Path(__file__).parent / row.script if is_on_by_script else megatron / "pretrain_gpt.py"
    return [str(script), *shlex.split(text)]


def run(
    words: list[str], rank: int, row: Row, port: int, log: Path, side: int, turn: Turn, count: int
) -> Any:
    """One rank of one side; what its steps took."""
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_WORLD_SIZE": str(row.ranks)}
    os.environ.update(where | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(row.ranks)})
    os.environ.update({"TORCHELASTIC_MAX_RESTARTS": "1", "TORCHELASTIC_RESTART_COUNT": "0"})
    os.environ["CUDA_DEVICE_MAX_CONNECTIONS"] = (
        "8" if "--use-torch-fsdp2" in words else "1"
    )  # as Megatron demands
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(log.parent)
    import torch
    from megatron.training import training

    train, step, cores, clock, losses = training.train, training.train_step, [], [], []
    begun = []

    class Done(Exception):
        pass

    def measured(*args: Any, **kwargs: Any) -> Any:
        if not begun:
            begun.append(step(*args, **kwargs))  # warms up, whoever's turn it is
            torch.npu.synchronize()
            torch.npu.reset_peak_memory_stats()
            return begun[0]
        if row.ranks > 1:
            torch.distributed.barrier()
        if rank == 0:
            turn.wait(side)
        if row.ranks > 1:
            torch.distributed.barrier()
        started, used = time.perf_counter(), time.process_time()
        result = step(*args, **kwargs)
        torch.npu.synchronize()
        cores.append(time.process_time() - used)
        clock.append(time.perf_counter() - started)
        if row.ranks > 1:
            torch.distributed.barrier()
        if rank == 0:
            turn.give(1 - side)
        losses.extend(float(value) for value in list(result[0].values())[:1])
        if len(cores) == count:
            raise Done
        return result

    def with_features(*args: Any, **kwargs: Any) -> Any:
        """What features wrap around a step is part of it."""
        nonlocal step
        step, training.train_step = training.train_step, measured
        return train(*args, **kwargs)

    training.train = with_features
    sys.argv = list(words)
    try:
        runpy.run_path(words[0], run_name="__main__")
    except Done:
        peak = torch.npu.max_memory_allocated()
        return {"cores": cores, "clock": clock, "peak": peak, "loss": losses[-1] if losses else None}
    raise RuntimeError("the script has ended early")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def compare(row: Row, megatron: Path, count: int) -> list[dict[str, Any]]:
    """[with the feature, without it]"""
    with tempfile.TemporaryDirectory() as name:
        folder, turn, pids = Path(name), Turn(), []
        turn.give(0)
        for side, more in enumerate((row.on, row.off)):
            words, port = words_of(row, more, megatron, count + 2), free_port()
            (folder / f"{side}").mkdir()
            for rank in range(row.ranks):
                log = folder / f"{side}" / f"log{rank}"
                pids.append(
                    in_process(
                        lambda a=(words, rank, row, port, log, side, turn, count): run(*a),
                        folder / f"{side}" / f"result{rank}",
                    )
                )
        while pids:
            pid, status = os.wait()
            pids.remove(pid)
            if status:
                for other in pids:
                    os.kill(other, 9)
                    os.waitpid(other, 0)
                logs = [path.read_text()[-1500:] for path in sorted(folder.glob("*/log*"))]
                raise RuntimeError("\n".join(logs))
        return [summary(folder / f"{side}", row) for side in range(2)]


def summary(folder: Path, row: Row) -> dict[str, Any]:
    ranks = [json.loads((folder / f"result{rank}").read_text()) for rank in range(row.ranks)]
    cores = [sum(values) for values in zip(*(rank["cores"] for rank in ranks), strict=True)]
    losses = [rank["loss"] for rank in ranks if rank["loss"] is not None]
    return {
        "cores": statistics.median(cores) * 1e3,
        "clock": statistics.median(ranks[0]["clock"]) * 1e3,
        "peak": max(rank["peak"] for rank in ranks) / MIB,
        "loss": losses[-1],
    }


def machine() -> str:
    text = Path("/proc/cpuinfo").read_text()
    found = re.search(r"model name\s*:\s*(.*)", text)
    best = [
        name for name in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if re.search(rf"\b{name}\b", text)
    ]
    return f"{found.group(1).strip() if found else 'a CPU'} ({best[0] if best else 'no AVX2'})"


def write_row(folder: Path, name: str, row: Row, line: str) -> None:
    """The row in the page of its feature, in place of an earlier one."""
    page = folder / f"{name}.md"
    text = page.read_text()
    section = (
        "<!-- Written by bench/feature_figures.py -->\n"
        "| with and without | core ms of a step | device peak, MiB | loss |\n|---|---|---|---|\n"
        f"{line}\n\n"
        f"`python bench/feature_figures.py --megatron DIR --only {name}`, {machine()} shared with other work, {datetime.date.today()}: "
        f"a GPT of 4 layers, hidden size 256, sequence 256{f', {row.ranks} ranks' if row.ranks > 1 else ''} "
        f"(`{' '.join((row.model or '--micro-batch-size 2').split())}`), {f'with `{row.on}`' if row.on else f'without it `{row.off}`'}.\n"
        "<!-- End of it -->\n"
    )
    old = re.compile(r"<!-- Written by bench/feature_figures.py -->\n.*?<!-- End of it -->\n", re.DOTALL)
    page.write_text(
        old.sub(lambda _: section, text) if old.search(text) else f"{text.rstrip()}\n\n## Figures\n{section}"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megatron", type=Path, required=True, help="a checkout of Megatron-LM")
    parser.add_argument("--only", action="append", default=[], metavar="WORD")
    parser.add_argument("--steps", type=int, default=5, help="of each side that are measured")
    parser.add_argument("--rows", type=Path, help="folder of the features' pages")
    return parser.parse_args()


def main() -> None:
    options = parse()
    os.environ["MINDSPEED_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    checkout = options.megatron.resolve()
    sys.path.insert(0, str(checkout))
    for name in ("mindspeed.megatron_adaptor", "megatron.training.training"):
        importlib.import_module(name)  # before the first fork: it takes longer than a small run
    print(f"{'with / without':32}{'core ms':>15}{'ratio':>7}{'clock':>7}{'device MiB':>16}  loss")
    failed = []
    for name, row in ROWS.items():
        if options.only and not any(word in name for word in options.only):
            continue
        try:
            on, off = compare(row, checkout, options.steps)
        except RuntimeError as error:
            print(f"{name:32}failed\n{error}", flush=True)
            failed.append(name)
            continue
        cores, clock = on["cores"] / off["cores"], on["clock"] / off["clock"]
        print(
            f"{name:32}{on['cores']:7.0f} {off['cores']:7.0f}{cores:7.2f}{clock:7.2f}{on['peak']:8.1f}{off['peak']:8.1f}"
            f"  {on['loss']:.6f} {off['loss']:.6f}",
            flush=True,
        )
        line = (
            f"| {' / '.join(('on', 'off'))} | {on['cores']:.0f} / {off['cores']:.0f} ({cores:.2f}) | "
            f"{on['peak']:.1f} / {off['peak']:.1f} ({on['peak'] - off['peak']:+.1f}) | {on['loss']:.6f} / {off['loss']:.6f} |"
        )
        if options.rows:
            write_row(options.rows, name, row, line)
    if failed:
        sys.exit(f"failed: {' '.join(failed)}")


if __name__ == "__main__":
    main()
