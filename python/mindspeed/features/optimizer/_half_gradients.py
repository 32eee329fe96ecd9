# SPDX-License-Identifier: Apache-2.0
"""Gradients as float16 numbers with one factor for each parameter: gradient = numbers * factor.

    accumulate   numbers * factor + the micro-batch's gradient in float32, then the least factor that is a power of two and
                 leaves room for what is added over ranks; so nothing overflows, whatever the gradients' sizes
    over ranks   all take the largest factor of a parameter (one short all-reduce for a bucket), then sum float16 numbers
    the step     norms, clipping and the loss scale are matters of factors; Adam reads a slice in float32

What Megatron adds over other ranks than those of data parallelism (tied embeddings, norms of sequence parallelism) is
float32 while that is done.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from mindspeed.adaptor import Patch

_HALF = "_half_gradient"  # of parameters, and of main parameters while they wait for a step
_TOP = 2.0**15  # the largest number that is stored; float16 ends at 65504
_LEAST = 2.0**-100  # gradients below count as this when the factor is chosen
Method = Callable[..., Any]


class HalfGradient:
    """Numbers that lie in Megatron's buffer, and their factor, one element of a vector for the buffer."""

    def __init__(self, data: torch.Tensor, factor: torch.Tensor, top: float) -> None:
        self.data, self.factor, self.top = data, factor, top

    def read(self) -> torch.Tensor:
        return self.data.float().mul_(self.factor)

    def write(self, values: torch.Tensor) -> None:
        """A value that is no number makes the factor no number, and with it the whole gradient: that is how it is found."""
        largest = values.abs().amax().clamp_(min=_LEAST).div_(self.top)
        self.factor.copy_(largest.log2_().ceil_().exp2_())
        self.data.copy_(values / self.factor)

    def rescale(self, factor: torch.Tensor) -> None:
        """To a factor that is not smaller."""
        self.data.mul_((self.factor / factor).to(self.data.dtype))
        self.factor.copy_(factor)

    def part(self, start: int, stop: int) -> HalfGradient:
        """For a step, which changes the factor."""
        return HalfGradient(self.data.view(-1)[start:stop], self.factor.clone(), self.top)

    def norm(self) -> torch.Tensor:
        return torch.linalg.vector_norm(self.data, dtype=torch.float32).reshape(1) * self.factor


def of(parameter: Any) -> HalfGradient | None:
    return getattr(parameter, _HALF, None)


# ---- Megatron's buffers ----


def _in_half(init: Method) -> Method:
    """_ParamAndGradBuffer: float16 numbers under the name of the type that was asked for, by which checkpoints find them."""

    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        given = inspect.signature(init).bind(self, *args, **kwargs)
        dtype = given.arguments["grad_dtype"]
        given.arguments["grad_dtype"] = torch.float16
        init(*given.args, **given.kwargs)
        self.grad_dtype = dtype
        self._factors = torch.ones(len(self.param_index_map), device=self.grad_data.device)
        ranks = self.data_parallel_world_size
        order = 0
        for bucket in self.buckets:
            if getattr(bucket, "params_with_extra_main_grads", None):
                raise NotImplementedError(
                    "--quant-grads: parameters with gradients in a type of their own; leave it out"
                )
            # A sum over ranks of what was divided by their number is no larger than the largest of them.
            top = _TOP / max(1.0, 2.0 ** math.ceil(math.log2(bucket.gradient_scaling_factor * ranks)))
            bucket.factors = self._factors[order : order + len(bucket.params_list)]
            for parameter, factor in zip(bucket.params_list, bucket.factors.split(1), strict=True):
                setattr(parameter, _HALF, HalfGradient(parameter.main_grad, factor, top))
            order += len(bucket.params_list)

    return __init__


def _reset(reset: Method) -> Method:
    @functools.wraps(reset)
    def reset_with_factors(self: Any) -> None:
        reset(self)
        self._factors.fill_(1.0)

    return reset_with_factors


def _scaled(scale: Method) -> Method:
    """The numbers would become too small."""

    @functools.wraps(scale)
    def scale_gradients(self: Any, scaling_factor: Any) -> None:
        self._factors.mul_(scaling_factor)

    return scale_gradients


def _accumulating(make: Method) -> Method:
    """DistributedDataParallel's hook after a parameter's backward pass."""

    @functools.wraps(make)
    def make_hook(self: Any, param: torch.nn.Parameter) -> Any:
        if getattr(self.config, "gradient_accumulation_fusion", False):
            raise NotImplementedError(
                "--quant-grads: the model's config has gradient_accumulation_fusion, and products that add to gradients "
                "themselves add to float32; switch one of the two off"
            )
        hook = make(self, param)

        def accumulate(*unused: Any) -> Any:
            half, grad = of(param), param.grad
            if half is None or grad is None or param not in self.param_to_bucket_group:
                return hook(*unused)
            if not param.grad_added_to_main_grad or getattr(param, "zero_out_wgrad", False):
                half.write(half.read().add_(grad))
            added, param.grad_added_to_main_grad = param.grad_added_to_main_grad, True
            again = getattr(param, "zero_out_wgrad", None)
            if again:
                param.zero_out_wgrad = False
            try:
                return hook(*unused)
            finally:
                param.grad_added_to_main_grad = added
                if again:
                    param.zero_out_wgrad = again

        return accumulate

    return make_hook


def _agreeing(start: Method) -> Method:
    """_ParamAndGradBucketGroup.start_grad_sync: all ranks have the same factors before numbers are added."""

    @functools.wraps(start)
    def start_grad_sync(self: Any, *args: Any, **kwargs: Any) -> None:
        if self.grad_reduce_handle is None:
            group = (
                self.intra_distributed_optimizer_instance_group
                if self.ddp_config.use_distributed_optimizer
                else self.data_parallel_group
            )
            if group.size() > 1:
                for bucket in self.buckets:
                    _agree(bucket, group)
        start(self, *args, **kwargs)

    return start_grad_sync


@torch.no_grad()
def _agree(bucket: Any, group: Any) -> None:
    common = torch.nan_to_num(bucket.factors, nan=math.inf, posinf=math.inf)
    torch.distributed.all_reduce(common, op=torch.distributed.ReduceOp.MAX, group=group)
    for parameter, factor in zip(bucket.params_list, common.split(1), strict=True):
        half = of(parameter)
        assert half is not None
        half.rescale(factor)


def _checked(check: Method) -> Method:
    """The norm of a bucket's numbers says nothing; factors are finite where gradients are."""

    @functools.wraps(check)
    def check_grads(self: Any, check_for_nan_or_inf: bool, check_for_large: bool) -> None:
        for number, bucket in enumerate(self.buckets):
            if check_for_nan_or_inf and not bool(torch.isfinite(bucket.factors).all()):
                raise RuntimeError(
                    f"found NaN or Inf in local gradients of bucket #{number} before they are added"
                )

    return check_grads


# ---- what is added over other ranks ----


@contextlib.contextmanager
def _whole(model: Any, wanted: Callable[[str, Any], bool]) -> Iterator[None]:
    """main_grad of these parameters is float32 meanwhile."""
    taken = {}
    for chunk in model:
        for name, parameter in chunk.named_parameters():
            if parameter.requires_grad and of(parameter) is not None and wanted(name, parameter):
                taken[id(parameter)] = parameter
    kept = {key: parameter.main_grad for key, parameter in taken.items()}
    for parameter in taken.values():
        parameter.main_grad = of(parameter).read()  # type: ignore[union-attr]
    try:
        yield
    finally:
        for key, parameter in taken.items():
            of(parameter).write(parameter.main_grad)  # type: ignore[union-attr]
            parameter.main_grad = kept[key]


def _adding(wanted: Callable[[str, Any], bool]) -> Method:
    def wrap(reduce: Method) -> Method:
        @functools.wraps(reduce)
        def reduce_in_float32(model: Any, *args: Any, **kwargs: Any) -> Any:
            from megatron.core import parallel_state

            if parallel_state.get_model_parallel_group().size() == 1:
                return reduce(model, *args, **kwargs)
            with torch.no_grad(), _whole(model, wanted):
                return reduce(model, *args, **kwargs)

        return reduce_in_float32

    return wrap


def _has(*attributes: str) -> Callable[[str, Any], bool]:
    return lambda name, parameter: any(getattr(parameter, attribute, False) for attribute in attributes)


def _is_of_tensor_ranks(name: str, parameter: Any) -> bool:
    marks = _has("sequence_parallel", "average_gradients_across_tp_domain")
    return marks(name, parameter) or "q_layernorm" in name or "k_layernorm" in name


def _is_embedding(name: str, parameter: Any) -> bool:
    return "embedding" in name or "output_layer" in name


# ---- Megatron's optimizers ----


def _handing_over(copy: Method) -> Method:
    """_copy_model_grads_to_main_grads: main parameters get the numbers as they are, and a factor of their own."""

    @functools.wraps(copy)
    def hand_over(self: Any) -> None:
        if self.is_stub_optimizer:
            return
        pairs = _shards(self) if hasattr(self, "gbuf_ranges") else _wholes(self)
        for main, parameter, start, stop in pairs:
            half = of(parameter)
            if half is None:
                raise RuntimeError(
                    "--quant-grads: a parameter has no gradient in Megatron's buffers; leave it out"
                )
            setattr(main, _WAITING, half.part(start, stop))
            parameter.grad = None

    return hand_over


_WAITING = "_half_gradient_of_step"


def waiting(main: Any) -> HalfGradient | None:
    """The gradient with which a main parameter waits for its step."""
    return getattr(main, _WAITING, None)


def over(main: Any) -> None:
    """Its step is made."""
    if waiting(main) is not None:
        delattr(main, _WAITING)


def _refusing(init: Method) -> Method:
    """FP32Optimizer takes what lies in the buffers for gradients."""

    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            "--quant-grads: the optimizer's config has neither bf16 nor fp16, and models of float32 update their parameters "
            "with gradients of that type; give one of the two, or leave --quant-grads out"
        )

    return __init__


Pair = tuple[Any, Any, int, int]


def _shards(optimizer: Any) -> Iterator[Pair]:
    for models, mains in (
        (optimizer.model_float16_groups, optimizer.shard_fp32_from_float16_groups),
        (optimizer.model_fp32_groups, optimizer.shard_fp32_groups),
    ):
        for model_group, main_group in zip(models, mains, strict=True):
            for parameter, main in zip(model_group, main_group, strict=True):
                cut = optimizer._get_model_param_range_map(parameter)["param"]
                yield main, parameter, cut.start, cut.end


def _wholes(optimizer: Any) -> Iterator[Pair]:
    for models, mains in (
        (optimizer.float16_groups, optimizer.fp32_from_float16_groups),
        (optimizer.fp32_from_fp32_groups, optimizer.fp32_from_fp32_groups),
    ):
        for model_group, main_group in zip(models, mains, strict=True):
            for parameter, main in zip(model_group, main_group, strict=True):
                yield main, parameter, 0, parameter.numel()


def _factors_of(collect: Method) -> Method:
    """What the loss scale divides, and what is looked at for infinities."""

    @functools.wraps(collect)
    def collect_factors(self: Any) -> list[torch.Tensor]:
        parameters = [] if self.is_stub_optimizer else self.get_parameters()
        return [half.factor for half in map(waiting, parameters) if half is not None]

    return collect_factors


def _with_norms(choose: Method) -> Method:
    """Megatron chooses whose gradients count; each is then its own norm, one number in place of all."""

    @functools.wraps(choose)
    def grads_for_norm(self: Any, *args: Any, **kwargs: Any) -> list[torch.Tensor]:
        halves, marks, parameters = {}, [], []
        for parameter in self.get_parameters():
            half = waiting(parameter)
            if half is not None:
                mark = torch.zeros((), dtype=parameter.dtype, device=parameter.device).expand(parameter.shape)
                parameter.grad = mark
                halves[id(parameter.grad)] = half
                marks.append(parameter.grad)
                parameters.append(parameter)
        try:
            found = choose(self, *args, **kwargs)
        finally:
            for parameter in parameters:
                parameter.grad = None
        return [halves[id(grad)].norm() if id(grad) in halves else grad for grad in found]

    return grads_for_norm


def _clipping(clip: Method) -> Method:
    @functools.wraps(clip)
    def clip_grad_by_total_norm(
        parameters: Any, max_norm: float, total_norm: Any, *args: Any, **kwargs: Any
    ) -> None:
        given = [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)
        others = [parameter for parameter in given if waiting(parameter) is None]
        if others:
            clip(others, max_norm, total_norm, *args, **kwargs)
        coefficient = max_norm / (total_norm + 1.0e-6)
        if coefficient < 1.0:
            for half in filter(None, map(waiting, given)):
                half.factor.mul_(coefficient)

    return clip_grad_by_total_norm


_BUFFERS = "megatron.core.distributed.param_and_grad_buffer"
_FINAL = "megatron.core.distributed.finalize_model_grads"
_MEGATRON = "megatron.core.optimizer.optimizer"
_DISTRIBUTED = "megatron.core.optimizer.distrib_optimizer:DistributedOptimizer"
_PLAIN = f"{_MEGATRON}:Float16OptimizerWithFloat16Params"
PATCHES = (
    Patch(f"{_BUFFERS}:_ParamAndGradBuffer.__init__", _in_half, wraps=True),
    Patch(f"{_BUFFERS}:_ParamAndGradBuffer.reset", _reset, wraps=True),
    Patch(f"{_BUFFERS}:_ParamAndGradBuffer.scale_gradients", _scaled, wraps=True),
    Patch(f"{_BUFFERS}:_ParamAndGradBucketGroup.start_grad_sync", _agreeing, wraps=True),
    Patch(f"{_BUFFERS}:_ParamAndGradBucketGroup.check_grads", _checked, wraps=True),
    Patch(
        "megatron.core.distributed.distributed_data_parallel:DistributedDataParallel._make_backward_post_hook",
        _accumulating,
        wraps=True,
    ),
    Patch(f"{_FINAL}:_allreduce_conditional_embedding_grads", _adding(_has("pipeline_parallel")), wraps=True),
    Patch(f"{_FINAL}:_allreduce_word_embedding_grads", _adding(_is_embedding), wraps=True),
    Patch(f"{_FINAL}:_allreduce_position_embedding_grads", _adding(_is_embedding), wraps=True),
    Patch(f"{_FINAL}:_allreduce_layernorm_grads", _adding(_is_of_tensor_ranks), wraps=True, until="0.13"),
    Patch(
        f"{_FINAL}:_allreduce_non_tensor_model_parallel_grads",
        _adding(_is_of_tensor_ranks),
        wraps=True,
        since="0.13",
    ),
    Patch(
        f"{_FINAL}:_allreduce_router_grads",
        _adding(_has("flextron_router_pp_sync")),
        wraps=True,
        since="0.18",
    ),
    Patch(f"{_DISTRIBUTED}._copy_model_grads_to_main_grads", _handing_over, wraps=True),
    Patch(f"{_DISTRIBUTED}._collect_main_grad_data_for_unscaling", _factors_of, wraps=True),
    Patch(f"{_PLAIN}._copy_model_grads_to_main_grads", _handing_over, wraps=True),
    Patch(f"{_PLAIN}._collect_main_grad_data_for_unscaling", _factors_of, wraps=True),
    Patch(f"{_MEGATRON}:FP32Optimizer.__init__", _refusing, wraps=True),
    Patch(
        f"{_MEGATRON}:MegatronOptimizer.get_main_grads_for_grad_norm", _with_norms, wraps=True, until="0.19"
    ),
    Patch(f"{_MEGATRON}:MegatronOptimizer._filter_grads_for_norm", _with_norms, wraps=True, since="0.19"),
    Patch("megatron.core.optimizer.clip_grads:clip_grad_by_total_norm_fp32", _clipping, wraps=True),
)
