# SPDX-License-Identifier: Apache-2.0
"""Linear layers and norms of a transformer on a grid of tensor-parallel ranks, in place of Megatron's.

What a rank (i, j) of x by y has of a layer, in parts that plain tensor parallelism of x y ranks makes:

columns  weight: parts i y to i y + y - 1 of the outputs, part j of y of the inputs (hidden size); bias: part i y + j
rows     weight: parts i y to i y + y - 1 of the inputs, part j of y of the outputs (hidden size); bias: part j of y
norm     part j of y

Biases of rows and norms are the same along x, where each rank sees its own part of the sequence: their gradients are summed
there once a step. Checkpoints have the pieces of the whole weight, so any other layout loads them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from mindspeed.features.communication._grid import Grid, grid_of
from mindspeed.features.communication._grid_norm import Normalized
from mindspeed.features.communication._grid_products import Columns, Rows, Way
from mindspeed.features.communication._grid_state import Place, pieces, placed

# Of parameters that ranks along x hold alike.
SHARED = "tp_2d_shared"


def _made(shape: tuple[int, ...], config: Any) -> Parameter:
    device = None if config.use_cpu_initialization else torch.cuda.current_device()
    return Parameter(torch.empty(shape, dtype=config.params_dtype, device=device))


def _is_part(parameter: Parameter, axis: int, is_counted: bool = True) -> None:
    """Norms over all ranks count what is marked as a part; of copies those of the first rank."""
    from megatron.core.tensor_parallel.layers import set_tensor_model_parallel_attributes

    set_tensor_model_parallel_attributes(parameter, is_counted, axis, 1)


def share(parameter: Parameter, grid: Grid) -> None:
    """It is counted on the ranks at x = 0 alone."""
    _is_part(parameter, 0, grid.x.rank == 0)
    setattr(parameter, SHARED, True)


class _Linear(torch.nn.Module):
    """Both kinds, with the arguments of Megatron's; what is about layers that communicate otherwise is not taken."""

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        config: Any,
        init_method: Callable[[Tensor], Any],
        bias: bool,
        skip_bias_add: bool = False,
        is_expert: bool = False,
        gather_output: bool = False,
        input_is_parallel: bool = True,
        tp_comm_buffer_name: str | None = None,
        **others: Any,
    ) -> None:
        super().__init__()
        if is_expert or gather_output or not input_is_parallel:
            raise ValueError(
                f"--tp-2d: layer {tp_comm_buffer_name} is one of experts, or wants whole inputs or outputs"
            )
        self.config, self.grid = config, grid_of(config)
        self.input_size, self.output_size, self.skip_bias_add = input_size, output_size, skip_bias_add
        is_gated = config.gated_linear_unit and tp_comm_buffer_name == "fc1"
        self.halves = 2 if is_gated else 1  # gate and value, which parts have one of each
        self.weight = _made(self._shape(), config)
        self._start(init_method)
        if bias:
            self.bias = _made(self._bias_shape(), config)
            with torch.no_grad():
                self.bias.zero_()
        else:
            self.register_parameter("bias", None)

    def _shape(self) -> tuple[int, int]:
        raise NotImplementedError

    def _bias_shape(self) -> tuple[int]:
        raise NotImplementedError

    def _of_whole(self, whole: Tensor) -> Tensor:
        raise NotImplementedError

    def _divided(self, number: int, parts: int, of: str) -> int:
        if number % parts:
            raise ValueError(f"--tp-2d: {of} of {number} is not divisible by {parts} ranks")
        return number // parts

    def _start(self, init_method: Callable[[Tensor], Any]) -> None:
        """Drawn whole on the host, as one rank draws it, or in parts."""
        from megatron.core.tensor_parallel.layers import get_cuda_rng_tracker

        _is_part(self.weight, 0)
        self.weight.allreduce = True
        if not self.config.perform_initialization:
            return
        with torch.no_grad():
            if self.config.use_cpu_initialization:
                whole = torch.empty(self.output_size, self.input_size)
                init_method(whole)
                self.weight.copy_(self._of_whole(whole))
            else:
                with get_cuda_rng_tracker().fork():
                    init_method(self.weight)

    def _way(self) -> Way:
        return Way(
            grid=self.grid,
            gathers_beside=self.config.enable_overlap_ag_with_matmul,
            scatters_beside=self.config.enable_overlap_matmul_with_rs,
            gathers_gradients_beside=self.config.enable_backward_overlap_ag_with_matmul,
            fuse_wgrad=self.config.gradient_accumulation_fusion and self.weight.requires_grad,
        )

    def _with_bias(self, y: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.skip_bias_add or self.bias is None:
            return y, self.bias
        return y + self.bias, None

    def _sharded(self, prefix: str, offsets: Any, metadata: Any, of_bias: Place) -> dict[str, Any]:
        from megatron.core.transformer.utils import make_sharded_tensors_for_checkpoint

        state = make_sharded_tensors_for_checkpoint(
            self.state_dict(prefix="", keep_vars=True), prefix, {}, offsets
        )
        if self.bias is not None:
            state[f"{prefix}bias"] = placed(state[f"{prefix}bias"], of_bias)
        return state

    def set_extra_state(self, state: Any) -> None:
        """Megatron's layers write one that says nothing."""

    def get_extra_state(self) -> None:
        return None

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(in_features={self.input_size}, out_features={self.output_size}, "
            f"bias={self.bias is not None}, TP={self.grid.x.size}x{self.grid.y.size})"
        )


class ColumnLinear(_Linear):
    """Of q, k and v, and the first of an MLP."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.bias is not None:
            _is_part(self.bias, 0)

    def _shape(self) -> tuple[int, int]:
        rows = self._divided(self.output_size, self.grid.size * self.halves, "a width") * self.halves
        return rows * self.grid.y.size, self._divided(self.input_size, self.grid.y.size, "a hidden size")

    def _bias_shape(self) -> tuple[int]:
        return (self.output_size // self.grid.size,)

    def _of_whole(self, whole: Tensor) -> Tensor:
        grid, (rows, columns) = self.grid, self._shape()
        parts = whole.view(self.halves, grid.size, -1, self.input_size)
        own = parts[:, grid.x.rank * grid.y.size :][:, : grid.y.size]
        own = own[..., grid.y.rank * columns :][..., :columns]
        return own.transpose(0, 1).reshape(rows, columns)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return self._with_bias(Columns.apply(x, self.weight, self._way()))

    def sharded_state_dict(
        self, prefix: str = "", sharded_offsets: Any = (), metadata: Any = None
    ) -> dict[str, Any]:
        grid = self.grid
        of_bias = Place(axes=((0, grid.place, grid.size),))
        state = self._sharded(prefix, sharded_offsets, metadata, of_bias)
        weight = state[f"{prefix}weight"]
        if self.halves == 1:
            axes = ((0, grid.x.rank, grid.x.size), (1, grid.y.rank, grid.y.size))
            state[f"{prefix}weight"] = placed(weight, Place(axes=axes))
            return state
        apart = bool((metadata or {}).get("singleton_local_shards"))
        numbers = range(grid.x.rank * grid.y.size, (grid.x.rank + 1) * grid.y.size)
        state[f"{prefix}weight"] = pieces(weight, numbers, grid.size, (1, grid.y.rank, grid.y.size), apart)
        if self.bias is not None:
            state[f"{prefix}bias"] = pieces(state[f"{prefix}bias"], (grid.place,), grid.size, None, apart)
        return state


class RowLinear(_Linear):
    """Of the heads' outputs, and the second of an MLP."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.bias is not None:
            share(self.bias, self.grid)

    def _shape(self) -> tuple[int, int]:
        columns = self._divided(self.input_size, self.grid.size, "a width")
        rows = self._divided(self.output_size, self.grid.y.size, "a hidden size")
        return rows, columns * self.grid.y.size

    def _bias_shape(self) -> tuple[int]:
        return (self.output_size // self.grid.y.size,)

    def _of_whole(self, whole: Tensor) -> Tensor:
        rows, columns = self._shape()
        own = whole[self.grid.y.rank * rows :][:rows]
        return own[:, self.grid.x.rank * columns :][:, :columns]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return self._with_bias(Rows.apply(x, self.weight, self._way()))

    def sharded_state_dict(
        self, prefix: str = "", sharded_offsets: Any = (), metadata: Any = None
    ) -> dict[str, Any]:
        grid = self.grid
        along_y = (0, grid.y.rank, grid.y.size)
        state = self._sharded(prefix, sharded_offsets, metadata, Place(axes=(along_y,), copy=grid.x.rank))
        axes = (along_y, (1, grid.x.rank, grid.x.size))
        state[f"{prefix}weight"] = placed(state[f"{prefix}weight"], Place(axes=axes))
        return state


class Norm(torch.nn.Module):
    """LayerNorm or RMSNorm of [s/x, b, h/y], whose sums are over y as well."""

    def __init__(self, config: Any, hidden_size: int, eps: float = 1e-5, **others: Any) -> None:
        super().__init__()
        self.grid = grid_of(config)
        if hidden_size % self.grid.y.size:
            raise ValueError(
                f"--tp-2d: a norm of {hidden_size} is not divisible by --tp-y {self.grid.y.size}"
            )
        self.hidden_size, self.eps = hidden_size, eps
        self.weight = Parameter(torch.ones(hidden_size // self.grid.y.size))
        share(self.weight, self.grid)
        if config.normalization == "LayerNorm":
            self.bias = Parameter(torch.zeros(hidden_size // self.grid.y.size))
            share(self.bias, self.grid)
        else:
            self.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        normalized: Tensor = Normalized.apply(
            x, self.weight, self.bias, self.eps, self.hidden_size, self.grid.y
        )
        return normalized

    def sharded_state_dict(
        self, prefix: str = "", sharded_offsets: Any = (), metadata: Any = None
    ) -> dict[str, Any]:
        from megatron.core.transformer.utils import make_sharded_tensors_for_checkpoint

        state = make_sharded_tensors_for_checkpoint(
            self.state_dict(prefix="", keep_vars=True), prefix, {}, sharded_offsets
        )
        place = Place(axes=((0, self.grid.y.rank, self.grid.y.size),), copy=self.grid.x.rank)
        return {key: placed(entry, place) for key, entry in state.items()}


def replaced(submodules: Any, **classes: type) -> Any:
    """A table of submodules with our classes in place of Megatron's local ones; what is left out there stays out."""
    from megatron.core.tensor_parallel import ColumnParallelLinear, RowParallelLinear
    from megatron.core.transformer.identity_op import IdentityFuncOp, IdentityOp

    kinds: dict[type, type] = {ColumnLinear: ColumnParallelLinear, RowLinear: RowParallelLinear}
    changed = {}
    for name, ours in classes.items():
        given = getattr(submodules, name, None)
        module = getattr(given, "module", given)
        if module in (None, IdentityOp, IdentityFuncOp, ours):
            continue
        wanted = kinds.get(ours)
        if wanted is not None and not (isinstance(module, type) and issubclass(module, wanted)):
            raise TypeError(
                f"--tp-2d: {name} is {getattr(module, '__name__', module)}, which cannot be cut over a grid of ranks; wanted "
                f"Megatron's own {wanted.__name__} (--transformer-impl local)"
            )
        changed[name] = ours
    return dataclasses.replace(submodules, **changed)
