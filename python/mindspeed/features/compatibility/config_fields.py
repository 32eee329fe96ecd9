# SPDX-License-Identifier: Apache-2.0
"""Flags of features are fields of TransformerConfig and its subclasses.

They are real dataclass fields, keyword only, so dataclasses.fields, replace and pickle know them, and a subclass that is
defined later has them too. A field that nobody gives takes the value of the arguments in effect. The first config of a
program that gave no arguments switches on what the defaults say.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

from mindspeed.adaptor import arguments, session
from mindspeed.adaptor.discovery import all_features
from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch

_CONFIG = "megatron.core.transformer.transformer_config"
CLASSES = ("TransformerConfig", "MLATransformerConfig")


def current_value(name: str, unset: Any) -> Any:
    """Of a field that nobody gives."""
    session.ensure_configured()
    return getattr(session.current_arguments(), name, unset) if session.is_active() else unset


@functools.cache
def our_fields() -> dict[str, dataclasses.Field[Any]]:
    """One field per flag."""
    described = [
        (
            flag.dest,
            Any,
            dataclasses.field(
                default_factory=functools.partial(current_value, flag.dest, flag.unset), kw_only=True
            ),
        )
        for flag in arguments.flags_of(all_features()).values()
        if flag.in_config
    ]
    return {field.name: field for field in dataclasses.fields(dataclasses.make_dataclass("Flags", described))}


def with_our_fields(fields: dict[str, dataclasses.Field[Any]]) -> dict[str, dataclasses.Field[Any]]:
    """Those that Megatron has itself stay Megatron's."""
    return {**fields, **{name: field for name, field in our_fields().items() if name not in fields}}


def taking_our_fields(init: Callable[..., None]) -> Callable[..., None]:
    """The generated __init__ of a class that existed before the fields did."""
    signature = inspect.signature(init)
    flags = arguments.flags_of(all_features())
    names = [name for name in our_fields() if name not in signature.parameters]

    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        for name in names:
            if name in kwargs:
                setattr(self, name, kwargs.pop(name))
            elif name not in vars(self):  # not given to a subclass that has it already
                setattr(self, name, current_value(name, flags[name].unset))
        init(self, *args, **kwargs)

    more = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in names]
    __init__.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), *more]
    )
    return __init__


FEATURE = Feature(
    name="config-fields",
    level=Level.COMPATIBILITY,
    patches=tuple(
        patch
        for name in CLASSES
        for patch in (
            Patch(f"{_CONFIG}:{name}.__dataclass_fields__", with_our_fields, wraps=True),
            Patch(f"{_CONFIG}:{name}.__init__", taking_our_fields, wraps=True),
        )
    ),
)
