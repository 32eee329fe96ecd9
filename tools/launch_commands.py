# SPDX-License-Identifier: Apache-2.0
"""The launch commands of the original's system tests, with sizes cut to what a few cores train in seconds.

The scripts are not ours and are not copied: each runs with a stand-in for torchrun that notes its words.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

FOLDER = "tests_extend/system_tests"
SKIPPED = re.compile(r"_ms\.|verl|yaml_args")  # MindSpore, and what does not start pretrain_gpt.py
MAX_RANKS, HEAD, SEQUENCE = 8, 16, 128
NOTE = '#!/bin/bash\nprintf "%s\\0" "$CUDA_DEVICE_MAX_CONNECTIONS" "$@" >>{log}; printf "\\1" >>{log}\n'
# Data, checkpoints, lengths and profiles: given anew or left out.
DROPPED = re.compile(
    r"--(data-(path|cache-path)|split|tokenizer-.*|vocab-(file|size)|merge-file|load|save|save-interval|eval-.*|exit-interval"
    r"|train-(iters|samples)|log-interval|distributed-timeout-minutes|num-workers|lr-decay-iters|lr-warmup-.*|tensorboard-dir"
    r"|profile(-.*)?|exit-on-missing-checkpoint|auto-detect-ckpt-format|dist-ckpt-strictness)"
)
ADDED = (
    "--mock-data --tokenizer-type NullTokenizer --vocab-size 4999 --train-iters 3 --lr-decay-iters 3 --log-interval 1"
    " --eval-iters 0 --eval-interval 1000"
)

Options = list[list[str]]  # each an option with its values


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One start of pretrain_gpt.py: the script, which of its commands, ranks, options, and the connections it sets."""

    script: str
    number: int
    ranks: int
    options: Options
    connections: str

    def key(self) -> str:
        """The same for commands that differ by their checkpoints alone, of which the cut leaves the format."""
        return " ".join(" ".join(option) for option in self.options if option[0] != "--ckpt-format")


def split(words: list[str]) -> Options:
    found: Options = []
    for word in words:
        if re.match(r"--?[a-zA-Z]", word):
            found.append([word])
        elif found:
            found[-1].append(word)
    return found


def number(options: Options, name: str, default: int) -> int:
    return next((int(float(o[1])) for o in options if o[0] == name and len(o) > 1), default)


def parallel(options: Options, kind: str) -> int:
    return number(options, f"--{kind}-parallel-size", 1)


def noted(checkout: Path, script: Path) -> list[list[str]]:
    """What a script gives torchrun, by command; first the connections that it sets."""
    with tempfile.TemporaryDirectory() as name:
        log = Path(name, "log")
        for program in ("torchrun", "python", "python3"):
            path = Path(name, program)
            path.write_text(NOTE.format(log=log), encoding="utf-8")
            path.chmod(0o755)
        subprocess.run(
            ["bash", str(script)], cwd=checkout, env={"PATH": f"{name}:/usr/bin:/bin", "HOME": name},
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        text = log.read_text(encoding="utf-8") if log.is_file() else ""
    return [command.split("\0")[:-1] for command in text.split("\1") if "pretrain_gpt.py" in command]


def sizes(options: Options, ranks: int) -> dict[str, int]:
    """The sizes that stand for those of an option, by its name."""
    tensor, stages, context = (parallel(options, k) for k in ("tensor-model", "pipeline-model", "context"))
    heads = 16 if tensor * context > 8 else 8
    sequence = SEQUENCE if context < 8 else 2 * SEQUENCE
    layers, chunk = (
        number(options, "--num-layers", 2),
        number(options, "--num-layers-per-virtual-pipeline-stage", 0),
    )
    if layers > 16:
        layers = stages * max(1, chunk) * (2 if chunk or stages == 1 else 1)
    experts = min(number(options, "--num-experts", 0), 8)
    experts = max(experts, parallel(options, "expert-model")) if experts else 0
    data = max(1, ranks // (tensor * stages * context))
    batch = number(options, "--global-batch-size", 16)
    if batch > 16 or batch % data:
        batch = data * (2 * stages if stages > 1 else 1)
    groups = number(options, "--num-query-groups", heads)
    return {
        "--hidden-size": HEAD * heads, "--ffn-hidden-size": 256, "--moe-ffn-hidden-size": 64, "--moe-intermediate-size": 64,
        "--moe-shared-expert-intermediate-size": 64, "--num-attention-heads": heads, "--kv-channels": HEAD,
        "--seq-length": sequence, "--max-position-embeddings": sequence, "--q-lora-rank": 32, "--kv-lora-rank": 16,
        "--qk-head-dim": 16, "--qk-pos-emb-head-dim": 8, "--v-head-dim": 16, "--qk-rope-head-dim": 8, "--qk-nope-head-dim": 16,
        "--num-layers": layers, "--micro-batch-size": 1, "--global-batch-size": batch, "--num-experts": experts,
        "--initial-loss-scale": 4096, "--num-query-groups": min(heads, max(tensor, groups)),
        "--moe-router-topk": min(number(options, "--moe-router-topk", 2), max(1, experts // 2)),
        "--moe-router-num-groups": min(number(options, "--moe-router-num-groups", 4), 4),
        "--moe-router-group-topk": min(number(options, "--moe-router-group-topk", 2), 2),
    }  # fmt: skip


def cut(checkout: Path, script: str, index: int, words: list[str]) -> Command:
    """A command with sizes cut; relative paths of configurations are found beside the script."""
    start = next(i for i, word in enumerate(words) if word.endswith("pretrain_gpt.py"))
    launcher = {o[0].lstrip("-").replace("_", "-"): o[-1] for o in split(words[1:start])}
    options = split(words[start + 1 :])
    ranks = int(launcher.get("nproc-per-node", 1)) * int(launcher.get("nnodes", 1))
    smaller = sizes(options, min(ranks, MAX_RANKS))
    kept: Options = []
    for name, *values in options:
        if DROPPED.fullmatch(name):
            continue
        if values and name in smaller:
            values = [str(smaller[name])]
        elif values and values[0].endswith((".yaml", ".yml")):
            values = [str((checkout / FOLDER / script).parent / Path(values[0]).name)]
        kept.append([name, *values])
    if ["--use-legacy-models"] in kept and not any(o[0] == "--ckpt-format" for o in kept):
        kept.append(["--ckpt-format", "torch"])
    return Command(
        script=script, number=index, ranks=min(ranks, MAX_RANKS), options=kept + split(ADDED.split()), connections=words[0]
    )  # fmt: skip


def commands(checkout: Path, word: str) -> list[Command]:
    """Of scripts whose names contain the word, in order."""
    checkout, found = checkout.resolve(), []
    for path in sorted((checkout / FOLDER).rglob("*.sh")):
        script = str(path.relative_to(checkout / FOLDER))
        if word in script and not SKIPPED.search(str(path.relative_to(checkout))):
            found += [cut(checkout, script, i, words) for i, words in enumerate(noted(checkout, path))]
    return found
