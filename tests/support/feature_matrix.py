# SPDX-License-Identifier: Apache-2.0
"""Which feature works where, made from what there is of it: rules, patches and `until`, and the tests.

docs/features/matrix.md is written from this (tools/gen_features_doc.py), and test_combinations.py asks it of all pairs. A
feature is given as bench/feature_figures.py gives it, with what it needs; a way to share work among ranks is asked for beside that.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import shlex
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import combinations
import memory_cases
from mindspeed.adaptor import Feature, Level, arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.adaptor.errors import PatchError
from mindspeed.adaptor.plan import make_plan
from mindspeed.adaptor.versions import release
from parallel_layouts import LAYOUTS

ROOT = Path(__file__).resolve().parents[2]
BENCH, SUPPORT, TESTS = ROOT / "bench", ROOT / "tests/support", ROOT / "tests/python/features"
sys.path.append(str(BENCH))
import feature_figures  # noqa: E402

Given = dict[str, Any]  # arguments, by attribute

# Of features without a row of figures: those that Megatron's own level has.
WORDS = {
    "aiqos": "--aiqos",
    "fp8-recipes": "--fp8-format hif8 --fp8-recipe tensorwise --transformer-impl transformer_engine",
    "n-shared-experts": f"{feature_figures.EXPERTS} --n-shared-experts 1",
    "npu-datadump": "--npu-datadump --npu-datadump-dir npu_datadump_of_nobody",
    "pretrained-tokenizer": f"--tokenizer-type PretrainedFromHF --tokenizer-name-or-path {BENCH}",
}
# What Megatron's parser has where a line says nothing, of what rules look at.
DEFAULTS: Given = {
    "tensor_model_parallel_size": 1,
    "pipeline_model_parallel_size": 1,
    "context_parallel_size": 1,
    "expert_model_parallel_size": 1,
    "moe_token_dispatcher_type": "allgather",
    "moe_router_topk": 2,
    "num_experts": None,
    "position_embedding_type": "learned_absolute",
    "optimizer": "adam",
    "recompute_method": None,
    "transformer_impl": "local",
    "optimization_level": 2,
    "train_iters": 20,
}


_SIZES = {
    "num_layers": 4,
    "hidden_size": 256,
    "num_attention_heads": 8,
    "seq_length": 256,
    "micro_batch_size": 2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A way to share work among ranks: how it is asked for, and how layouts of tests and Megatron's own groups call it."""

    title: str
    asked: Given
    layout: str = ""
    group: str = ""
    optimizers: tuple[str, ...] = ()


AXES = (
    Axis(title="TP", asked={"tensor_model_parallel_size": 2}, layout="tp", group="tensor_model_parallel_size"),
    Axis(title="PP", asked={"pipeline_model_parallel_size": 2}, layout="pp", group="pipeline_model_parallel_size"),
    Axis(
        title="interleaved PP",
        asked={"pipeline_model_parallel_size": 2, "num_layers_per_virtual_pipeline_stage": 1, "overlap_p2p_comm": True},
        layout="vp",
        group="virtual_pipeline_model_parallel_size",
    ),
    Axis(title="CP", asked={"context_parallel_size": 2}, layout="cp", group="context_parallel_size"),
    Axis(title="EP", asked={"expert_model_parallel_size": 2}, layout="ep", group="expert_model_parallel_size"),
    Axis(title="DP", asked={}, layout="world"),
    Axis(title="distributed optimizer", asked={"use_distributed_optimizer": True}, optimizers=("distributed", "overlap")),
    Axis(title="PyTorch's FSDP", asked={"use_torch_fsdp2": True}, optimizers=("fsdp2",)),
    Axis(
        title="Megatron's FSDP",
        asked={"use_custom_fsdp": True, "use_distributed_optimizer": True},  # its name until 0.13
        optimizers=("zero2", "zero3"),
    ),
)  # fmt: skip


@functools.cache
def features() -> tuple[Feature, ...]:
    """All that a command line can ask for or leave out."""
    return tuple(feature for feature in all_features() if feature.flags)


@functools.cache
def named(name: str) -> Feature:
    (feature,) = (feature for feature in features() if feature.name == name)
    return feature


def parsed(line: str) -> Given:
    """A line as Megatron's parser would have it: flags of features by their types, of Megatron's a number, a word or a switch."""
    flags = {flag.name: flag for flag in arguments.flags_of(all_features()).values()}
    negatives = {flag.negative: flag for flag in flags.values() if flag.negative}
    found: Given = {}
    words = shlex.split(line.format(bench=BENCH, batch=2))
    while words:
        name, values = words.pop(0), []
        while words and not words[0].startswith("--"):
            values.append(words.pop(0))
        flag = flags.get(name)
        if name in negatives:
            found[negatives[name].dest] = False
        elif flag is not None and values:
            made = [flag.convert(value) if flag.nargs is None else flag.type(value) for value in values]
            found[flag.dest] = made[0] if flag.nargs is None else made
        else:
            found[name.lstrip("-").replace("-", "_")] = _plain(values)
    return found


def _plain(values: list[str]) -> Any:
    if not values:
        return True
    return int(values[0]) if values[0].isdigit() else values[0]


@functools.cache
def line_of(name: str) -> str:
    """The least that a feature is given with: what its figures have, without what it is on without as well."""
    row, feature = feature_figures.ROWS.get(name), named(name)
    least = WORDS.get(name, "") if row is None else row.on
    options = [f"--{text.strip()}" for text in f" {row.model if row else ''}".split(" --")[1:]]
    for number in range(len(options)):
        without = " ".join([*options[:number], *options[number + 1 :], least])
        args = arguments_of(parsed(without))
        if feature.wants(args) and not refusals(args):
            options[number] = ""
    return " ".join(" ".join([*options, least]).split())


@functools.cache
def given(name: str) -> Mapping[str, Any]:
    """The arguments of that line, beyond the defaults."""
    return parsed(line_of(name))


def arguments_of(*parts: Mapping[str, Any]) -> Namespace:
    """Of a line with all these, the last one first to be heard."""
    found = combinations.nothing() | _SIZES | DEFAULTS
    for part in parts:
        found |= part
    if found["qad_teacher_load"]:
        found["qad_teacher_load"] = str(SUPPORT / "teacher")  # rules ask whether there is one
    if found["num_experts"] and found["tensor_model_parallel_size"] > 1:
        found["sequence_parallel"] = True  # as Megatron demands
    return Namespace(**found)


def _experts() -> Given:
    return parsed(f"{feature_figures.EXPERTS} --moe-grouped-gemm")


def _asked(axis: Axis, feature: Feature) -> list[Mapping[str, Any]]:
    """Experts are there where they shall be shared, and pipelines of two chunks have the layers for it."""
    needs_experts = axis.layout == "ep" and not given(feature.name).get("num_experts")
    return [*([_experts()] if needs_experts else []), given(feature.name), axis.asked]


@functools.cache
def _rivals() -> list[set[str]]:
    """Names of the features that replace one thing, of each that several replace."""
    by_target: dict[str, set[str]] = {}
    for feature in all_features():
        for patch in feature.patches:
            if not patch.wraps and not patch.overrides:
                by_target.setdefault(patch.target, set()).add(feature.name)
    return [names for names in by_target.values() if len(names) > 1]


def refusals(args: Namespace) -> list[str]:
    """What rules say, and patches that cannot be together."""
    wrong = rules.problems(features(), args, Level.ACCELERATION)
    on = [choice.feature for choice in rules.choose(features(), args, Level.ACCELERATION) if choice.on]
    names = {feature.name for feature in on}
    if any(len(rivals & names) > 1 for rivals in _rivals()):
        try:
            make_plan(on, lambda package: True)
        except PatchError as error:
            wrong.append(str(error))
    return [sentence.replace(f"{ROOT}/", "") for sentence in wrong]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Sentences; whether giving what one of them says to give is enough."""

    sentences: tuple[str, ...] = ()
    has_remedy: bool = False


def refused_on(axis: Axis, feature: Feature) -> Refusal:
    """Of a feature on ranks that share the work in this way."""
    parts = _asked(axis, feature)
    wrong = refusals(arguments_of(*parts))
    more = [given for given in map(parsed, _remedies(wrong)) if not given.keys() & axis.asked.keys()]
    return Refusal(tuple(wrong), any(not refusals(arguments_of(*parts, given)) for given in more))


@dataclass(frozen=True, slots=True)
class Pair:
    """Two features in one command: why not, and what has to be given with them where that is more than their lines."""

    refused: tuple[str, ...] = ()
    more: str = ""


@functools.cache
def usable() -> tuple[Feature, ...]:
    """Without those that are refused by themselves."""
    return tuple(feature for feature in features() if not refusals(arguments_of(given(feature.name))))


# "give --recompute-method block, or ...", "--moe-token-dispatcher-type is allgather; give alltoall": what would be right.
_OTHER_FLAG = re.compile(r"\b(?:give|add) (--[\w-]+(?: (?!or\b|and\b|with\b|for\b|N\b)[\w.]+)?)")
_OTHER_VALUE = re.compile(r": (--[\w-]+) (?:is )?[^ ;]+[^;]*; give (?!one\b|a\b|as\b)([\w.]+)")


def _remedies(sentences: Iterable[str]) -> Iterator[str]:
    for sentence in sentences:
        yield from _OTHER_FLAG.findall(sentence)
        yield from (" ".join(found) for found in _OTHER_VALUE.findall(sentence))


def together(one: Feature, other: Feature) -> Pair:
    """Lines are joined in both orders; where that is refused, what the rule says to give is given."""
    refused: list[list[str]] = []
    for parts in ((given(one.name), given(other.name)), (given(other.name), given(one.name))):
        wrong = _refused_pair(one, other, arguments_of(*parts))
        if not wrong:
            return Pair()
        refused.append(wrong)
        for remedy in _remedies(wrong):
            if not _refused_pair(one, other, arguments_of(*parts, parsed(remedy))):
                return Pair(more=remedy)
    return Pair(tuple(min(refused, key=len)))


def _refused_pair(one: Feature, other: Feature, args: Namespace) -> list[str]:
    off = [feature for feature in (one, other) if not feature.wants(args)]
    return refusals(args) + [f"{feature.title} is off" for feature in off]


def names_both(sentence: str, one: Feature, other: Feature) -> bool:
    return all(_is_named(sentence, feature) for feature in (one, other))


def _is_named(sentence: str, feature: Feature) -> bool:
    """By the feature's name, one of its flags, or what its line asks of Megatron."""
    own = {flag.name for flag in feature.flags} | {flag.negative for flag in feature.flags if flag.negative}
    asked = {word for word in line_of(feature.name).split() if word.startswith("--")}
    return feature.name in sentence or any(word in sentence for word in own | asked)


# ---- tests


def _values(tree: ast.AST) -> Iterator[dict[str, ast.expr]]:
    """Of calls the named arguments, of dictionaries the entries: what a layout is written with."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield {word.arg: word.value for word in node.keywords if word.arg}
        elif isinstance(node, ast.Dict):
            yield {
                key.value: value
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant) and isinstance(key.value, str)
            }


def _is_more_than_one(value: ast.expr | None) -> bool:
    """A number above 1; a name stands for such a number, as in tests over several numbers of ranks."""
    if isinstance(value, ast.Constant):
        return isinstance(value.value, int) and value.value > 1
    return isinstance(value, ast.Name)


def _number(value: ast.expr | None) -> int:
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, int) else 1


def _axes_of(layout: dict[str, ast.expr], in_job: bool) -> Iterator[str]:
    optimizer = getattr(layout.get("optimizer"), "value", None)
    for axis in AXES:
        names = [axis.layout, *([axis.group] if in_job else [])]
        found = any(_is_more_than_one(layout.get(name)) for name in names if name and name != "world")
        if found or optimizer in axis.optimizers:
            yield axis.title
    shared = _number(layout.get("tp")) * _number(layout.get("pp")) * _number(layout.get("cp"))
    if not any(
        isinstance(layout.get(name), ast.Name) for name in ("tp", "pp", "cp", "world")
    ) and shared < _number(layout.get("world")):
        yield "DP"


@functools.cache
def layouts_in(path: Path) -> frozenset[str]:
    """The ways to share work that a file of tests trains with, those of the jobs that it starts among them."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), set()
    is_job = path.parent == SUPPORT
    for layout in _values(tree):
        found |= set(_axes_of(layout, is_job))
    if not is_job:
        for job in _helpers(tree):
            found |= layouts_in(job)
    return frozenset(found)


# These take whatever layout a test gives.
_ANY_LAYOUT = {"memory_job", "parallel_job", "memory_cases", "combinations_job"}


def _helpers(tree: ast.AST) -> Iterator[Path]:
    """Jobs by the names of their files, cases of experts by their import."""
    texts = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    names = {Path(text).stem for text in texts if text.endswith("_job.py")}
    names |= {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    } & {"expert_cases"}
    files = (SUPPORT / f"{name}.py" for name in sorted(names - _ANY_LAYOUT))
    return (file for file in files if file.is_file())


def own_test(name: str) -> Path | None:
    """The file of the same name."""
    path = TESTS / f"test_{name.replace('-', '_')}.py"
    return path if path.is_file() else None


@functools.cache
def tests_of(name: str) -> tuple[Path, ...]:
    """The file of the same name, or those that say the feature's switch, most often first."""
    own = own_test(name)
    if own is not None:
        return (own,)
    flag = named(name).flags[0]
    found = {path: _text(path).count(flag.dest) for path in sorted(TESTS.glob("test_*.py"))}
    return tuple(sorted((path for path, count in found.items() if count), key=lambda path: -found[path]))


@functools.cache
def _text(path: Path) -> str:
    """Of a file of tests and of the jobs that it starts."""
    text = path.read_text(encoding="utf-8")
    return text + "".join(_text(job) for job in _helpers(ast.parse(text)) if job != path)


def _shared_cases(feature: Feature) -> Iterator[str]:
    """Of the trainings that several tests share, those with the feature."""
    for case in memory_cases.CASES.values():
        args = arguments_of(case["flags"])
        if feature.level == Level.ACCELERATION and feature.wants(args):
            layout = case["run"]["layout"]
            as_written = {key: ast.Constant(value) for key, value in layout.items()}
            yield from _axes_of(as_written, in_job=False)


@functools.cache
def trained_alone(name: str) -> frozenset[str]:
    """The axes that tests of the feature train on."""
    feature = named(name)
    found = {axis for path in tests_of(name) for axis in layouts_in(path)}
    return frozenset(found | set(_shared_cases(feature)))


def in_combinations(feature: Feature, axis: Axis) -> bool:
    """Whether a set of combinations of four ranks has it: tensor, pipeline and data parallelism, the distributed optimizer."""
    return feature in combinations.features() and axis.title in ("TP", "PP", "DP", "distributed optimizer")


def of_level_0() -> set[str]:
    """What the layouts of test_parallel_parity.py, which has level 0 alone, train on."""
    found: set[str] = set()
    for layout in LAYOUTS:
        written = {
            name: ast.Constant(getattr(layout, name))
            for name in ("tp", "pp", "vp", "cp", "ep", "world", "optimizer")
        }
        found |= set(_axes_of(written, in_job=False))
    return found


# ---- releases of Megatron Core

RECORD = SUPPORT / "cores.json"
INSTALLED = "0.12.1"  # what every commit is tested with


@functools.cache
def record() -> dict[str, Any]:
    """What tools/try_cores.py saw: by release and feature, targets that are missing, tests that passed and failed."""
    return json.loads(RECORD.read_text(encoding="utf-8"))


def cores() -> list[str]:
    return sorted({INSTALLED, *record()}, key=release)


def too_new(feature: Feature, core: str) -> list[str]:
    """The rule's sentence where a release is not for the feature, the same for all that are not."""
    with mock.patch.object(rules, "installed_version", lambda name: core):
        return [
            text.replace(f"and {core} is installed", "and a later one is installed")
            for text in rules.too_new(feature)
        ]
