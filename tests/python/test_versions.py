# SPDX-License-Identifier: Apache-2.0
"""Which versions of the frameworks are accepted, and which patches belong to which.

The tests of other releases of Megatron Core install them into build/megatron, once; those of another pair of torch and
torch_npu make an environment in ~/.cache/mindspeed, once.
"""

from __future__ import annotations

import functools
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import warnings
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import mindspeed
import numpy
import parity
import pytest
import releases
from mindspeed.adaptor import Feature, Level, Patch, PatchError, needs, versions
from mindspeed.adaptor.errors import VersionError, VersionWarning
from mindspeed.adaptor.plan import make_plan
from mindspeed.features.compatibility import cuda_module
from mindspeed.features.compatibility.checkpoint_reader import with_late_indices_checked

TARGET = "megatron.core.math:double"


@pytest.mark.parametrize(
    ("version", "since", "until", "expected"),
    [
        ("0.14.0", "", "", True),
        ("0.14.0", "0.14.0", "", True),
        ("0.14.0", "0.14.1", "", False),
        ("0.14.0", "", "0.14.0", False),
        ("0.13.9", "", "0.14.0", True),
        ("0.9.0", "0.14.0", "", False),  # numbers, not text
        ("0.14", "0.14.0", "0.14.1", True),
        # What leads to a release counts as that release, on both sides of a bound.
        ("0.14.0rc3", "0.14.0", "", True),
        ("0.14.0rc3", "", "0.14.0", False),
        ("2.14.0.dev20261101+cpu", "2.14.0", "2.15.0", True),
        ("2.9.0.post8", "2.9.0", "2.9.1", True),
        ("2.13.0+cpu", "2.13.0", "2.13.1", True),
    ],
)
def test_bounds(version, since, until, expected):
    assert versions.within(version, since=since, until=until) is expected


def targets(version, *patches):
    feature = Feature(name="test", level=Level.COMPATIBILITY, patches=patches)
    plan = make_plan([feature], lambda name: True, {"megatron-core": version}.get)
    return [stack.target for stacks in plan.values() for stack in stacks.values()]


def test_a_patch_outside_of_its_versions_is_left_out():
    patches = Patch(TARGET, abs, until="0.14.0"), Patch(f"{TARGET}d", abs, since="0.14.0", until="0.17.0")
    assert targets("0.13.1", *patches) == [TARGET]
    assert targets("0.14.0rc1", *patches) == [f"{TARGET}d"]
    assert targets("0.17.0", *patches) == []


def test_two_replacements_of_one_target_may_divide_the_versions():
    assert targets("0.16.1", Patch(TARGET, abs, until="0.14.0"), Patch(TARGET, len, since="0.14.0")) == [
        TARGET
    ]


def test_bounds_without_a_known_version_are_an_error():
    with pytest.raises(PatchError, match=r"megatron\.core\.math:double.*megatron-core.*not known"):
        targets(None, Patch(TARGET, abs, since="0.14.0"))
    assert targets(None, Patch(TARGET, abs)) == [TARGET]


@pytest.mark.parametrize("bounds", [{"since": "new"}, {"since": "0.2.0", "until": "0.2.0"}, {"until": "x"}])
def test_bounds_that_mean_nothing_are_an_error(bounds):
    with pytest.raises(PatchError, match="since"):
        Patch(TARGET, abs, **bounds)


def installed(monkeypatch, **found):
    names = {"megatron_core": "megatron-core"}
    found = {names.get(name, name): version for name, version in found.items()}
    monkeypatch.setattr(versions, "installed_version", found.get)


def require():
    """Warnings and the error, as text."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            versions.require("torch", "torch_npu", "megatron-core")
        except VersionError as error:
            return [str(error)]
    assert all(w.category is VersionWarning for w in caught)
    return [str(w.message) for w in caught]


@pytest.mark.parametrize("torch", ["2.7.1", "2.13.0", "2.14.0"])
@pytest.mark.parametrize("megatron", ["0.12.1", "0.16.0rc1", "0.19.1"])
def test_tested_versions_are_accepted_in_silence(monkeypatch, torch, megatron):
    installed(monkeypatch, torch=f"{torch}+cpu", torch_npu=f"{torch}.post2", megatron_core=megatron)
    assert require() == []


@pytest.mark.parametrize("megatron", ["0.12.0", "0.19.2", "1.0"])
def test_other_versions_are_one_warning_with_the_range(monkeypatch, megatron):
    installed(monkeypatch, torch="2.13.0", torch_npu="2.13.0", megatron_core=megatron)
    (text,) = require()
    assert f"megatron-core {megatron}" in text and "0.12.1 to 0.19.1" in text and "\n" not in text


def test_all_that_is_missing_is_one_error(monkeypatch):
    installed(monkeypatch, torch="2.13.0")
    (text,) = require()
    assert "torch_npu is not installed" in text and "megatron-core is not installed" in text


def test_torch_and_torch_npu_must_be_of_one_minor_version(monkeypatch):
    installed(monkeypatch, torch="2.13.1", torch_npu="2.13.0", megatron_core="0.12.1")
    assert require() == []
    installed(monkeypatch, torch="2.13.0", torch_npu="2.9.0", megatron_core="0.12.1")
    (text,) = require()
    assert "install torch-npu==2.13.* for this torch, or torch==2.9.* for this torch_npu" in text


def test_a_version_that_is_no_number_is_an_error_with_it(monkeypatch):
    installed(monkeypatch, torch="2.13.0", torch_npu="2.13.0", megatron_core="main")
    assert "'main' is not a version number" in require()[0]


@pytest.mark.parametrize(
    ("found", "cuda", "words"),
    [
        ({"megatron_core": "0.12.1", "numpy": "1.26.4"}, True, []),
        ({"megatron_core": "0.12.1", "numpy": "2.0.0"}, True, ["numpy.product", "pip install numpy==1.26.4"]),
        ({"megatron_core": "0.13.0", "numpy": "2.3.1"}, True, []),
        ({"torch": "2.12.0", "torch_npu": "2.12.0.post3"}, True, []),
        ({"torch": "2.14.0", "torch_npu": "2.14.0"}, False, []),
        (
            {"torch": "2.14.0", "torch_npu": "2.14.0"},
            True,
            ["CPU build of torch 2.14.0", "torch==2.14.0+cpu"],
        ),
    ],
)
def test_what_versions_need_of_others(monkeypatch, found, cuda, words):
    installed(monkeypatch, **found)
    monkeypatch.setattr(needs, "has_cuda", lambda: cuda)
    told = list(needs.unmet())
    assert len(told) == bool(words) and all(word in told[0] for word in words)


def test_a_cuda_build_is_known_by_its_library(monkeypatch, tmp_path):
    monkeypatch.setattr(needs, "locate", lambda package: [tmp_path])
    assert not needs.has_cuda()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libc10_cuda.so").touch()
    assert needs.has_cuda()


JOB = Path(__file__).parents[1] / "support" / "targets_job.py"
# The last release of each minor version that the index has; "" is the one installed.
RELEASES = ("", "0.13.1", "0.14.0", "0.15.3", "0.16.1")


def targets_of(folder, version):
    environment = os.environ | ({"PYTHONPATH": folder} if folder else {})
    done = subprocess.run(
        [sys.executable, str(JOB)], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["megatron"] == (version or versions.installed_version("megatron-core"))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("version", RELEASES)
def test_every_target_exists_in_its_versions(version):
    found = targets_of(releases.release_folder(version), version)
    assert found["targets"] > 100
    assert found["missing"] == {}


@pytest.mark.slow
@pytest.mark.parametrize("version", RELEASES)
def test_trains_like_plain_pytorch(version):
    ours = parity.run("megatron", megatron=releases.release_folder(version))
    assert parity.difference(ours, parity.run("plain")) <= parity.RELATIVE_TOLERANCE


# An environment with another pair of frameworks, made once for all runs of this machine.
OTHER = "2.9.0"
ENVIRONMENT = Path.home() / ".cache" / "mindspeed" / f"torch-{OTHER}"
NO_NETWORK = re.compile("NewConnectionError|name resolution|Network is unreachable|from versions: none", re.I)
NEEDED = ("numpy", "packaging", "einops", "pyyaml", "setuptools", "megatron-core")


def pip_install(python, *arguments):
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000, check=False)
    if done.returncode and NO_NETWORK.search(done.stderr):
        pytest.skip(f"no index to install torch {OTHER} from: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


@functools.cache
def other_python():
    """The interpreter of that environment, with the package that is tested."""
    python, whole = str(ENVIRONMENT / "bin" / "python"), ENVIRONMENT / "whole"
    if not whole.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
        # The wheel of torch_npu asks for the CPU build, which an index need not have.
        pip_install(python, f"torch=={OTHER}", *(f"{name}=={metadata.version(name)}" for name in NEEDED[:-1]))
        pip_install(
            python, "--no-deps", f"torch-npu=={OTHER}", f"{NEEDED[-1]}=={metadata.version(NEEDED[-1])}"
        )
        whole.touch()
    place = ENVIRONMENT / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    shutil.rmtree(place / "mindspeed", ignore_errors=True)
    tested = Path(mindspeed.__file__).parents[1]
    shutil.copytree(tested / "mindspeed", place / "mindspeed", ignore=shutil.ignore_patterns("__pycache__"))
    for file in (tested / "mindspeed.pth", tested / "_mindspeed_hook.py"):
        shutil.copy2(file, place)
    return python


@pytest.mark.slow
def test_another_pair_of_frameworks_is_well():
    """Three GB are downloaded the first time."""
    done = subprocess.run(
        [other_python(), "-m", "mindspeed.cli.main", "doctor", "--json"],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["problems"] == [] and found["warnings"] == []
    assert versions.release(found["versions"]["torch_npu"]["found"]) == versions.release(OTHER)


@pytest.mark.slow
@pytest.mark.parametrize("level", [0, 1, 2])
def test_another_pair_of_frameworks_trains_like_plain_pytorch(level):
    python = other_python()
    ours = parity.run("megatron", "--optimization-level", str(level), python=python)
    assert ours["versions"]["torch_npu"] == OTHER
    assert parity.difference(ours, parity.run("plain", python=python)) <= parity.RELATIVE_TOLERANCE


class Samples:
    """What the index files of a dataset are looked up by."""

    def __init__(self, folder, index):
        self.config = SimpleNamespace(path_to_cache=str(folder))
        self.unique_description_hash, self.shuffle_index = "abc", index

    @with_late_indices_checked("shuffle_index")
    def sample(self, number):
        return number


def test_indices_that_are_loaded_late_are_arrays_of_numbers(tmp_path):
    numpy.save(tmp_path / "abc-shuffle_index.npy", numpy.arange(3))
    assert Samples(tmp_path, None).sample(2) == 2
    (tmp_path / "abc-shuffle_index.npy").write_bytes(pickle.dumps(print))
    with pytest.raises(pickle.UnpicklingError, match="is no array of numbers"):
        Samples(tmp_path, None).sample(2)
    assert Samples(tmp_path, numpy.arange(3)).sample(2) == 2  # loaded already


def test_a_name_that_a_release_lacks_is_left_out_unless_it_is_needed():
    other = SimpleNamespace(__name__="torch_npu.npu")
    assert list(cuda_module._redirect("torch.cuda", other, ["ExternalStream", "_sleep"])) == []
    with pytest.raises(
        PatchError, match=r"torch\.cuda:Stream \(feature cuda-module\).*'Stream' in torch_npu 2\."
    ):
        list(cuda_module._redirect("torch.cuda", other, ["Stream"]))


@pytest.mark.skipif(
    not versions.within(versions.installed_version("torch_npu"), since="2.13.0", until="2.14.0"),
    reason="for the release developed with",
)
def test_the_release_developed_with_lacks_no_name():
    targets = {patch.target for patch in cuda_module.FEATURE.patches}
    for part in ("memory", "random", "graphs", "streams", "amp"):
        for name in getattr(cuda_module, part.upper()):
            assert f"torch.cuda.{part}:{name}" in targets
    assert {f"torch.cuda:{name}" for name in cuda_module.NAMES} <= targets
    assert set(cuda_module.NAMES) >= cuda_module.NEEDED
