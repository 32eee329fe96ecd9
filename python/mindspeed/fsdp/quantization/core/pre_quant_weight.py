# SPDX-License-Identifier: Apache-2.0
"""A parameter whose shards PyTorch's FSDP gathers in 8 bits: half the bytes of bfloat16, or a quarter of float32's.

What the optimizer sees and checkpoints hold is the shard as it was. A shard is quantised by itself, so it has whole blocks: its
rows and columns are multiples of 64 (scales of 32 numbers come in pairs), or it has whole matrices of experts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor
from torch.distributed.tensor import DTensor

from mindspeed.fsdp.quantization.core.cache import cached_quant
from mindspeed.fsdp.quantization.core.post_quant_weight import PostQuantWeight

__all__ = ["PreQuantWeight"]

aten = torch.ops.aten
_MULTIPLE = 64
SQUARES = "mxfp8-32x32"
# What FSDP and modules make shards and copies with: of a weight like this one it is one again.
_STAYS = {
    aten.empty_like.default, aten.new_zeros.default, aten.slice.Tensor, aten.view.default, aten.as_strided.default,
    aten._to_copy.default, aten._pin_memory.default, aten.split.Tensor, aten.clone.default, aten.detach.default,
    aten.expand.default,
}  # fmt: skip


def _get_module_fsdp_state(module: Any) -> Any:
    """Of the unit of fully_shard that the module belongs to: the innermost."""
    from torch.distributed._composable_state import _module_state_mapping

    if hasattr(module, "_get_fsdp_state"):
        return module._get_fsdp_state()
    units = [unit for unit in list(_module_state_mapping) if any(part is module for part in unit.modules())]
    if not units:
        raise RuntimeError("a weight that is gathered in 8 bits belongs to no unit of fully_shard")
    return min(units, key=lambda unit: sum(1 for _ in unit.modules()))._get_fsdp_state()


class PreQuantWeight(Tensor):
    """quantizer: shard -> numbers and scales for the forward product, and for the gradient's."""

    _tensor: Tensor
    _quantizer: Callable[[Tensor], tuple[Tensor, ...]]
    config: Any
    _name: str | None
    _whole: dict[str, Tensor]  # of a shard that is the whole: its numbers, between two calls of FSDP
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(
        cls: type[PreQuantWeight],
        tensor: Tensor,
        quantizer: Callable[[Tensor], tuple[Tensor, ...]],
        config: Any = None,
        dtype: torch.dtype | None = None,
        name: str | None = None,
    ) -> PreQuantWeight:
        made: PreQuantWeight = torch.Tensor._make_wrapper_subclass(
            cls, tensor.shape, strides=tensor.stride(), storage_offset=tensor.storage_offset(), dtype=tensor.dtype,
            device=tensor.device, requires_grad=tensor.requires_grad,
        )  # fmt: skip
        made._tensor = tensor.detach() if tensor.requires_grad else tensor
        made._quantizer, made.config, made._name, made._whole = quantizer, config, name, {}
        return made

    def _like(self, tensor: Tensor) -> PreQuantWeight:
        return PreQuantWeight(tensor, self._quantizer, self.config, None, self._name)

    def __repr__(self, **_: Any) -> str:
        return f"PreQuantWeight({self._tensor!r})"

    def __tensor_flatten__(self) -> tuple[list[str], Any]:
        return ["_tensor"], (self._quantizer, self.config, self._name)

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], kept: Any, size: Any, stride: Any) -> PreQuantWeight:
        quantizer, config, name = kept
        return PreQuantWeight(inner["_tensor"], quantizer, config, None, name)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        first: list[PreQuantWeight] = []

        def opened(weight: PreQuantWeight) -> Tensor:
            first.append(weight)
            return weight._tensor

        inner, options = pytree.tree_map_only(PreQuantWeight, opened, (args, kwargs or {}))
        found = func(*inner, **options)
        if func._schema.name.endswith("_") and isinstance(args[0], PreQuantWeight):
            return args[0]  # in place
        if func not in _STAYS:
            return found
        return pytree.tree_map_only(Tensor, first[0]._like, found)

    # ---- what FSDP calls around a gather ----

    def _shard(self, mesh: Any, orig_size: Any) -> Tensor:
        """As the quantiser takes it."""
        shard = self._tensor.contiguous()
        if shard.dim() == 3:
            if shard.shape[0] * mesh.size() != orig_size[0]:
                raise ValueError(
                    f"quantization_plan: this rank's shard of {self._name} is {tuple(shard.shape)} of {tuple(orig_size)}, and "
                    f"{mesh.size()} ranks that gather experts in 8 bits want the same number of whole ones each; put the module into "
                    "ignored_modules, or set enable_fsdp_low_precision_all_gather to False"
                )
        elif any(length % _MULTIPLE for length in shard.shape[-2:]):
            raise ValueError(
                f"quantization_plan: this rank's shard of {self._name} is {tuple(shard.shape)}, and shards that are gathered in "
                f"8 bits want multiples of {_MULTIPLE} in their last two dimensions; put the module into ignored_modules, or set "
                "enable_fsdp_low_precision_all_gather to False"
            )
        return shard.bfloat16() if shard.dtype is torch.float32 else shard

    def _wanted(self, module: Any) -> tuple[bool, bool]:
        """Whether numbers for the forward product and for the gradient's are gathered now."""
        from torch.distributed.fsdp._fully_shard._fsdp_common import TrainingState

        if self.config.recipe_name == SQUARES or self.config.fsdp_low_precision_all_gather_mode == "all":
            return True, True
        # FSDP gathers as many bytes each time, and of such experts one way has more scales.
        if any(length % _MULTIPLE for length in self.shape[-2:]):
            return True, True
        group = _get_module_fsdp_state(module)._fsdp_param_group
        if not group._reshard_after_forward:
            return True, True
        is_backward = group._training_state == TrainingState.PRE_BACKWARD
        return not is_backward, is_backward

    def fsdp_pre_all_gather(
        self, mesh: Any, orig_size: Any, contiguous_orig_stride: Any, module: Any, mp_policy: Any
    ) -> tuple[tuple[Tensor, ...], Any]:
        """What is gathered of this shard, and what fsdp_post_all_gather is told. Scales of a shard that is the whole stay, and its
        other numbers too: PyTorch 2.13 hands on the first tensor alone."""
        forward, backward = self._wanted(module)
        weight_fwd, scale_fwd, weight_bwd, scale_bwd = cached_quant(
            self._shard(mesh, orig_size), self._quantizer, of=self._tensor
        )
        parts = _parts(self.config.recipe_name, forward, backward)
        of = {
            "weight_fwd": weight_fwd,
            "scale_fwd": scale_fwd,
            "weight_bwd": weight_bwd,
            "scale_bwd": scale_bwd,
        }
        if mesh is None or mesh.size() == 1:
            parts = [part for part in parts if part.startswith("weight")]
            self._whole = {part: of[part] for part in parts}
        return tuple(of[part] for part in parts), (forward, backward, scale_fwd, scale_bwd)

    def fsdp_post_all_gather(
        self,
        all_gather_outputs: tuple[Tensor, ...],
        metadata: Any,
        param_dtype: torch.dtype,
        *,
        out: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The weight in 8 bits; `out` is the one of an earlier gather."""
        forward, backward, scale_fwd, scale_bwd = metadata
        recipe = self.config.recipe_name
        parts = _parts(recipe, forward, backward)
        alone = [part for part in parts if part.startswith("weight")]
        first = 1 if self._whole else len(alone)
        if len(all_gather_outputs) not in (len(parts), len(alone), first):
            raise ValueError(
                f"Unexpected gather outputs length for {recipe} quant: {len(all_gather_outputs)}, wanted {len(parts)}, or "
                f"{len(alone)} of a shard that is the whole"
            )
        names = parts if len(all_gather_outputs) == len(parts) else alone
        found: dict[str, Tensor | None] = {
            "weight_fwd": None, "scale_fwd": scale_fwd, "weight_bwd": None, "scale_bwd": scale_bwd
        }  # fmt: skip
        found |= self._whole | dict(zip(names, all_gather_outputs, strict=False))
        self._whole = {}
        if recipe == SQUARES:
            found["weight_bwd"] = found["weight_fwd"]
        if out is None:
            return PostQuantWeight(**found, orig_dtype=param_dtype), all_gather_outputs
        gathered = out.to_local() if isinstance(out, DTensor) else out
        assert isinstance(gathered, PostQuantWeight)
        gathered.take(**found)
        return gathered, all_gather_outputs


def _parts(recipe: str, forward: bool, backward: bool) -> list[str]:
    """In their order. Squares have the same numbers both ways."""
    if recipe == SQUARES:
        return ["weight_fwd", "scale_fwd", "scale_bwd"]
    ways = [way for way, is_wanted in (("fwd", forward), ("bwd", backward)) if is_wanted]
    return [f"{what}_{way}" for way in ways for what in ("weight", "scale")]


torch.serialization.add_safe_globals([PreQuantWeight])
