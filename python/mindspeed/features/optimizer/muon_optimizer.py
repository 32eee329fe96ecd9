# SPDX-License-Identifier: Apache-2.0
"""--optimizer muon: matrices by Muon, all else by AdamW; where Megatron has it itself (0.16 and later), by Megatron's own.

Matrices are the weights of layers; embeddings, the output layer, norms and biases are not. With --use-distributed-optimizer
each of them is updated by one data-parallel rank, as a whole (_whole_shares.py): Megatron's shards cut through matrices.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch

from mindspeed.adaptor import Feature, Flag, Level, Native, Patch, session
from mindspeed.adaptor.versions import installed_version, release
from mindspeed.features.optimizer import _muon

NAMES = ("muon", "dist_muon")
_MEGATRONS = "0.16"
_PRECISIONS = {"low": torch.bfloat16, "medium": torch.bfloat16, "high": torch.float32}
_SHARING = ("blockwise", "duplicated", "distributed")
_ATTRIBUTE = "muon_matrix"
_OTHERS = {
    "fp16": "--fp16 scales gradients, which Muon's steps do not follow; give --bf16 or neither",
    "use_custom_fsdp": "--use-custom-fsdp cuts through matrices; leave it out",
    "use_megatron_fsdp": "--use-megatron-fsdp cuts through matrices; leave it out",
    "use_torch_fsdp2": "--use-torch-fsdp2 cuts through matrices; leave it out",
    "use_legacy_models": "--use-legacy-models have other names for their weights; leave it out",
    "use_precision_aware_optimizer": "--use-precision-aware-optimizer is Adam's; leave it out",
    "optimizer_cpu_offload": "--optimizer-cpu-offload brings an Adam of its own; leave it out",
    "overlap_param_gather": "--overlap-param-gather gathers shards, and here whole parameters are sent; leave it out",
}


def is_chosen(args: Any) -> bool:
    return getattr(args, "optimizer", "adam") in NAMES


def adjust(args: Any) -> None:
    if args.optimizer == "dist_muon":
        args.optimizer, args.use_distributed_optimizer = "muon", True


def check(args: Any) -> Iterator[str]:
    if args.muon_num_ns_steps < 1:
        yield f"--muon-num-ns-steps is {args.muon_num_ns_steps}, wanted 1 or more"
    if not 0.0 <= args.muon_momentum < 1.0:
        yield f"--muon-momentum is {args.muon_momentum}, wanted 0 or more and less than 1"
    if args.muon_scalar_optimizer != "adam":
        yield "--muon-scalar-optimizer lion is not there; leave it out, and what is no matrix is updated by AdamW"
    for name, sentence in _OTHERS.items():
        if getattr(args, name, False):
            yield sentence


def with_megatrons(args: Any) -> None:
    if hasattr(args, "muon_use_nesterov"):  # its name in 0.16 and 0.17
        args.muon_use_nesterov = args.muon_use_nesterov or args.muon_nesterov


def check_megatrons(args: Any) -> Iterator[str]:
    version = installed_version("megatron-core")
    if version is None or release(version) >= release("0.18.0"):
        return
    for name, usual in (("muon_coefficient_type", "quintic"), ("muon_scalar_optimizer", "adam")):
        if getattr(args, name, usual) != usual:
            flag = f"--{name.replace('_', '-')}"
            yield f"Muon is Megatron's own here, which has no {flag} before 0.18 ({version} is installed); leave it out"


def _way(args: Any) -> _muon.Way:
    return _muon.Way(
        coefficients=_muon.schedule(args.muon_coefficient_type, args.muon_num_ns_steps),
        dtype=_PRECISIONS[args.muon_fp32_matmul_prec],
        scale=args.muon_scale_mode,
        extra=args.muon_extra_scale_factor,
        sharing=args.muon_tp_mode,
    )


def _matrix(name: str, parameter: torch.Tensor, config: Any, *, split_qkv: bool) -> _muon.Matrix | None:
    """None for what is updated by AdamW."""
    from megatron.core import parallel_state

    is_end = getattr(parameter, "is_embedding_or_output_parameter", False) or "embedding" in name
    if parameter.ndim != 2 or is_end:
        return None
    is_expert = "experts" in name and "shared" not in name
    over = (
        parallel_state.get_expert_tensor_parallel_group()
        if is_expert
        else parallel_state.get_tensor_model_parallel_group()
    )
    rows: tuple[int, ...] = ()
    experts: tuple[int, ...] = ()
    if split_qkv and name.endswith("linear_qkv.weight"):
        size = config.kv_channels
        rows = (config.num_attention_heads // config.num_query_groups * size, size, size)
    if is_expert and name.endswith(("experts.weight1", "experts.weight2")):
        number = config.num_moe_experts // parallel_state.get_expert_model_parallel_world_size()
        hidden = config.hidden_size
        experts = (number, hidden, -1) if name.endswith("1") else (number, -1, hidden)
    split = getattr(parameter, "partition_dim", -1) if over.size() > 1 else -1
    return _muon.Matrix(rows=rows, experts=experts, split=split, over=over)


@contextlib.contextmanager
def _frozen(parameters: Iterable[torch.Tensor]) -> Iterator[None]:
    """Megatron makes groups of what needs gradients."""
    kept = [p for p in parameters if p.requires_grad]
    for parameter in kept:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in kept:
            parameter.requires_grad = True


def _no_decay(args: Any, given: Any) -> Any:
    if given is not None or not args.apply_wd_to_qk_layernorm:
        return given

    def no_decay(name: str, parameter: torch.Tensor) -> bool:
        is_vector = parameter.ndim == 1 or name.endswith(".bias")
        return is_vector and "q_layernorm." not in name and "k_layernorm." not in name

    return no_decay


def _cost(parameter: torch.Tensor) -> float:
    """Multiply-adds of an iteration, next to which an element of AdamW's costs about ten."""
    if getattr(parameter, _ATTRIBUTE, None) is None:
        return 10.0 * parameter.numel()
    return float(3 * parameter.numel() * min(parameter.shape))


def with_muon(make: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(make)
    def get_megatron_optimizer(*args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(make).bind(*args, **kwargs).arguments
        config = bound["config"]
        if config.optimizer not in NAMES:
            return make(*args, **kwargs)
        given = session.current_arguments()
        no_decay = _no_decay(given, bound.get("no_weight_decay_cond"))
        conditions = (no_decay, bound.get("scale_lr_cond"), bound.get("lr_mult", 1.0))
        return build(config, bound["model_chunks"], conditions, given)

    return get_megatron_optimizer


def build(config: Any, chunks: Sequence[Any], conditions: tuple[Any, Any, float], args: Any) -> Any:
    from megatron.core import optimizer as megatron

    from mindspeed.features.optimizer._whole_shares import Share, WholeOptimizers, dealt_out

    inner = copy.copy(config)
    inner.optimizer, inner.use_distributed_optimizer = "adam", False
    kinds: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    for chunk in chunks:
        for name, parameter in chunk.named_parameters():
            matrix = _matrix(name, parameter, chunk.config, split_qkv=args.muon_split_qkv is not False)
            setattr(parameter, _ATTRIBUTE, matrix)
            kinds[matrix is not None].append(parameter)
    found = []  # (whether by Muon, whether of experts, groups)
    for is_matrix in (True, False):
        with _frozen(kinds[not is_matrix]):
            rates = (config.lr, config.min_lr, config.decoupled_lr, config.decoupled_min_lr)
            groups = megatron._get_param_groups(chunks, *conditions, *rates)
        for is_expert in (False, True):
            chosen = [group for group in groups if group["is_expert_parallel"] == is_expert]
            if chosen:
                found.append((is_matrix, is_expert, chosen))
    shares: list[Share] = []
    if config.use_distributed_optimizer:
        for is_expert in (False, True):
            groups = [group for _, other, chosen in found for group in chosen if other == is_expert]
            parameters = [p for group in groups for p in group["params"]]
            if parameters:
                shares.append(dealt_out(parameters, [_cost(p) for p in parameters], _ranks(is_expert)))
                mine = shares[-1].mine
                for group in groups:
                    group["params"] = [p for p in group["params"] if id(p) in mine]
    optimizers = [
        _wrapped(inner, chunks, groups, args if is_matrix else None, _statistics(is_expert, bool(shares)))
        for is_matrix, is_expert, groups in found
    ]
    return WholeOptimizers(optimizers, shares)


def _ranks(is_expert: bool) -> Any:
    """Those that have the same parameters."""
    from megatron.core import parallel_state

    if is_expert:
        return parallel_state.get_expert_data_parallel_group()
    return parallel_state.get_data_parallel_group(with_context_parallel=True)


def _statistics(is_expert: bool, is_shared: bool) -> Any:
    """Over which ranks the norm of gradients is a sum: those that have others."""
    from megatron.core import parallel_state

    if is_shared:
        return torch.distributed.group.WORLD
    if is_expert:
        return parallel_state.get_expert_tensor_model_pipeline_parallel_group()
    return parallel_state.get_model_parallel_group()


def _wrapped(config: Any, chunks: Sequence[Any], groups: list[dict[str, Any]], args: Any, over: Any) -> Any:
    """Megatron's optimizer around Muon, or, without arguments, its own around AdamW."""
    from megatron.core import optimizer as megatron

    if args is None:
        found = megatron._get_megatron_optimizer_based_on_param_groups(
            config, model_chunks=list(chunks), param_groups=groups, model_parallel_group=over
        )
    else:
        muon = _muon.Muon(
            groups, lr=config.lr, momentum=args.muon_momentum, nesterov=args.muon_nesterov,
            weight_decay=config.weight_decay, way=_way(args),
        )  # fmt: skip
        if config.bf16:
            found = megatron.Float16OptimizerWithFloat16Params(muon, config, None, _initialize)
            for mains, models in zip(found.fp32_from_float16_groups, found.float16_groups, strict=True):
                for main, model in zip(mains, models, strict=True):
                    setattr(main, _ATTRIBUTE, getattr(model, _ATTRIBUTE))
        else:
            found = megatron.FP32Optimizer(muon, config, _initialize)
    found.grad_stats_parallel_group = over
    return found


def _initialize(optimizer: Any, config: Any = None) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if not optimizer.state[parameter]:
                optimizer.initialize_state(parameter)


def whole_gradients(init: Callable[..., None]) -> Callable[..., None]:
    """Gradients are summed on all ranks, though states are not on all."""

    @functools.wraps(init)
    def __init__(self: Any, config: Any, ddp_config: Any, *args: Any, **kwargs: Any) -> None:
        whole = dataclasses.replace(ddp_config, use_distributed_optimizer=False)
        init(self, config, whole, *args, **kwargs)

    return __init__


FEATURE = Feature(
    name="muon-optimizer",
    level=Level.COMPATIBILITY,
    switch=is_chosen,
    flags=(
        Flag("--optimizer", "Matrices by Muon.", type=str, default="adam", adds=NAMES, megatron=True, in_config=False),
        Flag("--muon-momentum", "What momentum keeps of itself.", type=float, default=0.95, in_config=False),
        Flag(
            "--muon-split-qkv", "Queries, keys and values are three matrices.", negative="--muon-no-split-qkv",
            in_config=False,
        ),
        Flag("--muon-nesterov", "Nesterov's momentum.", in_config=False),
        Flag(
            "--muon-scale-mode", "How a step grows with a matrix's shape.", type=str, default="spectral",
            choices=tuple(_muon.SCALES), in_config=False,
        ),
        Flag(
            "--muon-fp32-matmul-prec", "Products of the iteration: high is float32, the others bfloat16.", type=str,
            default="medium", choices=tuple(_PRECISIONS), in_config=False,
        ),
        Flag(
            "--muon-coefficient-type", "Polynomials of the iteration.", type=str, default="quintic",
            choices=tuple(_muon.KINDS), in_config=False,
        ),
        Flag("--muon-num-ns-steps", "Steps of the iteration.", type=int, default=5, in_config=False),
        Flag(
            "--muon-tp-mode", "A rank's part of a matrix is one (blockwise), or of the whole: on every rank (duplicated) or "
            "on all together (distributed).", type=str, default="blockwise", choices=_SHARING, in_config=False,
        ),
        Flag("--muon-extra-scale-factor", "Steps are that many times as long.", type=float, default=1.0, in_config=False),
        Flag(
            "--muon-scalar-optimizer", "Of what is no matrix.", type=str, default="adam", choices=("adam", "lion"),
            in_config=False,
        ),
        Flag("--apply-wd-to-qk-layernorm", "Weight decay also of the norms of queries and keys.", in_config=False),
    ),
    check=check,
    adjust=adjust,
    native=Native(since=_MEGATRONS, flag="--optimizer muon", adjust=with_megatrons, check=check_megatrons),
    patches=(
        Patch("megatron.core.optimizer:get_megatron_optimizer", with_muon, wraps=True, until=_MEGATRONS),
        Patch(
            "megatron.core.distributed.distributed_data_parallel:DistributedDataParallel.__init__", whole_gradients,
            wraps=True, until=_MEGATRONS,
        ),
    ),
)  # fmt: skip
