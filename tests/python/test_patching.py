# SPDX-License-Identifier: Apache-2.0
"""The patching machinery, on small packages written for each test under the name megatron."""

from __future__ import annotations

import importlib
import sys
import textwrap

import pytest
from mindspeed.adaptor import Feature, ImportOrderError, Level, Patch, PatchError, session
from mindspeed.adaptor.plan import make_plan

FILES = {
    "megatron/__init__.py": "",
    "megatron/core/__init__.py": "",
    "megatron/core/package_info.py": "MAJOR = 0\nMINOR = 12\nPATCH = 1\nPRE_RELEASE = ''\n",
    "megatron/core/math.py": """
        def double(x): return 2 * x
        def other(x): return -x
        class Base:
            def run(self): return "original"
            @staticmethod
            def still(x): return x
            @classmethod
            def make(cls): return cls.__name__
        class Child(Base): pass
    """,
    "megatron/core/user.py": """
        from megatron.core.math import double as twice
        from megatron.core.math import Base
        def use(x): return twice(x)
    """,
    "megatron/core/greedy.py": """
        from megatron.core.math import double
        def use(x, function=double): return function(x)
    """,
    "megatron/core/cycle_a.py": """
        def f(): return "original"
        from megatron.core import cycle_b
    """,
    "megatron/core/cycle_b.py": """
        from megatron.core.cycle_a import f
        def g(): return f()
    """,
}


@pytest.fixture(autouse=True)
def package(tmp_path, monkeypatch):
    """A Megatron of a few lines, and a clean adaptor before and after."""
    session.revert()
    kept = {n: m for n, m in sys.modules.items() if n.partition(".")[0] == "megatron"}
    for name in kept:
        del sys.modules[name]
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield
    session.revert()
    for name in [n for n in sys.modules if n.partition(".")[0] == "megatron"]:
        del sys.modules[name]
    sys.modules.update(kept)


def feature(*patches, name="test", level=Level.COMPATIBILITY):
    return Feature(name=name, level=level, patches=patches)


def load(name):
    return importlib.import_module(f"megatron.core.{name}")


def triple(x):
    return 3 * x


shared = len  # a name of ours for an object that a test uses as replacement
DOUBLE = "megatron.core.math:double"


def test_replaces_when_the_module_is_imported_later():
    session.activate([feature(Patch(DOUBLE, triple))])
    assert "megatron.core.math" not in sys.modules
    assert load("user").use(5) == 15
    session.revert()
    assert load("math").double(5) == 10


def test_rebinds_aliases_of_modules_imported_before():
    user = load("user")
    session.activate([feature(Patch(DOUBLE, triple))])
    assert user.use(5) == 15
    assert user.twice is triple
    session.revert()
    assert user.use(5) == 10


def test_a_local_patch_is_of_one_name_alone():
    user = load("user")
    patch = Patch("megatron.core.user:twice", lambda old: lambda x: old(x) + 1, wraps=True, local=True)
    session.activate([feature(patch)])
    assert user.use(5) == 11
    assert load("math").double(5) == 10
    session.revert()
    assert user.use(5) == 10
    assert user.twice is load("math").double


def test_rebinds_in_a_circular_import():
    session.activate([feature(Patch("megatron.core.cycle_a:f", lambda: "new"))])
    assert load("cycle_b").g() == "new"


def test_a_reference_that_cannot_be_rebound_is_an_error_and_nothing_stays_patched():
    greedy = load("greedy")
    with pytest.raises(
        ImportOrderError, match=r"megatron\.core\.greedy\.use \(default argument\).*before the first"
    ):
        session.activate([feature(Patch(DOUBLE, triple))])
    assert greedy.use(5) == 10
    assert load("math").double(5) == 10
    assert not session.is_active()


def test_a_base_class_in_the_same_module_is_an_error_of_the_patch():
    session.activate([feature(Patch("megatron.core.math:Base", dict))])
    with pytest.raises(PatchError, match=r"Child \(base class\).*Patch these"):
        load("math")


def test_wraps_in_order_around_the_replacement():
    calls = []

    def wrapper(name):
        def wrap(original):
            def inner(x):
                calls.append(name)
                return original(x)

            return inner

        return wrap

    session.activate(
        [
            feature(Patch(DOUBLE, wrapper("b"), wraps=True), name="b", level=Level.AFFINITY),
            feature(Patch(DOUBLE, wrapper("a"), wraps=True), name="a"),
            feature(Patch(DOUBLE, triple), name="c", level=Level.ACCELERATION),
        ]
    )
    assert load("math").double(5) == 15
    assert calls == ["b", "a"]  # the last level is outermost


def test_methods_keep_their_kind():
    session.activate(
        [
            feature(
                Patch("megatron.core.math:Base.run", lambda self: "new"),
                Patch("megatron.core.math:Base.still", lambda old: lambda x: old(x) + 1, wraps=True),
                Patch("megatron.core.math:Base.make", lambda cls: cls.__name__.lower()),
            )
        ]
    )
    math = load("math")
    assert math.Base().run() == "new"
    assert math.Base.still(1) == 2 and math.Base().still(1) == 2
    assert math.Child.make() == "child"
    session.revert()
    assert math.Base().run() == "original"
    assert math.Base.still(1) == 1
    assert math.Child.make() == "Child"


def test_an_inherited_attribute_is_removed_again():
    session.activate([feature(Patch("megatron.core.math:Child.run", lambda self: "child"))])
    math = load("math")
    assert (math.Child().run(), math.Base().run()) == ("child", "original")
    session.revert()
    assert "run" not in vars(math.Child)


def test_a_missing_attribute_names_target_feature_and_version():
    session.activate([feature(Patch("megatron.core.math:triple", triple), name="mine")])
    with pytest.raises(
        PatchError, match=r"megatron\.core\.math:triple \(feature mine\).*megatron-core 0\.12\.1"
    ):
        load("math")


def test_a_missing_module_is_an_error_at_once():
    with pytest.raises(PatchError, match=r"no module megatron\.core\.nothing in megatron-core 0\.12\.1"):
        session.activate([feature(Patch("megatron.core.nothing:f", triple))])
    assert not session.is_active()


def test_a_patch_of_an_absent_optional_package_is_left_out():
    patch = Patch("megatron.training.arguments:parse_args", triple, requires="megatron.training")
    session.activate([feature(patch)])
    assert session.is_active()


def test_a_patch_error_is_not_swallowed_by_a_probe_for_an_optional_import():
    session.activate([feature(Patch("megatron.core.math:triple", triple))])
    with pytest.raises(PatchError):
        try:
            load("math")
        except ImportError:
            pytest.fail("looks like a missing optional package")


def test_two_replacements_name_both_features():
    features = [feature(Patch(DOUBLE, triple), name="one"), feature(Patch(DOUBLE, abs), name="two")]
    with pytest.raises(PatchError, match="'one'.*'two'"):
        make_plan(features, lambda name: True)


@pytest.mark.parametrize("target", ["", "math", "math:", ":f", "math.f"])
def test_a_malformed_target_is_an_error(target):
    with pytest.raises(PatchError, match="expected"):
        Patch(target, triple)


def test_activate_twice_applies_once():
    features = [feature(Patch(DOUBLE, lambda old: lambda x: old(x) + 1, wraps=True))]
    session.activate(features)
    session.activate(features)
    assert load("math").double(5) == 11
    session.revert()
    session.revert()
    assert load("math").double(5) == 10


def test_reload_is_patched_again_and_reverts():
    session.activate([feature(Patch(DOUBLE, triple))])
    math = importlib.reload(load("math"))
    assert math.double(5) == 15
    session.revert()
    assert math.double(5) == 10


def test_revert_reports_what_others_overwrote():
    session.activate([feature(Patch(DOUBLE, triple), Patch("megatron.core.math:other", triple))])
    math = load("math")
    math.double = abs
    with pytest.raises(PatchError, match=r"megatron\.core\.math\.double"):
        session.revert()
    assert math.double is abs
    assert math.other(5) == -5


def test_a_copy_taken_while_patched_is_restored():
    session.activate([feature(Patch(DOUBLE, lambda old: lambda x: 3 * x, wraps=True))])
    user = load("user")
    session.revert()
    assert user.twice(5) == 10


def test_revert_leaves_other_names_of_a_shared_object_alone():
    session.activate([feature(Patch(DOUBLE, len))])
    load("math")
    session.revert()
    assert sys.modules[__name__].shared is len


def test_the_loader_of_a_patched_module_is_the_real_one():
    session.activate([feature(Patch(DOUBLE, triple))])
    math = load("math")
    assert type(math.__loader__).__name__ == "SourceFileLoader"
    assert math.__spec__.loader is math.__loader__
