# SPDX-License-Identifier: Apache-2.0
"""A rank of two that share the layers of a GPT which predicts a further token: `torchrun ... further_job.py`.

Prints a line of JSON for each case: the greatest difference of the gradient of the projection in front of the further
layer from that of one rank with all of it, relative to its greatest value.
"""

from __future__ import annotations

import json
import os
from typing import Any

import torch
from mindspeed import megatron_adaptor
from torch import Tensor

WORLD = int(os.environ["WORLD_SIZE"])
megatron_adaptor.repatch({"optimization_level": 1})
import megatron_gpt  # noqa: E402
import parallel_weights  # noqa: E402
import tensor_ranks  # noqa: E402

SIZE = megatron_gpt.Size(layers=1, sequence=16)


def model(ranks: int, in_parts: bool) -> torch.nn.Module:
    from megatron.core.models.gpt import GPTModel, gpt_layer_specs

    config = megatron_gpt.config_of(
        SIZE,
        mtp_num_layers=1,
        mtp_loss_scaling_factor=1.0,
        tensor_model_parallel_size=ranks,
        sequence_parallel=in_parts,
    )
    layer = gpt_layer_specs.get_gpt_layer_local_spec()
    further = gpt_layer_specs.get_gpt_mtp_block_spec(config, layer, use_transformer_engine=False)
    made = GPTModel(
        config,
        layer,
        SIZE.vocab,
        SIZE.sequence,
        mtp_block_spec=further,
        position_embedding_type="rope",
        share_embeddings_and_output_weights=False,
    )
    parallel_weights.set_weights(made)
    return made.to(megatron_gpt.DEVICE)


def gradient(ranks: int, in_parts: bool = False) -> Tensor:
    """Of all of the projection."""
    gpt = model(ranks, in_parts)
    shape = (SIZE.batch, SIZE.sequence)
    words = torch.randint(SIZE.vocab, shape, generator=torch.Generator().manual_seed(1)).to(
        megatron_gpt.DEVICE
    )
    positions = torch.arange(SIZE.sequence, device=megatron_gpt.DEVICE).expand(shape)
    mask = torch.ones(1, 1, SIZE.sequence, SIZE.sequence, dtype=torch.bool, device=megatron_gpt.DEVICE).triu(
        1
    )
    every = torch.ones(shape, device=megatron_gpt.DEVICE)
    gpt(words, positions, mask, labels=words, loss_mask=every).mean().backward()
    return tensor_ranks.gathered(gpt.mtp.layers[0].eh_proj.weight.grad, ranks)


def main() -> None:
    rank = tensor_ranks.start()
    tensor_ranks.share(tensor_model_parallel_size=1)
    wanted = gradient(1)
    tensor_ranks.share(tensor_model_parallel_size=WORLD)
    cases: dict[str, dict[str, Any]] = {"whole": {}, "in parts": {"in_parts": True}}
    for level in (1, 0):
        megatron_adaptor.repatch({"optimization_level": level})
        for name, options in cases.items():
            found = gradient(WORLD, **options)
            worst = tensor_ranks.difference(found, wanted)
            if rank == 0:
                print(json.dumps({"case": name, "level": level, "difference": worst}), flush=True)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
