# SPDX-License-Identifier: Apache-2.0
"""--fp8-format hif8, --fp8-recipe mxfp8-32x32 and blockwise, where Megatron has only its own formats and recipes.

Megatron's function that makes the context of a layer is asked whether the layer is in 8 bits at all, in terms it knows,
and what it would enter is replaced by Transformer Engine's context with the recipe that was asked for.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterable
from typing import Any

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.flags import Flag
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch

HIF8, BLOCKWISE, SQUARES, TENSORWISE = "hif8", "blockwise", "mxfp8-32x32", "tensorwise"
_KNOWN = {"fp8": "e4m3", "fp8_recipe": TENSORWISE}


def _recipe_name(args: Any) -> str:
    recipe = getattr(args, "fp8_recipe", None)
    return str(getattr(recipe, "value", recipe))


def _format(args: Any) -> Any:
    """Megatron's option --fp8-format is the attribute fp8."""
    return getattr(args, "fp8", None) or getattr(args, "fp8_format", None)


def wants(args: Any) -> bool:
    """Whether the arguments or a config ask for what this feature adds."""
    fp8 = _format(args)
    return fp8 == HIF8 or (fp8 is not None and _recipe_name(args) in (BLOCKWISE, SQUARES))


def always(args: Any) -> bool:
    """A config that names what Megatron does not know may come without arguments; others take Megatron's own way."""
    return True


_OTHER_PARAMETERS = {
    "use_torch_fsdp2": "--use-torch-fsdp2 cuts parameters through their scales",
    "use_custom_fsdp": "--use-custom-fsdp cuts parameters through their scales",
    "use_megatron_fsdp": "--use-megatron-fsdp cuts parameters through their scales",
    "layerzero": "--layerzero cuts parameters through their scales",
    "use_precision_aware_optimizer": "--use-precision-aware-optimizer keeps main parameters as what is missing in bf16",
}


def _parameters(args: Any) -> Iterable[str]:
    """Of --fp8-param-gather, which is Megatron's."""
    for name, sentence in _OTHER_PARAMETERS.items():
        if getattr(args, name, False):
            yield f"{sentence}, and --fp8-param-gather has parameters in fp8; leave one of the two out"
    if _format(args) == HIF8:
        yield "--fp8-format hif8 has numbers that no operator turns back into values; leave out --fp8-param-gather"


def check(args: Any) -> Iterable[str]:
    if getattr(args, "fp8_param_gather", False) and _format(args) is not None:
        yield from _parameters(args)
    if not wants(args):
        return
    recipe = _recipe_name(args)
    if _format(args) == HIF8 and recipe not in (TENSORWISE, "delayed"):
        yield f"--fp8-format hif8 has one scale for a tensor, and --fp8-recipe is {recipe}; give --fp8-recipe tensorwise"
    if getattr(args, "transformer_impl", "transformer_engine") != "transformer_engine":
        yield "fp8 is Transformer Engine's, and --transformer-impl is local; leave out --transformer-impl local"


def _made(config: Any) -> Any:
    from megatron.core.extensions.transformer_engine import TEDelayedScaling
    from transformer_engine.common import recipe

    form = {"e4m3": recipe.Format.E4M3, "hybrid": recipe.Format.HYBRID, HIF8: recipe.Format.HIF8}[config.fp8]
    name = _recipe_name(config)
    if name == BLOCKWISE:
        return recipe.Float8BlockScaling(fp8_format=form)
    if name == SQUARES:
        return recipe.MXFP832x32BlockScaling(fp8_format=form)
    if name == TENSORWISE:
        return recipe.Float8CurrentScaling(fp8_format=form)
    exact = (False, False, not config.fp8_wgrad)
    return TEDelayedScaling(config=config, fp8_format=form, override_linear_precision=exact)


def own_context(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def get_fp8_context(config: Any, layer_no: int = -1, is_init: bool = False) -> Any:
        if not wants(config):
            return original(config, layer_no, is_init)
        known = copy.copy(config)
        for name, value in _KNOWN.items():
            object.__setattr__(known, name, value)
        context = original(known, layer_no, is_init)
        if isinstance(context, contextlib.nullcontext):
            return context
        import transformer_engine.pytorch as te
        from megatron.core import parallel_state

        if is_init:
            return te.fp8_model_init(True, recipe=_made(config), preserve_high_precision_init_val=True)
        group = None
        if parallel_state.model_parallel_is_initialized():
            group = parallel_state.get_amax_reduction_group(
                with_context_parallel=True, tp_only_amax_red=config.tp_only_amax_red
            )
        return te.fp8_autocast(enabled=True, fp8_recipe=_made(config), fp8_group=group)

    return get_fp8_context


FEATURE = Feature(
    name="fp8-recipes",
    level=Level.COMPATIBILITY,
    flags=(
        Flag(
            "--fp8-format",
            "Numbers of 8 bits in products; hif8: hifloat8, most precise near 1.",
            type=str,
            adds=(HIF8,),
            megatron=True,
            in_config=False,
        ),
        Flag(
            "--fp8-recipe",
            "Where scales come from; blockwise: of 1 x 128 and 128 x 128 numbers; mxfp8-32x32: mxfp8 with squares of weights.",
            type=str,
            adds=(BLOCKWISE, SQUARES),
            megatron=True,
            in_config=False,
        ),
    ),
    switch=always,
    check=check,
    patches=(Patch("megatron.core.fp8_utils:get_fp8_context", own_context, wraps=True),),
)
