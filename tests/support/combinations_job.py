# SPDX-License-Identifier: Apache-2.0
"""The training job of the tests of combinations: `torchrun ... combinations_job.py FILE`, all of one world size.

FILE has a line of JSON per combination (see combinations.py). Rank 0 prints a line for each: losses and norms of the
gradient at level 0, with all its features, and with those alone that may change a bit. All are trained in one process,
by repatch() from one to the next; the last line is of the first level 0, then and again, and of patches that do not go.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import combinations
import mindspeed.megatron_adaptor as adaptor
import parallel_job
import torch
from combinations import Setting
from mindspeed.adaptor import session
from parallel_layouts import STEPS, Layout

SIZES = {"SEQUENCE": 64, "BATCH": 4, "HIDDEN": 128}
Steps = list[tuple[float, float]]


def layout_of(setting: Setting) -> Layout:
    tp = setting.get("tp", 1)
    return Layout(
        model="dense", dtype=setting["dtype"], world=int(os.environ["WORLD_SIZE"]), tp=tp, pp=setting.get("pp", 1),
        sp=tp > 1, optimizer=setting["optimizer"], layers=combinations.LAYERS,
    )  # fmt: skip


def config_of(setting: Setting, layout: Layout) -> Any:
    flags = combinations.given(setting)
    names = ("recompute_granularity", "recompute_method", "recompute_num_layers")
    more: dict[str, Any] = {name: flags[name] for name in names}
    more |= {"num_query_groups": setting["groups"], "normalization": setting["norm"]}
    more["bias_activation_fusion"] = setting["gated"] or not setting["experts"]  # of GELU it wants a bias
    more["add_bias_linear"] = not (setting["gated"] or setting["experts"])
    if setting["gated"]:
        more |= {"gated_linear_unit": True, "activation_func": torch.nn.functional.silu}
    if setting["experts"]:
        more |= {
            "num_moe_experts": setting["experts"], "moe_router_topk": 2, "moe_aux_loss_coeff": 1e-2,
            "moe_token_dispatcher_type": "alltoall", "moe_grouped_gemm": setting["grouped"],
            "moe_permute_fusion": session.is_on("moe-permute-fusion"),
        }  # fmt: skip
    return parallel_job.transformer_config(layout, **more)


def build(setting: Setting, layout: Layout, config: Any) -> list[torch.nn.Module]:
    from megatron.core import parallel_state
    from megatron.core.models.gpt import GPTModel, gpt_layer_specs
    from megatron.core.transformer.module import Float16Module

    if setting["impl"] == "local":
        spec = gpt_layer_specs.get_gpt_layer_local_spec(
            num_experts=config.num_moe_experts,
            moe_grouped_gemm=config.moe_grouped_gemm,
            normalization=config.normalization,
        )
    else:
        spec = gpt_layer_specs.get_gpt_layer_with_transformer_engine_spec(
            num_experts=config.num_moe_experts, moe_grouped_gemm=config.moe_grouped_gemm
        )
    # Megatron 0.12.1 cuts the distributed optimizer's buckets wrongly around an embedding that stages share.
    is_tied = setting["tied"] and not (layout.pp > 1 and layout.optimizer == "distributed")
    chunk = GPTModel(
        config,
        spec,
        parallel_job.VOCAB,
        parallel_job.SEQUENCE,
        pre_process=parallel_state.is_pipeline_first_stage(),
        post_process=parallel_state.is_pipeline_last_stage(),
        share_embeddings_and_output_weights=is_tied,
        position_embedding_type=setting["position"],
    )
    parallel_job.set_weights(chunk)
    chunk = chunk.to(torch.device("npu"))
    if layout.dtype == "bf16":
        chunk = Float16Module(config, chunk)
    return [parallel_job.wrap(layout, config, chunk, 0)]


@contextlib.contextmanager
def seeded() -> Iterator[None]:
    """What Megatron's training program does at its start where --npu-deterministic is given."""
    if session.is_on("npu-deterministic"):
        from mindspeed.features.tooling import npu_deterministic

        npu_deterministic.deterministic(lambda seed: None)(1)
    yield
    torch.use_deterministic_algorithms(False)


class Trainer:
    """Of one setting after the other, each under flags of its own."""

    def __init__(self) -> None:
        self._number = 0

    def train(self, setting: Setting, flags: dict[str, Any]) -> Steps:
        adaptor.repatch(flags)
        layout = layout_of(setting)
        parallel_job.initialize(layout, self._number)
        self._number += 1
        with seeded():
            config = config_of(setting, layout)
            chunks = build(setting, layout, config)
            optimizer = parallel_job.build_optimizer(layout, chunks)
            parallel_job.connect(layout, config, chunks, optimizer)
            steps = [parallel_job.train_step(layout, chunks, optimizer, step) for step in range(STEPS)]
        parallel_job.finalize()
        del chunks, optimizer
        gc.collect()
        return steps


def level_0(setting: Setting) -> dict[str, Any]:
    return combinations.given(setting, keep=()) | {"optimization_level": 0}


def train_all(trainer: Trainer, setting: Setting) -> dict[str, Steps]:
    on = combinations.features_on(setting)
    changing = [name for name in on if name in combinations.CHANGE_RESULTS]
    fused = [name for name in on if name not in combinations.SAME_BITS]
    reference = combinations.given(setting, keep=changing) if changing else level_0(setting)
    found = {
        "reference": trainer.train(setting, reference),
        "combination": trainer.train(setting, combinations.given(setting)),
    }
    if fused != on:
        found["same bits"] = trainer.train(setting, combinations.given(setting, keep=fused))
    return found


def left_behind(settings: list[Setting]) -> list[str]:
    """What is patched at level 0 only before, or only after, all combinations have been on once more."""
    before = sorted(session.patched_targets())
    for setting in settings:
        adaptor.repatch(combinations.given(setting))
    adaptor.repatch(level_0(settings[0]))
    return sorted(set(before) ^ set(session.patched_targets()))


def main() -> None:
    vars(parallel_job).update(SIZES)
    settings = [json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
    trainer = Trainer()
    is_first = os.environ["RANK"] == "0"
    first = trainer.train(settings[0], level_0(settings[0]))
    for setting in settings:
        try:
            found: dict[str, Any] = train_all(trainer, setting)
        except Exception as error:
            print(json.dumps({"error": f"{error!r}\n{traceback.format_exc()[-3000:]}"}), flush=True)
            raise
        if is_first:
            print(json.dumps(found), flush=True)
    again = trainer.train(settings[0], level_0(settings[0]))
    if is_first:
        print(json.dumps({"first": first, "again": again, "patches": left_behind(settings)}), flush=True)


if __name__ == "__main__":
    main()
