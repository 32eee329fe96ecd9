# SPDX-License-Identifier: Apache-2.0
"""Arguments of features: Megatron's parser, rules before patches, code that configures, fields of configs.

A Megatron of a few lines (tests/support/small_megatron.py) has features made for the test.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import logging
import pickle
import sys
import threading
from argparse import Namespace

import pytest
from mindspeed import megatron_adaptor
from mindspeed.adaptor import (
    ConfigurationError,
    Conflict,
    Feature,
    Flag,
    Level,
    Need,
    Patch,
    PatchError,
    arguments,
    discovery,
    rules,
    session,
)
from mindspeed.features.compatibility import arguments as arguments_feature
from mindspeed.features.compatibility import config_fields
from small_megatron import small_megatron


def tripled(double):
    return lambda x: 1.5 * double(x)


def set_layers(args):
    args.num_layers = 7


TRIPLE = Feature(
    name="triple",
    level=Level.AFFINITY,
    summary="three instead of two",
    area="fusion",
    flags=(Flag("--use-triple", "multiply by three", negative="--no-triple"),),
    patches=(Patch("megatron.core.math:double", tripled, wraps=True),),
)
SWAP = Feature(
    name="swap",
    level=Level.ACCELERATION,
    area="memory",
    flags=(Flag("--swap", "swap"), Flag("--swap-times", "how often", type=int, default=16)),
    conflicts=(Conflict(feature="reuse", why="both own the parameters"),),
    needs=(Need(flag="--use-distributed-optimizer", why="it has the states"),),
    patches=(Patch("megatron.core.math:half", lambda x: "swapped"),),
)
REUSE = Feature(
    name="reuse",
    level=Level.ACCELERATION,
    area="memory",
    flags=(Flag("--reuse", "reuse"), Flag("--mode", "how", type=str, default="a", choices=("a", "b"))),
    check=lambda args: (
        ["mode b is for more than 4 layers"] if args.mode == "b" and args.num_layers < 5 else []
    ),
    adjust=set_layers,
    patches=(Patch("megatron.core.math:half", lambda x: "reused"),),
)
FEATURES = (arguments_feature.FEATURE, config_fields.FEATURE, TRIPLE, SWAP, REUSE)


@pytest.fixture(autouse=True)
def package(tmp_path, monkeypatch):
    """The small Megatron with the features above."""
    with small_megatron(tmp_path, monkeypatch, FEATURES):
        yield


def load(name):
    return importlib.import_module(f"megatron.{name}")


def train(monkeypatch, *words, **defaults):
    """What a script of Megatron does first: parse, then validate."""
    monkeypatch.setattr(sys, "argv", ["pretrain.py", *words])
    module = load("training.arguments")
    args = module.parse_args()
    module.validate_args(args, defaults)
    return args


def double(x):
    return load("core.math").double(x)


def test_flags_are_options_of_megatrons_parser(monkeypatch):
    args = train(
        monkeypatch, "--num-layers", "3", "--use-distributed-optimizer", "--swap", "--swap-times", "4"
    )
    assert (args.num_layers, args.swap, args.swap_times, args.optimization_level) == (3, True, 4, 2)
    assert args.use_triple is True and args.reuse is False and args.mode == "a"
    assert load("core.math").half(4) == "swapped" and double(5) == 15


def test_a_switch_that_megatron_has_too_is_on_by_its_level():
    """Megatron's default is off, which is not what somebody asked for."""
    flag = Flag("--use-fast", "fast", negative="--no-fast", megatron=True)
    feature = Feature(name="fast", level=Level.AFFINITY, area="fusion", flags=(flag,))
    parser = argparse.ArgumentParser()
    parser.add_argument("--use-fast", action="store_true")
    arguments.add_flags(parser, [feature])
    for words, wanted in (([], True), (["--use-fast"], True), (["--no-fast"], False)):
        assert feature.wants(parser.parse_args(words)) is wanted, words


def test_another_default_of_a_newer_megatron_is_not_what_somebody_asked_for():
    """Options of ours that Megatron has by now: no warning, and no error at a lower level, unless somebody gave them."""
    spin = Flag("--spin", "spin")
    momentum = Flag("--spin-momentum", "momentum", type=float, default=0.95)
    split = Flag("--spin-split", "split", negative="--spin-no-split")
    feature = Feature(name="spin", level=Level.ACCELERATION, area="optimizer", flags=(spin, momentum, split))
    parser = argparse.ArgumentParser()
    parser.add_argument("--spin-momentum", type=float, default=0.9)
    parser.add_argument("--spin-no-split", dest="spin_split", action="store_false", default=True)
    arguments.add_flags(parser, [feature])
    args = parser.parse_args([])
    assert (args.spin_momentum, args.spin_split) == (0.9, True)  # Megatron's stay
    assert rules.idle_flags([feature], args, Level.ACCELERATION) == []
    assert rules.problems([feature], args, Level.COMPATIBILITY) == []
    given = parser.parse_args(["--spin-momentum", "0.8"])
    assert "--spin-momentum has no effect" in rules.idle_flags([feature], given, Level.ACCELERATION)[0]
    assert "belongs to level 2" in rules.problems([feature], given, Level.COMPATIBILITY)[0]


def test_help_shows_them_in_groups_of_their_own(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        train(monkeypatch, "--help")
    text = capsys.readouterr().out
    assert "MindSpeed, memory:" in text and "--swap-times" in text and "how often" in text
    assert "--optimization-level {0,1,2}" in text


def test_the_user_s_own_arguments_are_kept(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pretrain.py", "--mine", "1", "--no-triple"])

    def mine(parser):
        parser.add_argument("--mine", type=int)
        return parser

    args = load("training.arguments").parse_args(mine)
    assert args.mine == 1 and args.use_triple is False


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), 15),
        (("--optimization-level", "1"), 15),
        (("--use-triple",), 15),
        (("--no-triple",), 10),
        (("--optimization-level", "0"), 10),
        (("--optimization-level", "0", "--no-triple"), 10),
    ],
)
def test_levels(monkeypatch, words, expected):
    args = train(monkeypatch, *words)
    assert double(5) == expected and args.use_triple is (expected == 15)


WRONG = {
    "--optimization-level 3": "invalid choice: 3",
    "--swap-times many --swap": "invalid int value: 'many'",
    "--mode c": "invalid choice: 'c'",
    "--optimization-level 1 --reuse": (
        "--reuse belongs to level 2 (feature reuse), and --optimization-level is 1: raise the level or leave the flag out"
    ),
    "--optimization-level 0 --use-triple": "--use-triple belongs to level 1 (feature triple)",
    "--optimization-level 0 --mode b": "--mode belongs to level 2 (feature reuse)",
    "--swap": (
        "feature swap (--swap) needs --use-distributed-optimizer: it has the states; add --use-distributed-optimizer, or leave out --swap"
    ),
    "--swap --use-distributed-optimizer --reuse": (
        "feature swap (--swap) and feature reuse (--reuse) exclude each other: both own the parameters; "
        "leave out --swap or leave out --reuse"
    ),
    "--reuse --mode b": "feature reuse (--reuse): mode b is for more than 4 layers",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_command_line_is_refused_before_anything_is_patched(monkeypatch, capsys, line):
    with pytest.raises(SystemExit) as error:
        train(monkeypatch, *line.split())
    assert error.value.code == 2
    message = capsys.readouterr().err
    assert "pretrain.py: error: " in message and WRONG[line] in message
    assert [feature.name for feature in session.active_features()] == ["arguments", "config-fields"]
    assert load("core.math").double(5) == 10


def test_all_problems_are_named_at_once(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        train(monkeypatch, "--swap", "--reuse", "--mode", "b")
    message = capsys.readouterr().err
    assert message.count("\n  - ") == 3


def test_a_worker_of_a_pool_gives_its_program_the_error(monkeypatch):
    monkeypatch.setattr("multiprocessing.parent_process", object)
    with pytest.raises(ConfigurationError, match="exclude each other"):
        train(monkeypatch, "--swap", "--use-distributed-optimizer", "--reuse")


def test_what_megatron_refuses_patches_nothing(monkeypatch):
    with pytest.raises(AssertionError):
        train(monkeypatch, "--num-layers", "0")
    assert double(5) == 10


def test_features_may_set_what_megatron_validates(monkeypatch):
    assert train(monkeypatch, "--num-layers", "-3", "--reuse").num_layers == 7


def test_a_flag_without_its_switch_is_a_warning(monkeypatch, caplog):
    with caplog.at_level(logging.WARNING, "mindspeed.adaptor"):
        train(monkeypatch, "--swap-times", "3")
    assert "--swap-times has no effect: feature swap is off (--swap is not given)" in caplog.text


def test_repatch_again_and_again():
    use = load("core.user").use
    megatron_adaptor.repatch({"use_triple": True, "num_layers": 4})
    assert use(5) == 15 and megatron_adaptor.get_mindspeed_args().num_layers == 4
    megatron_adaptor.repatch({"use_triple": False})
    assert use(5) == 10 and megatron_adaptor.get_mindspeed_args().num_layers == 4
    megatron_adaptor.repatch({"optimization_level": 0, "--use-triple": None})
    assert use(5) == 10
    megatron_adaptor.repatch({"optimization-level": "2", "swap": True, "use_distributed_optimizer": True})
    assert use(5) == 15 and load("core.math").half(1) == "swapped"
    megatron_adaptor.repatch({"swap": False, "reuse": "true"})
    assert load("core.math").half(1) == "reused"
    session.revert()
    assert use(5) == 10 and load("core.math").half(1) == 0.5


def test_all_arguments_handed_back_are_no_wishes(monkeypatch):
    """What a level has filled in among them is decided anew, and what somebody gave stays."""
    args = train(monkeypatch, "--reuse")
    assert args.use_triple is True
    megatron_adaptor.repatch(vars(args))
    assert double(5) == 15 and load("core.math").half(1) == "reused"
    megatron_adaptor.repatch(vars(args) | {"optimization_level": 0, "reuse": False})
    assert double(5) == 10 and args.use_triple is False
    megatron_adaptor.repatch(vars(args) | {"optimization_level": 2})
    assert double(5) == 15
    megatron_adaptor.repatch({"use_triple": False})
    megatron_adaptor.repatch(vars(args))
    assert double(5) == 10


def test_arguments_are_validated_again(monkeypatch):
    args = train(monkeypatch)
    assert args.use_triple is True
    args.optimization_level = 0
    load("training.arguments").validate_args(args, {})
    assert args.use_triple is False and double(5) == 10
    args.optimization_level = 2
    load("training.arguments").validate_args(args, {})
    assert args.use_triple is True and double(5) == 15


def test_problems_come_back_from_another_process():
    for problems in (["one"], ["one", "two"]):
        error = pickle.loads(pickle.dumps(ConfigurationError(problems)))
        assert error.problems == tuple(problems) and str(error) == str(ConfigurationError(problems))


@pytest.mark.parametrize(
    "changes",
    [
        {"swap_times": "many"},
        {"swap_times": 2.5},
        {"swap_times": True},
        {"swap": 3},
        {"use_triple": "perhaps"},
        {"mode": "c"},
        {"swap": True},
        {"optimization_level": 0, "swap": True},
    ],
)
def test_a_wrong_repatch_changes_nothing(changes):
    megatron_adaptor.repatch({"reuse": True})
    before = dict(vars(megatron_adaptor.get_mindspeed_args()))
    with pytest.raises(ConfigurationError) as error:
        megatron_adaptor.repatch(changes)
    assert error.value.problems
    assert vars(megatron_adaptor.get_mindspeed_args()) == before
    assert load("core.math").half(1) == "reused"


def test_a_misspelt_name_is_a_warning(caplog):
    with caplog.at_level(logging.WARNING, "mindspeed.adaptor"):
        megatron_adaptor.repatch({"swap_time": 3})
    assert "did you mean swap_times?" in caplog.text


def test_a_name_of_megatron_s_config_is_no_misspelt_flag(caplog, monkeypatch):
    """ms-swift hands over all of its arguments: gradient_accumulation_fusion is none of ours, and meant so."""
    config = load("core.transformer.transformer_config").TransformerConfig
    monkeypatch.setitem(config.__dataclass_fields__, "swap_time", None)
    with caplog.at_level(logging.WARNING, "mindspeed.adaptor"):
        megatron_adaptor.repatch({"swap_time": 3})
    assert not caplog.text and megatron_adaptor.get_mindspeed_args().swap_time == 3


def test_two_replacements_of_one_target_name_both_features():
    both = (SWAP, dataclasses.replace(REUSE, conflicts=()))
    with pytest.raises(
        PatchError, match=r"megatron.core.math:half is replaced by feature 'reuse' and by feature 'swap'"
    ):
        session._apply(both)
    assert load("core.math").half(4) == 2


def test_a_change_that_fails_leaves_the_present_set():
    megatron_adaptor.repatch({"reuse": True})
    broken = Feature(
        name="broken", level=Level.ACCELERATION, patches=(Patch("megatron.core.math:missing", len),)
    )
    load("core.math")
    with pytest.raises(PatchError, match=r"megatron.core.math:missing \(feature broken\)"):
        session._apply((TRIPLE, broken))
    assert load("core.math").half(1) == "reused" and double(5) == 15


def test_arguments_are_fields_of_configs(monkeypatch):
    train(monkeypatch, "--reuse", "--mode", "b", "--num-layers", "5")
    module = load("core.transformer.transformer_config")
    for kind in (module.TransformerConfig, module.MLATransformerConfig):
        config = kind(num_layers=5)
        assert (config.reuse, config.mode, config.use_triple, config.checked) == (True, "b", True, True)
        assert {"reuse", "mode", "use_triple", "swap_times"} <= {f.name for f in dataclasses.fields(config)}
        other = dataclasses.replace(config, mode="a")
        assert (other.mode, other.reuse, other.num_layers) == ("a", True, 5)
        copied = pickle.loads(pickle.dumps(other))
        assert copied.mode == "a" and copied == other
        assert dataclasses.asdict(config)["mode"] == "b"
        assert kind(mode="a").mode == "a"


def test_subclasses_keep_them():
    module = load("core.transformer.transformer_config")

    @dataclasses.dataclass
    class Later(module.TransformerConfig):
        mine: int = 3

    class ByHand(module.MLATransformerConfig):
        def __init__(self, mine, **rest):
            super().__init__(**rest)
            self.mine = mine

    megatron_adaptor.repatch({"mode": "b", "reuse": True, "num_layers": 9})
    assert (Later().mode, Later(mode="a").mode, Later().mine) == ("b", "a", 3)
    config = ByHand(4, num_layers=2, swap_times=5)
    assert (config.mode, config.swap_times, config.mine, config.num_layers) == ("b", 5, 4, 2)
    assert dataclasses.replace(Later(), mine=5, mode="a").mode == "a"


def test_the_first_config_of_a_program_without_arguments_switches_on_the_defaults():
    assert double(5) == 10
    config = load("core.transformer.transformer_config").TransformerConfig()
    assert double(5) == 15 and config.use_triple is True and config.optimization_level == 2


def test_arguments_can_be_asked_before_they_are_in_effect(monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["pretrain.py", "--swap-times", "3", "--num-layers", "9", "--help", "a.b=c"]
    )
    args = megatron_adaptor.get_mindspeed_args()
    assert (args.swap_times, args.num_layers, args.use_triple) == (3, 9, None)


def test_configs_lose_the_fields_on_revert():
    module = load("core.transformer.transformer_config")
    assert module.TransformerConfig().mode == "a"
    session.revert()
    assert [f.name for f in dataclasses.fields(module.TransformerConfig)] == [
        "num_layers",
        "masked_softmax_fusion",
    ]
    with pytest.raises(TypeError):
        module.TransformerConfig(mode="a")


def test_threads_that_build_configs_at_once_see_one_set():
    module = load("core.transformer.transformer_config")
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(module.TransformerConfig().use_triple)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8 and double(5) == 15


def test_a_namespace_of_another_parser_is_completed():
    args = Namespace(num_layers=3)
    session.configure(args)
    assert args.swap_times == 16 and args.use_triple is True


def test_every_feature_of_the_package_is_well_formed():
    """Names as files, flags that only one feature has, conflicts with features that exist."""
    features = discovery.all_features()
    names = {feature.name for feature in features}
    flags: dict[str, str] = {}
    for feature in features:
        assert feature.summary, feature.name
        assert {conflict.feature for conflict in feature.conflicts} <= names, feature.name
        for flag in feature.flags:
            assert flag.help and flag.name.startswith("--"), feature.name
            assert flags.setdefault(flag.name, feature.name) == feature.name, flag.name
