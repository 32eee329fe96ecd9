# SPDX-License-Identifier: Apache-2.0
"""--fp8-format hif8 and --fp8-recipe blockwise: what the parser knows, and which context a layer gets."""

from __future__ import annotations

import argparse
import contextlib
import sys
from argparse import Namespace
from types import ModuleType

import pytest
from mindspeed.adaptor import arguments, session
from mindspeed.features.precision import fp8_recipes
from mindspeed.features.precision.fp8_recipes import FEATURE, own_context
from mindspeed.standins.finder import StandInFinder


def test_the_words_are_choices_of_the_parser(capsys):
    made = argparse.ArgumentParser()
    made.add_argument("--fp8-format", choices=["e4m3", "hybrid"], dest="fp8")
    made.add_argument("--fp8-recipe", default="delayed", choices=["tensorwise", "delayed", "mxfp8"])
    arguments.add_flags(made, [FEATURE])
    args = made.parse_args(["--fp8-format", "hif8", "--fp8-recipe", "blockwise"])
    assert (args.fp8, args.fp8_recipe) == ("hif8", "blockwise")
    with pytest.raises(SystemExit):
        made.parse_args(["--fp8-format", "e3m4"])


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        ({"fp8": "hif8", "fp8_recipe": "mxfp8"}, "one scale for a tensor"),
        (
            {"fp8": "hif8", "fp8_recipe": "tensorwise", "transformer_impl": "local"},
            "leave out --transformer-impl local",
        ),
        ({"fp8": "hif8", "fp8_recipe": "delayed"}, None),
        ({"fp8": "e4m3", "fp8_recipe": "blockwise"}, None),
        ({"fp8": "e4m3", "fp8_recipe": "mxfp8", "transformer_impl": "local"}, None),
        ({"fp8": None, "fp8_recipe": "blockwise", "transformer_impl": "local"}, None),
        ({"fp8": "e4m3", "fp8_param_gather": True}, None),
        (
            {"fp8": "hif8", "fp8_recipe": "tensorwise", "fp8_param_gather": True},
            "leave out --fp8-param-gather",
        ),
        ({"fp8": "e4m3", "fp8_param_gather": True, "layerzero": True}, "--layerzero cuts parameters"),
        ({"fp8": "e4m3", "fp8_param_gather": True, "use_torch_fsdp2": True}, "leave one of the two out"),
        ({"fp8": "e4m3", "fp8_param_gather": True, "use_precision_aware_optimizer": True}, "missing in bf16"),
    ],
)
def test_rules(args, wanted):
    told = list(fp8_recipes.check(Namespace(**args)))
    assert (told == []) if wanted is None else (len(told) == 1 and wanted in told[0])


@pytest.fixture
def standins():
    """Transformer Engine's, and none of it afterwards."""
    session.revert()
    finder = StandInFinder()
    kept = {n: sys.modules.pop(n) for n in list(sys.modules) if n.partition(".")[0] == "transformer_engine"}
    finder.install()
    yield
    finder.remove()
    for name in [n for n in sys.modules if n.partition(".")[0] == "transformer_engine"]:
        del sys.modules[name]
    sys.modules.update(kept)


@pytest.fixture
def states(monkeypatch):
    """Groups that Megatron has not made."""
    core, state = ModuleType("megatron.core"), ModuleType("megatron.core.parallel_state")
    state.model_parallel_is_initialized = lambda: False
    core.parallel_state = state
    extension = ModuleType("megatron.core.extensions.transformer_engine")
    for name, module in {
        "megatron": ModuleType("megatron"), "megatron.core": core, "megatron.core.parallel_state": state,
        "megatron.core.extensions": ModuleType("megatron.core.extensions"),
        "megatron.core.extensions.transformer_engine": extension,
    }.items():  # fmt: skip
        monkeypatch.setitem(sys.modules, name, module)
    return extension


def test_contexts(states, standins):
    """Megatron is asked in words that it knows whether a layer is in 8 bits."""
    import transformer_engine.pytorch as te
    from transformer_engine.common import recipe

    states.TEDelayedScaling = lambda config, **more: recipe.DelayedScaling(**more)
    asked = []

    def original(config, layer_no, is_init):
        asked.append((config.fp8, str(config.fp8_recipe)))
        return contextlib.nullcontext() if layer_no == 0 else te.fp8_autocast(enabled=True)

    make, manager = own_context(original), te.fp8.FP8GlobalStateManager
    for form, name, kind in (
        ("hif8", "tensorwise", recipe.Float8CurrentScaling),
        ("hif8", "delayed", recipe.DelayedScaling),
        ("hybrid", "blockwise", recipe.Float8BlockScaling),
        ("e4m3", "mxfp8-32x32", recipe.MXFP832x32BlockScaling),
    ):
        config = Namespace(fp8=form, fp8_recipe=name, fp8_wgrad=True)
        with make(config, 1):
            assert manager.is_fp8_enabled() and type(manager.get_fp8_recipe()) is kind
            assert manager.get_fp8_recipe().fp8_format.name.lower() == form
        assert not manager.is_fp8_enabled()
        assert isinstance(make(config, 0), contextlib.nullcontext)
        assert (config.fp8, config.fp8_recipe) == (form, name)
    assert set(asked) == {("e4m3", "tensorwise")}
    make(Namespace(fp8="hybrid", fp8_recipe="mxfp8"), 0)
    assert asked[-1] == ("hybrid", "mxfp8")
