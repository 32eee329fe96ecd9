# SPDX-License-Identifier: Apache-2.0
"""Whose unit tests megatron_unit_tests.py runs: Megatron-LM's own, or those of the original MindSpeed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Suite:
    folder: str  # of the tests, in a checkout
    prefix: str  # of a version, as the report's headings have it
    mark: str  # behind the tool's name in the lines around the report
    version: Callable[[Path], str]  # of a checkout
    is_launched: bool  # as by torchrun; else tests are one process, and start the ranks that they want
    options: tuple[str, ...] = ()  # of pytest
    preload: tuple[str, ...] = ()  # what processes that tests start import in any case
    left_out: str = "(?!)"  # files that are not asked for
    missing: tuple[tuple[str, str], ...] = ()  # reasons of failures, before those of all suites


def version_of_megatron(checkout: Path) -> str:
    text = (checkout / "megatron/core/package_info.py").read_text(encoding="utf-8")
    return ".".join(re.findall(r"^(?:MAJOR|MINOR|PATCH) = (\d+)", text, re.M))


def version_of_mindspeed(checkout: Path) -> str:
    text = (checkout / "setup.py").read_text(encoding="utf-8")
    found = re.search(r"^\s*__?version_?_? *= *['\"]([\w.]+)['\"]", text, re.M)
    return found[1] if found else "unknown"


MEGATRON = Suite(
    folder="tests/unit_tests",
    prefix="core_v",
    mark="",
    version=version_of_megatron,
    is_launched=True,
)
MINDSPEED = Suite(
    folder="tests_extend/unit_tests",
    prefix="MindSpeed ",
    mark=" --suite mindspeed",
    version=version_of_mindspeed,
    is_launched=False,
    options=("--run-all",),
    preload=("tests_extend.unit_tests.common",),
    # What compiles operators at first use, kernels in Triton, and the vendor's library of messages between products.
    left_out=r"ops/triton/.*|.*_lcal_.*|ops/cann/test_npu_(ffn|grouped_mat_mul_all_reduce)\.py|.*/test_reuse_dptr\.py",
    missing=(
        (r"there is no (mindspeed[\w.]+):", r"asks for `\1`, which is not here"),
        (r"cannot import name '(\w+)' from '(mindspeed[\w.]*)'", r"asks for `\2.\1`, which is not here"),
        (r"No module named '(mindspeed[\w.]*)'", r"asks for `\1`, which is not here"),
        (r"libfmk_parser\.so", "asks for torchair, the vendor's graph compiler, which is not here"),
        (r"No such file or directory: '[^']*/(mindspeed/[\w/]+\.py)'", r"asks for `\1`, which is not here"),
        (r"<module '(mindspeed[\w.]*)'[^\n]* does not have the attribute '(\w+)'", r"asks for `\1.\2`, which is not here"),
        (r"module '(mindspeed[\w.]*)' has no attribute '(\w+)'", r"asks for `\1.\2`, which is not here"),
    ),
)  # fmt: skip
SUITES = {"megatron": MEGATRON, "mindspeed": MINDSPEED}
