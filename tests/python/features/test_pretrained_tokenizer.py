# SPDX-License-Identifier: Apache-2.0
"""--tokenizer-type PretrainedFromHF: the type is in Megatron's parser, and Megatron builds what it names."""

from __future__ import annotations

import argparse
from argparse import Namespace

import pytest
from mindspeed.adaptor import Level, rules
from mindspeed.features.tooling import pretrained_tokenizer
from mindspeed.features.tooling.pretrained_tokenizer import FEATURE, TYPE


def parser() -> argparse.ArgumentParser:
    """As Megatron declares its own."""
    made = argparse.ArgumentParser()
    made.add_argument("--tokenizer-type", choices=["HuggingFaceTokenizer", "NullTokenizer"])
    made.add_argument("--tokenizer-model")
    return made


def test_the_type_is_a_choice_of_the_parser(capsys):
    made = parser()
    for _ in range(2):
        for flag in FEATURE.flags:
            flag.add_to(made, made._option_string_actions)
    args = made.parse_args(["--tokenizer-type", TYPE, "--tokenizer-name-or-path", "x"])
    assert (args.tokenizer_type, args.tokenizer_not_use_fast) == (TYPE, False)
    assert made.parse_args(["--tokenizer-type", "NullTokenizer"]).tokenizer_type == "NullTokenizer"
    with pytest.raises(SystemExit):
        made.parse_args(["--tokenizer-type", "Other"])
    assert capsys.readouterr().err.count(TYPE) == 2


@pytest.mark.parametrize("newer", [False, True])
def test_megatron_builds_it(newer):
    seen = {}

    def build(args):
        seen.update(vars(args))
        args.padded_vocab_size = 128
        return "the tokenizer"

    fields = {"tokenizer_hf_use_fast": False, "tokenizer_hf_no_use_fast": False} if newer else {}
    args = Namespace(tokenizer_type=TYPE, tokenizer_model=None, tokenizer_name_or_path="folder", tokenizer_not_use_fast=False, **fields)  # fmt: skip
    before = dict(vars(args))
    assert pretrained_tokenizer.building(build)(args) == "the tokenizer"
    assert (seen["tokenizer_type"], seen["tokenizer_model"]) == ("HuggingFaceTokenizer", "folder")
    assert seen.get("tokenizer_hf_use_fast") == (True if newer else None)
    assert vars(args) == before | {"padded_vocab_size": 128}


def test_another_type_is_left_alone():
    args = Namespace(tokenizer_type="NullTokenizer")
    assert pretrained_tokenizer.building(lambda given: given)(args) is args


def test_arguments_are_as_before_when_building_fails():
    def fail(args):
        raise OSError(args.tokenizer_model)

    args = Namespace(tokenizer_type=TYPE, tokenizer_model=None, tokenizer_name_or_path="folder")
    with pytest.raises(OSError, match="folder"):
        pretrained_tokenizer.building(fail)(args)
    assert (args.tokenizer_type, args.tokenizer_model) == (TYPE, None)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "give --tokenizer-name-or-path DIR"),
        ({"tokenizer_name_or_path": "/nowhere"}, "--tokenizer-name-or-path /nowhere is no folder"),
        ({"tokenizer_name_or_path": "/", "vocab_extra_ids": 7}, "--vocab-extra-ids has no meaning"),
        (
            {"tokenizer_name_or_path": "/", "trust_remote_code": True},
            "would run code of the tokenizer's folder",
        ),
        (
            {"tokenizer_name_or_path": "/", "tokenizer_not_use_fast": True},
            "this release of Megatron-LM has no such choice",
        ),
        ({"tokenizer_name_or_path": "/", "tokenizer_not_use_fast": True, "tokenizer_hf_use_fast": False}, ""),
        ({"tokenizer_name_or_path": "/"}, ""),
    ],
)
def test_rules(given, problem):
    args = Namespace(tokenizer_type=TYPE, **given)
    found = rules.problems([FEATURE], args, Level.COMPATIBILITY)
    assert len(found) == bool(problem) and problem in "".join(found)
