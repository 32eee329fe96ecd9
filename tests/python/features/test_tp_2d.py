# SPDX-License-Identifier: Apache-2.0
"""--tp-2d: layers over a grid of tensor-parallel ranks train as on one rank."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import memory_cases
import pytest
import torch
from memory_cases import SIZES, case
from mindspeed.adaptor import Level, rules
from mindspeed.features.communication import _grid_layers, _grid_norm, _grid_products
from mindspeed.features.communication import tp_2d as feature
from mindspeed.features.communication._grid import Grid, Side, cut
from mindspeed.features.communication._grid_state import Place, pieces, placed

FLASH = {"use_flash_attn": True}
BESIDE = {
    "enable_overlap_ag_with_matmul": True,
    "enable_overlap_matmul_with_rs": True,
    "enable_backward_overlap_ag_with_matmul": True,
}
LAYERS = {"dtype": "fp32", "layers": 2}
FOUR = SIZES | {"BATCH": 4}
ALONE = Side(None, (0,), 0)
GRIDS = [(2, 2), (4, 1), (1, 4), (3, 2), (1, 1)]


def on(x: int, y: int, **more: Any) -> dict[str, Any]:
    return FLASH | {"tp_2d": True, "tp_x": x, "tp_y": y} | more


WHOLE = {
    "dense": case(FLASH, FOUR, **LAYERS),
    "gated": case(FLASH, FOUR, **LAYERS, model="gated"),
    "deep": case(FLASH, FOUR, **LAYERS | {"layers": 4}),
}


def compare(found: dict[str, Any], whole: dict[str, Any]) -> None:
    for name, result in found.items():
        for what in ("losses", "norms"):
            wanted = whole[name.partition(",")[0]][what]
            assert result[what] == pytest.approx(wanted, rel=1e-4), f"{name}: {what}"


@pytest.mark.slow
def test_training_is_that_of_one_rank() -> None:
    two = {"world": 2, "tp": 2} | LAYERS
    pairs = {
        "dense, by sequence": case(on(2, 1), FOUR, **two),
        "dense, by width": case(on(1, 2), FOUR, **two),
    }
    compare(memory_cases.run(pairs), memory_cases.run({"dense": WHOLE["dense"]}))


@pytest.mark.slow
def test_grids_of_four_train_like_one_rank() -> None:
    whole = memory_cases.run(WHOLE)
    four = {"world": 4} | LAYERS
    found = memory_cases.run(
        {
            "dense, saved": case(on(2, 2), FOUR, **four, tp=4, save="dense"),
            "dense, loaded, plain": case(FLASH, FOUR, **four, tp=2, load="dense"),
            "gated, saved": case(
                on(2, 2), FOUR, **four, tp=4, model="gated", optimizer="distributed", save="gated"
            ),
            "gated, loaded, plain": case(
                FLASH, FOUR, **four, tp=2, model="gated", optimizer="distributed", load="gated"
            ),
            "gated, loaded, other grid": case(
                on(1, 2), FOUR, **four, tp=2, model="gated", optimizer="distributed", load="gated"
            ),
            "dense, beside": case(on(2, 2, **BESIDE), FOUR, **four, tp=4),
            "gated, beside": case(on(2, 2, **BESIDE), FOUR, **four, tp=4, model="gated", adds=True),
            "gated, recomputed, and data": case(
                on(2, 1), FOUR, **four, tp=2, model="gated", recompute="full", optimizer="overlap"
            ),
            "deep, stages": case(on(2, 1), FOUR, **four | {"layers": 4}, tp=2, pp=2),
            "deep, interleaved": case(
                on(1, 2), FOUR, **four | {"layers": 4}, tp=2, pp=2, vp=2, overlap_p2p=True
            ),
            "dense, and sequence": case(on(2, 1), FOUR, **four, tp=2, cp=2),
        }
    )
    for model in ("dense", "gated"):
        saved = found.pop(f"{model}, saved")
        for name in [name for name in found if name.startswith(f"{model}, loaded")]:
            loaded = found.pop(name)
            for what in ("losses", "norms"):
                assert saved[what] + loaded[what] == pytest.approx(whole[model][what], rel=1e-4), name
    compare(found, whole)


def grids(x: int, y: int) -> Iterator[Grid]:
    """Of all ranks, without groups."""
    for rank in range(x * y):
        i, j = rank % x, rank // x
        along_x = tuple(range(j * x, (j + 1) * x))
        yield Grid(None, Side(None, along_x, i), Side(None, tuple(range(i, x * y, x)), j))


@pytest.mark.parametrize(("x", "y"), GRIDS)
def test_activations_are_cut_by_sequence_and_width(x: int, y: int) -> None:
    whole = torch.arange(12 * 2 * 24).view(12, 2, 24)
    rows = [torch.cat([cut(whole, grid) for grid in grids(x, y) if grid.x.rank == i], -1) for i in range(x)]
    assert torch.equal(torch.cat(rows), whole)
    assert sorted(grid.place for grid in grids(x, y)) == list(range(x * y))


def test_what_is_not_divisible_is_refused() -> None:
    grid = next(grids(2, 2))
    with pytest.raises(ValueError, match="a sequence of 5 by a hidden size of 8 is not divisible"):
        cut(torch.zeros(5, 1, 8), grid)
    with pytest.raises(ValueError, match="a sequence of 5 is not divisible by --tp-x 2"):
        _grid_products.Rows.apply(torch.zeros(5, 1, 8), torch.zeros(4, 8), _grid_products.Way(grid=grid))


def layer(kind: type, grid: Grid, outputs: int, inputs: int, halves: int = 1) -> Any:
    """A layer of a rank, without the weights that __init__ makes with groups of ranks."""
    made = kind.__new__(kind)
    torch.nn.Module.__init__(made)
    made.grid, made.halves, made.input_size, made.output_size = grid, halves, inputs, outputs
    return made


def sharded(part: torch.Tensor) -> Any:
    from megatron.core.dist_checkpointing import ShardedTensor

    return ShardedTensor.from_rank_offsets("w", part, replica_id=(0, 0, 0))


def put(whole: torch.Tensor, piece: Any) -> None:
    """As a checkpoint does; what was NaN is a number then, once."""
    assert piece.global_shape == tuple(whole.shape)
    place = whole[piece.global_slice()]
    if piece.flattened_range is not None:
        flat = place.flatten()
        assert flat[piece.flattened_range].isnan().all()
        flat[piece.flattened_range] = piece.data
        place.copy_(flat.view(place.shape))
        return
    assert place.isnan().all()
    place.copy_(piece.data)


@pytest.mark.parametrize("stretches", [1, 3])
@pytest.mark.parametrize("halves", [1, 2])
@pytest.mark.parametrize(("x", "y"), GRIDS)
def test_a_checkpoint_has_the_whole_weight(x: int, y: int, halves: int, stretches: int) -> None:
    outputs, inputs = 12 * halves * x * y, 24
    whole = torch.arange(float(outputs * inputs)).view(outputs, inputs)
    found = torch.full_like(whole, float("nan"))
    for grid in grids(x, y):
        part = layer(_grid_layers.ColumnLinear, grid, outputs, inputs, halves)._of_whole(whole)
        columns = (1, grid.y.rank, y)
        if halves == 1:
            put(found, placed(sharded(part), Place(axes=((0, grid.x.rank, x), columns))))
            continue
        numbers = range(grid.x.rank * y, (grid.x.rank + 1) * y)
        told = pieces(sharded(part), numbers, x * y, columns, apart=False)
        flat = part.flatten()
        size = -(-len(flat) // stretches)
        for begin in range(0, len(flat), size):
            stretch = slice(begin, min(begin + size, len(flat)))
            given = (part, None) if stretches == 1 else (flat[stretch], stretch)
            for piece in told.build_fn("w", given[0], (0, 0, 0), given[1]):
                put(found, piece)
    assert torch.equal(found, whole)


@pytest.mark.parametrize(("x", "y"), GRIDS)
def test_a_checkpoint_has_the_whole_weight_of_rows(x: int, y: int) -> None:
    whole = torch.arange(24.0 * 12 * x * y).view(24, 12 * x * y)
    found = torch.full_like(whole, float("nan"))
    for grid in grids(x, y):
        part = layer(_grid_layers.RowLinear, grid, *whole.shape)._of_whole(whole)
        put(found, placed(sharded(part), Place(axes=((0, grid.y.rank, y), (1, grid.x.rank, x)))))
    assert torch.equal(found, whole)


def test_gates_and_values_under_keys_of_their_own() -> None:
    """A format of later releases: each is a weight of half as many rows."""
    whole = torch.arange(48.0).view(8, 6)
    part = layer(_grid_layers.ColumnLinear, next(grids(2, 1)), 8, 6, halves=2)._of_whole(whole)
    told = pieces(sharded(part), (0,), 2, (1, 0, 1), apart=True).build()
    assert [piece.key for piece in told] == ["w_w", "w_v"]
    assert all(piece.global_shape == (4, 6) and piece.global_offset == (0, 0) for piece in told)
    assert torch.equal(torch.cat([piece.data for piece in told]), torch.cat((whole[:2], whole[4:6])))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("with_bias", [True, False])
def test_norm_of_one_rank_is_pytorchs(with_bias: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    x = (torch.randn(5, 3, 33, device="npu") + 3).to(dtype).requires_grad_()
    weight = torch.randn(33, device="npu").requires_grad_()
    bias = torch.randn(33, device="npu").requires_grad_() if with_bias else None
    found = _grid_norm.Normalized.apply(x, weight, bias, 1e-5, 33, ALONE)
    exact = [t.detach().cpu().double().requires_grad_() for t in (x, weight, bias) if t is not None]
    norm = torch.nn.functional
    if with_bias:
        wanted = norm.layer_norm(exact[0], (33,), exact[1], exact[2], 1e-5)
    else:
        wanted = norm.rms_norm(exact[0], (33,), exact[1], 1e-5)
    grad = torch.randn_like(found)
    found.backward(grad)
    wanted.backward(grad.cpu().double())
    assert found.dtype == x.dtype
    bound = 1e-5 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(found.detach().cpu().double(), wanted.detach(), rtol=bound, atol=bound)
    for ours, theirs in zip((t for t in (x, weight, bias) if t is not None), exact, strict=True):
        torch.testing.assert_close(ours.grad.cpu().double(), theirs.grad, rtol=bound, atol=bound)


def test_means_of_ranks_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mean of 1000 and a deviation of 1e-2, where a sum of squares less the mean's square has no digit left."""
    whole = 1000 + 1e-2 * torch.randn(4, 64, generator=torch.Generator().manual_seed(1))
    halves = whole.chunk(2, -1)
    own = [_grid_norm._centered(half, 32, ALONE) for half in halves]
    monkeypatch.setattr(_grid_norm, "gather", lambda part, side: torch.stack([torch.stack(s) for s in own]))
    mean, squares = _grid_norm._centered(halves[0], 32, Side(None, (0, 1), 0))
    exact = whole.double()
    assert mean.flatten().tolist() == pytest.approx(exact.mean(-1).tolist(), rel=1e-6)
    assert squares.flatten().tolist() == pytest.approx((64 * exact.var(-1, correction=0)).tolist(), rel=1e-2)


def test_layers_of_other_kinds_are_refused() -> None:
    @dataclasses.dataclass
    class Table:
        linear_fc1: Any = None

    class TELinear(torch.nn.Module):
        pass

    assert _grid_layers.replaced(Table(), linear_fc1=_grid_layers.ColumnLinear) == Table()
    with pytest.raises(TypeError, match="linear_fc1 is TELinear, which cannot be cut over a grid"):
        _grid_layers.replaced(Table(TELinear), linear_fc1=_grid_layers.ColumnLinear)


ARGS = {
    "tp_2d": True, "tp_x": 2, "tp_y": 2, "tensor_model_parallel_size": 4, "seq_length": 128, "hidden_size": 128,
    "ffn_hidden_size": 512, "transformer_impl": "local",
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, ""),
        (
            {"tp_y": 4},
            "--tp-x 2 by --tp-y 4 is no grid of --tensor-model-parallel-size 4 ranks; give --tp-y 2",
        ),
        ({"tp_x": 6}, "is no grid of --tensor-model-parallel-size 4 ranks; give --tp-x 2 and --tp-y 2"),
        ({"tp_x": -2, "tp_y": -2}, "--tp-x -2 by --tp-y -2 is no grid; give a number above 0"),
        ({"tp_x": 4, "tp_y": 1}, ""),
        ({"seq_length": 127}, "--seq-length 127 is not a multiple of --tp-x times"),
        ({"seq_length": 130, "context_parallel_size": 2}, "--seq-length 130 is not a multiple"),
        ({"hidden_size": 127}, "--hidden-size 127 is not a multiple of --tp-y (2)"),
        ({"ffn_hidden_size": 510}, "--ffn-hidden-size 510 is not a multiple of --tp-x times --tp-y (4)"),
        ({"sequence_parallel": True}, "--sequence-parallel: activations are cut by sequence already"),
        ({"num_experts": 4}, "--num-experts: experts are not cut over a grid"),
        ({"multi_latent_attention": True}, "--multi-latent-attention: its layers"),
        ({"use_legacy_models": True}, "--use-legacy-models have other layers"),
        ({"mtp_num_layers": 1}, "--mtp-num-layers: layers behind the last one"),
        ({"distribute_saved_activations": True}, "--distribute-saved-activations: ranks have"),
        ({"apply_layernorm_1p": True}, "--apply-layernorm-1p: norms over a grid"),
        ({"fp8": "e4m3"}, "--fp8-format is for Transformer Engine's layers"),
        ({"use_torch_fsdp2": True}, "--use-torch-fsdp2 shards layers itself"),
        ({"transformer_impl": "transformer_engine"}, "give --transformer-impl local"),
    ],
)
def test_rules(given: dict[str, Any], problem: str) -> None:
    found = rules.problems([feature.FEATURE], Namespace(**ARGS | given), Level.ACCELERATION)
    assert len(found) == bool(problem) and problem in "".join(found)
