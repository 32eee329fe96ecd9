# SPDX-License-Identifier: Apache-2.0
"""The frameworks and the versions of them that this release fits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata

from mindspeed.adaptor.errors import VersionError
from mindspeed.adaptor.importing import locate

# distribution -> version; tests run with exactly these.
SUPPORTED = {"torch": "2.13.0", "torch_npu": "2.13.0", "megatron-core": "0.12.1", "mindspore": "2.10.0"}
_DISTRIBUTION_OF = {"megatron": "megatron-core"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One framework as installed."""

    name: str
    found: str | None
    wanted: str

    @property
    def fits(self) -> bool:
        """A local version label (2.13.0+cpu) does not matter."""
        return self.found is not None and self.found.partition("+")[0] == self.wanted

    def __str__(self) -> str:
        found = f"{self.name} {self.found}" if self.found else f"{self.name} is not installed"
        return found if self.fits else f"{found}, this release fits {self.name}=={self.wanted}"


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
    return Component(name=name, found=installed_version(name), wanted=SUPPORTED[name])


def describe_version(module: str) -> str:
    """'megatron-core 0.12.1' for a module of Megatron: what an error message should name."""
    root = module.partition(":")[0].partition(".")[0]
    distribution = _DISTRIBUTION_OF.get(root, root)
    version = installed_version(distribution)
    return f"{distribution} {version}" if version else f"the installed {distribution}"


def require(*names: str) -> None:
    """Raise one error that lists every component that does not fit."""
    wrong = [str(c) for c in map(component, names) if not c.fits]
    if wrong:
        raise VersionError("; ".join(wrong) + ". `mindspeed doctor` shows the whole stack.")
