# SPDX-License-Identifier: Apache-2.0
"""pretrain_gpt.py of Megatron-LM with a loss function that begins its sum and returns what waits for it (--async-log-allreduce)."""

from __future__ import annotations

from typing import Any

import pretrain_gpt
import torch
from megatron.core import mpu
from megatron.core.enums import ModelType
from megatron.training import pretrain


def loss_later(loss_mask: torch.Tensor, output: torch.Tensor, model: Any = None) -> Any:
    mask = loss_mask.view(-1).float()
    report = torch.stack([(output.float().view(-1) * mask).sum(), mask.sum()])
    loss, tokens = report[0].clone(), report[1].detach().to(torch.int)
    report = report.detach().clone()
    work = torch.distributed.all_reduce(report, group=mpu.get_data_parallel_group(), async_op=True)
    return loss, tokens, ({"lm loss": (report[0], report[1])}, work)


if __name__ == "__main__":
    pretrain_gpt.loss_func = loss_later
    provider = pretrain_gpt.train_valid_test_datasets_provider
    provider.is_distributed = True
    pretrain(
        provider, pretrain_gpt.model_provider, ModelType.encoder_or_decoder, pretrain_gpt.forward_step,
        args_defaults={"tokenizer_type": "GPT2BPETokenizer"},
    )  # fmt: skip
