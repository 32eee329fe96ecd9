# SPDX-License-Identifier: Apache-2.0
"""--noop-layers: the model without these layers, on one rank and on a pipeline; in checkpoints the others keep their numbers."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import megatron_gpt
import memory_cases
import pytest
import torch
from mindspeed import megatron_adaptor
from mindspeed.adaptor import ConfigurationError, Level, arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.pipeline import noop_layers as feature


@pytest.fixture
def without(switch: Any) -> Any:
    def leave_out(*layers: int) -> None:
        switch(optimization_level=2, noop_layers=layers)

    yield leave_out
    megatron_adaptor.repatch({"noop_layers": None})


def test_losses_are_those_of_the_other_layers(switch: Any, without: Any) -> None:
    wanted = megatron_gpt.losses(megatron_gpt.Size(layers=2))
    without(0, 3)
    assert megatron_gpt.losses(megatron_gpt.Size(layers=4)) == wanted


def test_checkpoint_names_layers_by_number(without: Any) -> None:
    without(0, 2)
    gpt = megatron_gpt.build(megatron_gpt.Size(layers=4))
    assert [layer.layer_number for layer in gpt.decoder.layers] == [1, 2, 3, 4]
    keys = {part.key for part in gpt.sharded_state_dict().values() if hasattr(part, "global_shape")}
    assert {key.split(".")[2] for key in keys if key.startswith("decoder.layers.")} == {"1", "3"}
    assert not any(name.startswith(("decoder.layers.0", "decoder.layers.2")) for name in gpt.state_dict())


@pytest.mark.slow
def test_pipeline_trains_like_one_rank() -> None:
    flags = {"noop_layers": [0, 7], "use_flash_attn": True}
    sizes = {"layers": 8, "dtype": "fp32"}
    whole = memory_cases.run({"whole": memory_cases.case(flags, **sizes)})["whole"]
    # The first and the last chunk keep one layer of two, and with one layer a chunk none.
    stages = memory_cases.run(
        {
            f"vp{vp}": memory_cases.case(flags, **sizes, world=2, pp=2, vp=vp, overlap_p2p=vp > 1)
            for vp in (1, 2, 4)
        }
    )
    for name, found in stages.items():
        for what in ("losses", "norms"):
            assert found[what] == pytest.approx(whole[what], rel=1e-4), name


def count(args: Any, batch_size: int) -> float:
    assert len(args.moe_layer_freq) == args.num_layers
    return batch_size * sum(10 + has for has in args.moe_layer_freq)


@pytest.mark.parametrize(("frequency", "wanted"), [(1, 33), (2, 31), ([0, 1, 1, 1, 1], 32), (None, 33)])
def test_operations_are_of_the_other_layers(frequency: Any, wanted: int) -> None:
    args = Namespace(num_layers=5, noop_layers=(0, 4), moe_layer_freq=frequency)
    args.noop_layers = (0, 4) if not isinstance(frequency, list) else (3, 4)
    assert feature.counting_others(count)(args, 2) == 2 * wanted
    assert args.num_layers == 5 and args.moe_layer_freq == frequency


def test_losses_of_experts_are_over_the_other_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature.session, "current_arguments", lambda: Namespace(noop_layers=(0, 3)))
    seen: list[Any] = []
    feature.averaging_over_others(lambda **given: seen.append(given))(num_layers=4, moe_layer_freq=1)
    assert seen == [{"num_layers": 4, "moe_layer_freq": [0, 1, 1, 0]}]


def test_numbers() -> None:
    assert feature.numbers("7,0,7") == {0, 7}
    with pytest.raises(ValueError, match="x"):
        feature.numbers("0,x")


# Under the names of the original.


def test_a_block_of_another_project_leaves_layers_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from mindspeed.core.pipeline_parallel.noop_layers import adaptor, transformer

    monkeypatch.setattr(transformer, "_get_layer_offset", lambda config: 4)
    block = Namespace(
        config=Namespace(noop_layers={1, 5}, hidden_size=8, layernorm_epsilon=1e-5),
        submodules=Namespace(layer_specs=["a", "b", "c"], layer_norm="norm"),
        post_process=True,
        post_layer_norm=True,
    )
    built: list[Any] = []

    def build(spec: str, **given: Any) -> torch.nn.Module:
        built.append((spec, given.get("layer_number")))
        return torch.nn.Identity()

    transformer.build_layers_impl(block, adaptor.NoopTransformerLayer, build)
    assert [isinstance(layer, adaptor.NoopTransformerLayer) for layer in block.layers] == [False, True, False]
    assert block.layers[1].layer_number == 6 and built == [("a", 1), ("c", 3), ("norm", None)]
    assert isinstance(block.final_layernorm, torch.nn.Identity)


def test_operations_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from mindspeed.core.pipeline_parallel.noop_layers.calc_flop import calc_flop

    args = Namespace(num_layers=5, noop_layers={0, 4}, moe_layer_freq=1)
    assert calc_flop(count, args, 2) == 2 * 33 and vars(args) == {
        "num_layers": 5, "noop_layers": {0, 4}, "moe_layer_freq": 1,
    }  # fmt: skip
    args.noop_layers = None
    args.moe_layer_freq = [1] * 5
    assert calc_flop(count, args, 2) == 2 * 55


def test_losses_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from mindspeed.core.pipeline_parallel.noop_layers import moe_metrics_tracker as names

    monkeypatch.setattr(names, "get_full_args", lambda: Namespace(num_layers=4, noop_layers={1, 2}))
    values = torch.tensor([3.0, 0.0, 0.0, 5.0])
    assert names.get_mean(values, 4, {1, 2}) == 4 and names.get_mean(values, 4, None) == 2
    told: list[Any] = []
    writer = Namespace(add_scalar=lambda *given: told.append(given))
    totals = {"loss": torch.tensor(1.0)}
    names.track_moe_metrics_impl(
        reduce_aux_losses_tracker_across_ranks=lambda: told.append("reduced"),
        get_moe_layer_wise_logging_tracker=lambda: {"loss": {"values": values}},
        clear_aux_losses_tracker=lambda: told.append("cleared"),
        loss_scale=torch.tensor(0.5),
        iteration=3,
        writer=writer,
        wandb_writer=Namespace(log=lambda lines, iteration: told.append((len(lines), iteration))),
        total_loss_dict=totals,
        per_layer_logging=True,
    )
    assert told[0] == "reduced" and told[-1] == "cleared" and told[-2] == (5, 3)
    assert ("loss", torch.tensor(2.0), 3) in told and ("moe/loss_layer_3", 2.5, 3) in told
    assert totals == {"loss": torch.tensor(3.0)}


def test_arguments_that_a_program_sets_as_text() -> None:
    args = Namespace(noop_layers="7,0", coc_parallel_num="2", profile_ranks=[0])
    arguments.parse_texts(args, all_features())
    assert args == Namespace(noop_layers={0, 7}, coc_parallel_num=2, profile_ranks=[0])
    with pytest.raises(ConfigurationError, match="noop_layers='0;7'"):
        arguments.parse_texts(Namespace(noop_layers="0;7"), all_features())


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"noop_layers": (0, 3)}, ""),
        ({"noop_layers": (0, 4)}, r"--noop-layers names \[4\]: layers count from 0, and --num-layers is 4"),
        ({"noop_layers": (-1,)}, r"names \[-1\]"),
        ({"noop_layers": (0, 1, 2, 3)}, "leaves no layer"),
        ({"noop_layers": (0,), "use_legacy_models": True}, "--use-legacy-models"),
    ],
)
def test_rules(given: dict[str, Any], problem: str) -> None:
    found = rules.problems([feature.FEATURE], Namespace(**{"num_layers": 4} | given), Level.ACCELERATION)
    assert len(found) == bool(problem)
    if problem:
        with pytest.raises(AssertionError, match=problem):
            raise AssertionError(found[0])
