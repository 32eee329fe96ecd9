# SPDX-License-Identifier: Apache-2.0
"""Models of the transformers library over two virtual NPUs against the CPU; tests/python/test_transformers.py runs it.

    transformers_job.py FOLDER      prints what differs, one line each, and "done"

Weights are random and saved below FOLDER; nothing is fetched (run with HF_HUB_OFFLINE=1).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

# fp32 on both sides, sums in another order: the largest differences seen were 5e-7 (loss), 3e-7 (logits), 7e-8 (gradients).
TOLERANCE = 1e-5
SMALL: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 128, "max_position_embeddings": 64,
}  # fmt: skip
CONFIGS = {
    "GPT2": lambda: transformers.GPT2Config(
        n_embd=64,
        n_layer=4,
        n_head=4,
        vocab_size=128,
        n_positions=64,
        resid_pdrop=0,
        embd_pdrop=0,
        attn_pdrop=0,
    ),
    "Llama": lambda: transformers.LlamaConfig(**SMALL),
    "Qwen2": lambda: transformers.Qwen2Config(**SMALL, tie_word_embeddings=True),
}


def worst(a: Tensor, b: Tensor) -> float:
    return (a.detach().cpu() - b.detach().cpu()).abs().max().item()


def differences(what: str, model: nn.Module, wanted: nn.Module, text: Tensor) -> Iterator[str]:
    """Logits, loss and the gradients of all weights, of a model that may be spread or wrapped."""
    results = []
    for m, device in ((model, "npu:0"), (wanted, "cpu")):
        m.zero_grad()
        ids = text.to(device)
        out = m(input_ids=ids, labels=ids)
        out.loss.mean().backward()
        results.append(out)
    for name in ("logits", "loss"):
        got, want = (getattr(out, name).mean() if name == "loss" else out.logits for out in results)
        if worst(got, want) > TOLERANCE:
            yield f"{what}: {name} differ by {worst(got, want):.1e}"
    gradients = {n.removeprefix("module."): p.grad for n, p in model.named_parameters()}
    for name, p in wanted.named_parameters():
        if gradients.get(name) is None or p.grad is None:
            yield f"{what}: {name} has no gradient"
        elif worst(gradients[name], p.grad) > TOLERANCE:
            yield f"{what}: gradient of {name} differs by {worst(gradients[name], p.grad):.1e}"


def of_model(name: str, folder: Path) -> Iterator[str]:
    torch.manual_seed(11)
    config = CONFIGS[name]()
    wanted = transformers.AutoModelForCausalLM.from_config(config)
    wanted.save_pretrained(folder)
    text = torch.randint(0, 128, (4, 24))
    load = transformers.AutoModelForCausalLM.from_pretrained
    # "auto" would put so small a model on one device; room for about half of it makes it use both.
    half = 6 * sum(p.numel() for p in wanted.parameters()) * 4 // 10
    spread = load(folder, device_map="auto", max_memory={0: half, 1: 1 << 30})
    places = {str(p.device) for p in spread.parameters()}
    if places != {"npu:0", "npu:1"}:
        yield f"{name}: device_map='auto' used {sorted(places)}"
    yield from differences(f"{name}, device_map", spread, wanted, text)
    with torch.no_grad():
        more = [m.generate(text[:1, :5].to(d), max_new_tokens=8, do_sample=False, pad_token_id=0).cpu()
                for m, d in ((spread, "npu:0"), (wanted, "cpu"))]  # fmt: skip
    if not torch.equal(*more):
        yield f"{name}, device_map: generates {more[0].tolist()}, on the CPU {more[1].tolist()}"
    parallel = nn.DataParallel(load(folder).to("npu:0"), device_ids=[0, 1])
    yield from differences(f"{name}, DataParallel", parallel, wanted, text)


def main() -> int:
    for name in CONFIGS:
        for difference in of_model(name, Path(sys.argv[1]) / name):
            print(difference)
    print("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
