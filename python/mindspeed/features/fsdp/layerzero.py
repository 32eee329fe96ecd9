# SPDX-License-Identifier: Apache-2.0
"""Parameters, gradients and states of layers are shared by groups of neighbouring data-parallel ranks.

Megatron's wrapper of PyTorch's fully_shard does it, in two dimensions: shards within a group of zero3_size ranks, replicas
across groups. Megatron's own checks of that wrapper are about things which work here (fp16, one connection), so it is chosen
after them.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from typing import Any

import torch

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Need, Patch
from mindspeed.adaptor.session import current_arguments
from mindspeed.features.fsdp import _layers
from mindspeed.features.fsdp.fsdp2_config import File, patches_of


def file() -> File:
    from megatron.core import parallel_state

    path = current_arguments().layerzero_config
    ranks = parallel_state.get_data_parallel_world_size(with_context_parallel=True)
    return File(
        flag="--layerzero-config",
        settings=_layers.settings(path, parallel_state.get_tensor_model_parallel_world_size(), ranks),
        ignored=tuple(_layers.given(path).get("ignored_modules") or ()),
    )


def chosen(setup: Callable[..., Any]) -> Callable[..., Any]:
    """setup_model_and_optimizer: what wraps the model, and how it is saved and loaded, follows from the arguments."""

    @functools.wraps(setup)
    def set_up(*args: Any, **kwargs: Any) -> Any:
        from megatron.training import get_args

        given = get_args()
        given.use_torch_fsdp2 = True
        path = _layers.given(given.layerzero_config).get("ckpt_load_path")
        if path is not None:
            if given.load not in (None, path):
                raise ValueError(
                    f"--layerzero-config: ckpt_load_path is {path}, and --load {given.load}; leave one of the two out"
                )
            if not os.path.isdir(path):
                raise FileNotFoundError(f"--layerzero-config: ckpt_load_path {path} is no folder")
            given.load = path
        return setup(*args, **kwargs)

    return set_up


def found_by_shards(collect: Callable[..., Any]) -> Callable[..., Any]:
    """MixedPrecisionOptimizer._collect_main_grad_data_for_unscaling: gradients that are shards are scaled back and looked at by
    each rank for itself, and Megatron asks all ranks afterwards."""

    @functools.wraps(collect)
    def collected(self: Any) -> Any:
        return [getattr(gradient, "_local_tensor", gradient) for gradient in collect(self)]

    return collected


def asked_of_all(unscale: Callable[..., Any]) -> Callable[..., Any]:
    """_unscale_main_grads_and_check_for_nan: what overflowed in a shard is seen by ranks with others."""

    @functools.wraps(unscale)
    def unscaled(self: Any) -> Any:
        from megatron.core import parallel_state

        unscale(self)
        group = parallel_state.get_data_parallel_group(with_context_parallel=True)
        torch.distributed.all_reduce(self.found_inf, torch.distributed.ReduceOp.MAX, group=group)
        return self.found_inf.item() > 0

    return unscaled


_OTHERS = {
    "pipeline_model_parallel_size": "stages of a pipeline are not supported with it",
    "expert_model_parallel_size": "experts on other ranks are not supported with it",
}
_SWITCHES = {
    "gradient_accumulation_fusion": "gradients are those of shards; give --no-gradient-accumulation-fusion",
    "overlap_grad_reduce": "gradients are summed while others are computed anyway; leave out --overlap-grad-reduce",
    "overlap_param_gather": "the next unit is gathered meanwhile anyway; leave out --overlap-param-gather",
    "use_torch_fsdp2": "it is what --layerzero chooses by itself; leave out --use-torch-fsdp2",
    "use_custom_fsdp": "both shard the parameters; leave out --use-custom-fsdp",
    "use_megatron_fsdp": "both shard the parameters; leave out --use-megatron-fsdp",
    "use_legacy_models": "there are layers of Megatron Core to be wrapped; leave out --use-legacy-models",
}


def check(args: Any) -> Iterable[str]:
    if args.layerzero_config is None:
        yield "--layerzero: the sizes are in a file; give --layerzero-config FILE"
        return
    found = list(_layers.problems(args.layerzero_config))
    yield from (f"--layerzero-config {problem}" for problem in found)
    for name, why in _OTHERS.items():
        if (getattr(args, name, 1) or 1) > 1:
            yield f"--{name.replace('_', '-')} {getattr(args, name)}: {why}; leave one of the two out"
    yield from (why for name, why in _SWITCHES.items() if getattr(args, name, False))
    if getattr(args, "ckpt_format", None) not in (None, "torch_dist", "torch_dcp"):
        yield f"--ckpt-format {args.ckpt_format} does not know shards; give torch_dist or torch_dcp"
    if found:
        return
    kind = _layers.given(args.layerzero_config).get("param_dtype")
    own = next((name for name in ("fp16", "bf16") if getattr(args, name, False)), "fp32")
    if kind not in (None, own) and (own, kind) != ("fp32", "bf16"):
        yield (
            f"--layerzero-config {args.layerzero_config}: param_dtype is {kind}, and the training is in {own}; give --{kind}, or "
            "leave param_dtype out"
        )
    tensor = getattr(args, "tensor_model_parallel_size", 1) or 1
    size = _layers.given(args.layerzero_config).get("zero3_size", _layers.ZERO3_SIZE)
    if size % tensor:
        yield f"--layerzero-config {args.layerzero_config}: zero3_size is {size}, wanted a multiple of {tensor} tensor-parallel ranks"


def adjust(args: Any) -> None:
    """States are sharded with their parameters: Megatron's own way of sharding them has nothing left to do."""
    args.use_distributed_optimizer = False


_OPTIMIZER = "megatron.core.optimizer.optimizer"
FEATURE = Feature(
    name="layerzero",
    level=Level.ACCELERATION,
    flags=(
        Flag("--layerzero", "Parameters, gradients and states are shared by groups of neighbouring ranks."),
        Flag(
            "--layerzero-config",
            "A YAML file: zero3_size, the ranks of a group, transformer_layers, param_dtype, reduce_dtype and others.",
            type=str,
            metavar="FILE",
        ),
    ),
    needs=(
        Need(
            flag="--untie-embeddings-and-output-weights",
            why="a parameter is part of one unit, and a tied embedding would be of two",
        ),
    ),
    conflicts=(
        Conflict(
            feature="swap-optimizer", why="parameters that are shards have no main parameters of its kind"
        ),
        Conflict(
            feature="reuse-fp32-param", why="parameters that are shards have no main parameters of its kind"
        ),
    ),
    check=check,
    adjust=adjust,
    patches=(
        *patches_of(file),
        Patch(
            "megatron.training.training:setup_model_and_optimizer",
            chosen,
            wraps=True,
            requires="megatron.training",
        ),
        Patch(
            f"{_OPTIMIZER}:Float16OptimizerWithFloat16Params._collect_main_grad_data_for_unscaling",
            found_by_shards,
            wraps=True,
        ),
        Patch(
            f"{_OPTIMIZER}:MixedPrecisionOptimizer._unscale_main_grads_and_check_for_nan",
            asked_of_all,
            wraps=True,
        ),
    ),
)
