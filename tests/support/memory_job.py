# SPDX-License-Identifier: Apache-2.0
"""The training job of the tests of memory features: `torchrun ... memory_job.py CASE...`, all of one world size.

A case is JSON: `run` as in parallel_layouts.py, `flags` as repatch() takes them, other `sizes` of the model. Rank 0
prints a line of JSON for each: losses and norms of the gradient, a digest of the final weights and their number, and in
bytes the most that was asked for at a time during the steps (`peak`) and what is in use after them (`held`), without what
was there before the case.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import mindspeed.megatron_adaptor as adaptor
import parallel_job
import torch
from parallel_layouts import Run

OFF: dict[str, Any] = {
    "recompute_activation_function": False,
    "recompute_activation_function_num_layers": None,
    "swap_attention": False,
    "use_flash_attn": False,
    "swap_optimizer": False,
    "reuse_fp32_param": False,
    "adaptive_recompute_device_size": None,
    "compress_activation": "",
    "compress_dense": "disable",
    "compress_optimizer": False,
    "swap_layer_input": False,
    "fp8_reuse_quantized_weight": False,
    "smart_swap": False,
    "smart_swap_device_size": None,
    "qat_scheme": None,
    "qat_quant_block_size": None,
    "qad_enable": False,
    "quant_states": None,
    "quant_grads": False,
    "noop_layers": None,
    "enable_recompute_layers_per_pp_rank": False,
    "context_parallel_algo": None,
    "cp_window_size": 1,
    "attention_mask_on_cpu": False,
    "adaptive_cp_manually_set_mask_list": False,
    "context_parallel_kv_cache_policy": None,
    "context_parallel_cache_interval": 0,
    "use_ulysses_allgather_kv": False,
    "attention_mask_type": "general",
    "position_embedding_type": None,
    "alibi_fusion_attn_type": 2,
    "ulysses_degree_in_cp": None,
    "use_cp_send_recv_overlap": False,
    "use_fused_ring_attention_update": False,
    "num_experts": None,
    "recompute_granularity": None,
    "recompute_method": None,
    "moe_permutation_async_comm": False,
    "moe_alltoall_overlap_comm": False,
    "moe_allgather_overlap_comm": False,
    "moe_grouped_gemm": False,
    "moe_token_dispatcher_type": "allgather",
    "expert_model_parallel_size": 1,
    "moe_model_type": None,
    "moe_fb_overlap": False,
    "balanced_moe_experts": False,
    "balanced_moe_hot_expert_num": 3,
    "trans_hot_expert_group_num": 3,
    "moe_train_capacity_factor": 1.0,
    "use_pipe_experts": False,
    "pipe_experts_multi_data": 1,
    "pipe_experts_multi_stream": False,
    "sequence_parallel": False,
    "moe_zero_memory": "disable",
    "moe_zero_memory_num_layers": None,
    "gemm_gradient_accumulation_fusion": False,
    "use_torch_fsdp2": False,
    "fsdp2_config_path": None,
    "layerzero": False,
    "layerzero_config": None,
    "recompute_in_advance": False,
    "recompute_in_bubble": False,
    "pipeline_num_transformer_layers": None,
    "schedules_method": None,
    "optimize_send_recv_comm": False,
    "recompute_norm": False,
    "recompute_norm_num_layers": None,
    "transformer_impl": "local",  # in later releases a field of configs, whose default is another
    "unaligned_linear": False,
    "tp_2d": False,
    "tp_x": 1,
    "tp_y": 1,
    "enable_overlap_ag_with_matmul": False,
    "enable_overlap_matmul_with_rs": False,
    "enable_backward_overlap_ag_with_matmul": False,
    "variable_seq_lengths": False,
    "dualpipev_dw_detach": False,
    "use_distributed_optimizer": False,
    "param_and_grad_buffer_pad": None,
    "use_multiparameter_pipeline_model_parallel": False,
    "ttp_enabled": False,
}


@contextlib.contextmanager
def sizes(changed: dict[str, int]) -> Iterator[None]:
    """VOCAB, SEQUENCE, HIDDEN, BATCH, HEADS, GROUPS, SHORTER, DOCUMENTS of the job."""
    before = {name: getattr(parallel_job, name) for name in changed}
    vars(parallel_job).update(changed)
    yield
    vars(parallel_job).update(before)


def in_use(moment: str) -> int:
    """What was asked for: the allocator's blocks may be larger, which depends on what was there before."""
    return torch.npu.memory_stats().get(f"requested_bytes.all.{moment}", 0)


def digest(chunks: list[torch.nn.Module]) -> str:
    found = hashlib.sha256()
    for chunk in chunks:
        for parameter in chunk.parameters():
            mine = getattr(parameter, "_local_tensor", parameter)  # of what FSDP shards
            found.update(mine.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def train(case: dict[str, Any], number: int) -> dict[str, Any]:
    run = Run.from_json(json.dumps(case["run"]))
    adaptor.repatch(OFF | case["flags"])
    parallel_job.initialize(run.layout, number)
    gc.collect()
    before = in_use("current")
    with sizes(case["sizes"]):
        config = parallel_job.transformer_config(run.layout)
        chunks = parallel_job.build_model(run.layout, config)
        optimizer = parallel_job.build_optimizer(run.layout, chunks)
        parallel_job.connect(run.layout, config, chunks, optimizer)
        if run.load:
            parallel_job.parallel_checkpoint.load(run.load, chunks, optimizer)
        torch.npu.synchronize()
        torch.npu.reset_peak_memory_stats()
        steps = [
            parallel_job.train_step(run.layout, chunks, optimizer, step)
            for step in range(run.first, run.last)
        ]
        torch.npu.synchronize()
        result = {
            "losses": [loss for loss, _ in steps],
            "norms": [norm for _, norm in steps],
            "peak": in_use("peak") - before,
            "held": in_use("current") - before,
            "weights": digest(chunks),
            "parameters": sum(parameter.numel() for chunk in chunks for parameter in chunk.parameters()),
        }
        if run.save:
            parallel_job.parallel_checkpoint.save(run.save, chunks, optimizer)
    parallel_job.finalize()
    return result


def make_what_stays(case: dict[str, Any]) -> None:
    """A step of the first case with fused attention, whose mask is made once in a process."""
    step = {"first": 0, "last": 1, "save": "", "load": ""}
    train(case | {"run": case["run"] | step, "flags": {"use_flash_attn": True}}, 0)


def main() -> None:
    cases = [json.loads(text) for text in sys.argv[1:]]
    make_what_stays(cases[0])
    for number, case in enumerate(cases, 1):
        result = train(case, number)
        if os.environ["RANK"] == "0":
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
