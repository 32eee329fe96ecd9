# SPDX-License-Identifier: Apache-2.0
"""Versions of the frameworks: what is installed, and what this release was tested with (docs/versions.md)."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from importlib import metadata

from packaging.version import InvalidVersion, Version

from mindspeed.adaptor.errors import VersionError, VersionWarning
from mindspeed.adaptor.importing import locate


def release(text: str) -> Version:
    """The release that a version belongs to. A pre-release or a build of a day counts as the release it leads to,
    whose code it has by and large; repackaging (.post2) and local labels (+cpu) do not matter."""
    try:
        return Version(Version(text).base_version)
    except InvalidVersion:
        raise VersionError(f"{text!r} is not a version number, wanted one like 2.13.0") from None


def within(version: str, *, since: str = "", until: str = "") -> bool:
    """since <= version < until, each only if it is given."""
    found = release(version)
    return not (since and found < release(since)) and not (until and found >= release(until))


@dataclass(frozen=True, slots=True)
class Tested:
    """The oldest and the newest release that tests were run with, and all between."""

    first: str
    last: str

    def __contains__(self, version: str) -> bool:
        return release(self.first) <= release(version) <= release(self.last)

    def __str__(self) -> str:
        return self.first if self.first == self.last else f"{self.first} to {self.last}"


# By distribution.
TESTED = {
    "torch": Tested("2.7.1", "2.14.0"),
    "torch_npu": Tested("2.7.1", "2.14.0"),
    "megatron-core": Tested("0.12.1", "0.19.1"),
    "mindspore": Tested("2.10.0", "2.10.0"),
}
_DISTRIBUTION_OF = {"megatron": "megatron-core"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One framework as installed."""

    name: str
    found: str | None
    tested: Tested

    @property
    def is_tested(self) -> bool:
        return self.found is not None and self.found in self.tested

    def __str__(self) -> str:
        if self.found is None:
            return f"{self.name} is not installed, this release is tested with {self.tested}"
        return f"{self.name} {self.found}" + (
            "" if self.is_tested else f" is outside of what this release is tested with: {self.tested}"
        )


def distribution_of(module: str) -> str:
    """The distribution that a module, or a patch target in it, comes from."""
    root = module.partition(":")[0].partition(".")[0]
    return _DISTRIBUTION_OF.get(root, root)


def installed_version(distribution: str) -> str | None:
    """The version of what an import would load; None if nothing can be imported."""
    if distribution == "megatron-core":
        # A checkout of Megatron-LM on the path wins over the installed distribution, without metadata.
        return _megatron_version()
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _megatron_version() -> str | None:
    """Read from megatron/core/package_info.py, without importing Megatron."""
    for folder in locate("megatron.core"):
        try:
            text = (folder / "package_info.py").read_text(encoding="utf-8")
        except OSError:
            continue
        parts = [re.search(rf"^{name} *= *(\d+)", text, re.MULTILINE) for name in ("MAJOR", "MINOR", "PATCH")]
        tag = re.search(r"^PRE_RELEASE *= *['\"](.*)['\"]", text, re.MULTILINE)
        if all(parts):
            return ".".join(part.group(1) for part in parts if part) + (tag.group(1) if tag else "")
    return None


def component(name: str) -> Component:
    return Component(name=name, found=installed_version(name), tested=TESTED[name])


def describe_version(module: str) -> str:
    """'megatron-core 0.12.1' for a module of Megatron: what an error message should name."""
    distribution = distribution_of(module)
    version = installed_version(distribution)
    return f"{distribution} {version}" if version else f"the installed {distribution}"


def _minor(version: str) -> str:
    found = release(version)
    return f"{found.major}.{found.minor}"


def misfit(torch: str | None, torch_npu: str | None) -> str | None:
    """What is wrong with a pair; None if it fits. torch_npu is built against one minor version of torch."""
    if torch is None or torch_npu is None or _minor(torch) == _minor(torch_npu):
        return None
    return (
        f"torch_npu {torch_npu} is not for torch {torch}: install torch-npu=={_minor(torch)}.* "
        f"for this torch, or torch=={_minor(torch_npu)}.* for this torch_npu"
    )


def require(*names: str) -> None:
    """Raise one error that lists every component that is missing or does not fit the other one; warn in one line
    of a version that nobody tested."""
    found = {name: component(name) for name in names}
    wrong = [str(c) for c in found.values() if c.found is None]
    if "torch" in found and "torch_npu" in found:
        wrong += [text for text in [misfit(found["torch"].found, found["torch_npu"].found)] if text]
    if wrong:
        raise VersionError("; ".join(wrong) + ". `mindspeed doctor` shows the whole stack.")
    untested = [str(c) for c in found.values() if not c.is_tested]
    if untested:
        warnings.warn("; ".join(untested), VersionWarning, stacklevel=2)
