# SPDX-License-Identifier: Apache-2.0
"""A Megatron of a few lines, and an adaptor with the features of a test."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
import textwrap

from mindspeed.adaptor import session
from mindspeed.features.compatibility import arguments as arguments_feature
from mindspeed.features.compatibility import config_fields

FILES = {
    "megatron/__init__.py": "",
    "megatron/core/__init__.py": "",
    "megatron/core/package_info.py": "MAJOR = 0\nMINOR = 12\nPATCH = 1\nPRE_RELEASE = ''\n",
    "megatron/core/math.py": """
        def double(x): return 2 * x
        def half(x): return x / 2
    """,
    "megatron/core/user.py": "from megatron.core.math import double as twice\ndef use(x): return twice(x)\n",
    "megatron/core/transformer/__init__.py": "",
    "megatron/core/transformer/transformer_config.py": """
        from dataclasses import dataclass
        @dataclass
        class TransformerConfig:
            num_layers: int = 0
            masked_softmax_fusion: bool = True
            def __post_init__(self): self.checked = True
        @dataclass
        class MLATransformerConfig(TransformerConfig):
            rank: int = 1
    """,
    "megatron/training/__init__.py": "",
    "megatron/training/yaml_arguments.py": "def validate_yaml(args, defaults={}): return args\n",
    "megatron/training/arguments.py": """
        import argparse
        def add_megatron_arguments(parser):
            parser.add_argument("--num-layers", type=int, default=2)
            parser.add_argument("--use-distributed-optimizer", action="store_true")
            return parser
        def parse_args(extra_args_provider=None, ignore_unknown_args=False):
            parser = add_megatron_arguments(argparse.ArgumentParser(allow_abbrev=False))
            if extra_args_provider is not None: parser = extra_args_provider(parser)
            return parser.parse_known_args()[0] if ignore_unknown_args else parser.parse_args()
        def validate_args(args, defaults={}):
            assert args.num_layers > 0
            return args
    """,
}


@contextlib.contextmanager
def small_megatron(folder, monkeypatch, features, files=None):
    """The package in `folder` is Megatron, with `files` in place of some of its own, and nothing but the features is
    active; the adaptor is not active afterwards."""
    session.revert()
    kept = _taken_away()
    for name, text in (FILES | (files or {})).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    with monkeypatch.context() as changed:
        changed.syspath_prepend(str(folder))
        importlib.invalidate_caches()
        for module in (session, arguments_feature, config_fields):
            changed.setattr(module, "all_features", lambda: features)
        config_fields.our_fields.cache_clear()
        changed.setattr(sys, "argv", ["pretrain.py"])
        session.start()
        yield
        session.revert()
    config_fields.our_fields.cache_clear()
    _taken_away()
    inspect._filesbymodname.pop("megatron", None)  # inspect fails on a namespace that has had a file
    sys.modules.update(kept)


@contextlib.contextmanager
def no_megatron():
    """Whatever Megatron another test has loaded, and under which patches, is put aside."""
    kept = _taken_away()
    yield
    _taken_away()
    sys.modules.update(kept)


def _taken_away():
    """The modules of the Megatron that is loaded."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "megatron"}
