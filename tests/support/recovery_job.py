# SPDX-License-Identifier: Apache-2.0
"""A training job of which a rank dies: `torchrun --max-restarts 1 recovery_job.py JSON`.

JSON: `layout` as in parallel_layouts.py; `steps`; `flags` as repatch() takes them; `fault`, at the first start only: `rank`,
`step`, and `how`: "step" (killed in front of a step), "lost" (its memory with it) or "copy" (while it writes its copy).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
from typing import Any

import mindspeed.megatron_adaptor as adaptor

CASE = json.loads(sys.argv[1])
adaptor.repatch({"optimization_level": 2} | CASE["flags"])

import numpy as np  # noqa: E402
import parallel_job  # noqa: E402
import recovery_trainer  # noqa: E402
import torch  # noqa: E402
from megatron.core.num_microbatches_calculator import init_num_microbatches_calculator  # noqa: E402
from mindspeed.features.tooling import _kept_state, ttp_enabled  # noqa: E402
from parallel_layouts import Layout  # noqa: E402
from recovery_trainer import ARGUMENTS  # noqa: E402


def take_place() -> None:
    """The trainer of this folder is Megatron-LM's, with what the feature wraps in it."""
    for name in ("megatron.training", "megatron.training.training"):
        sys.modules[name] = recovery_trainer
    of_trainer = [patch for patch in ttp_enabled.FEATURE.patches if patch.requires]
    for patch in of_trainer if CASE["flags"] else ():
        name = patch.target.partition(":")[2]
        setattr(recovery_trainer, name, patch.value(getattr(recovery_trainer, name)))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fault(rank: int, step: int, how: str) -> Any:
    """What is called in front of each step."""
    write = _kept_state.Image.write

    def half(image: Any, data: torch.Tensor) -> None:
        if ARGUMENTS.curr_iteration == step and torch.distributed.get_rank() == rank:
            data[: image.size // 2].fill_(7)
            die()
        write(image, data)

    if how == "copy":
        _kept_state.Image.write = half  # type: ignore[method-assign]

    def before_step(at: int) -> None:
        if how != "copy" and at == step and torch.distributed.get_rank() == rank:
            if how == "lost":
                assert ttp_enabled._job is not None
                shutil.rmtree(ttp_enabled._job.copies.folder.path)
            die()

    return before_step


def main() -> None:
    take_place()
    layout = Layout(**CASE["layout"])
    parallel_job.initialize(layout, int(os.environ["TORCHELASTIC_RESTART_COUNT"]))
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    vars(ARGUMENTS).update(
        load=CASE.get("load"), pretrained_checkpoint=None, world_size=layout.world, global_batch_size=parallel_job.BATCH,
        micro_batch_size=1, tensor_model_parallel_size=layout.tp, pipeline_model_parallel_size=layout.pp,
        consumed_train_samples=0, consumed_valid_samples=0, skipped_train_samples=0,
    )  # fmt: skip
    init_num_microbatches_calculator(0, None, parallel_job.BATCH, 1, layout.dp, False)
    is_first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    before_step = fault(**CASE["fault"]) if is_first and "fault" in CASE else lambda step: None
    recovery_trainer.pretrain(layout, CASE["steps"], before_step)
    parallel_job.finalize()


if __name__ == "__main__":
    main()
