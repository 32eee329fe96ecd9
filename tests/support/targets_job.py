# SPDX-License-Identifier: Apache-2.0
"""Import every module that a feature of any level patches in the Megatron found, and look up the targets.

Prints a JSON object: the version of Megatron, how many targets there are, and the ones that are missing.
"""

from __future__ import annotations

import importlib
import inspect
import json
from typing import Any

import mindspeed.megatron_adaptor  # noqa: F401
from mindspeed.adaptor.discovery import all_features
from mindspeed.adaptor.importing import module_exists
from mindspeed.adaptor.rules import too_new
from mindspeed.adaptor.versions import installed_version


def problem(target: str) -> str:
    """Why a target cannot be patched; empty if it can."""
    module, _, path = target.partition(":")
    try:
        owner: Any = importlib.import_module(module)
        for name in path.split("."):
            owner = inspect.getattr_static(owner, name)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def main() -> None:
    patches = {
        (feature.name, patch.target)
        for feature in all_features()
        if not list(too_new(feature))
        for patch in feature.patches
        if patch.fits(installed_version) and not (patch.requires and not module_exists(patch.requires))
    }
    found = {f"{target} (feature {name})": problem(target) for name, target in sorted(patches)}
    missing = {where: text for where, text in found.items() if text}
    print(
        json.dumps(
            {"megatron": installed_version("megatron-core"), "targets": len(found), "missing": missing}
        )
    )


if __name__ == "__main__":
    main()
