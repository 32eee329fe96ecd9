# SPDX-License-Identifier: Apache-2.0
"""What a run needs at its end is looked for at its start: packages that fit together, a folder to write, room in it."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

from errors import UserError

# The packages of the run, in the order in which they need each other; what to install where one is missing.
PACKAGES = {
    "numpy": "numpy==1.26.4",
    "torch": "torch==2.13.0",
    "torch_npu": "torch-npu==2.13.0",
    "tqdm": "tqdm",
    "einops": "einops",
    "packaging": "packaging",
    "psutil": "psutil",
    "matplotlib.pyplot": "matplotlib",
    "megatron.core": "--no-deps megatron-core==0.12.1",
    "mindspeed": "<the folder of this project>",
}
# megatron-core 0.12.1 calls it; numpy 2 has it no more.
REMOVED = "product"
# fp32 weights and both moments of Adam, which is what the optimizer saves of a parameter.
OPTIMIZER_BYTES = 12
WEIGHT_BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}


def _install(what: str) -> str:
    return f"{sys.executable} -m pip install {what}"


def _import(name: str) -> None:
    package = name.partition(".")[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or package).partition(".")[0]
        what = PACKAGES[name] if missing == package else missing
        raise UserError(f"{missing}, which the run needs, is not installed: {_install(what)}") from None
    except Exception as error:  # a wheel built for another version of what it links raises anything
        text = " ".join(str(error).split())[:200]
        raise UserError(
            f"{package} cannot be imported ({type(error).__name__}: {text}): {_install(f'--force-reinstall {PACKAGES[name]}')}"
        ) from None


def check_packages() -> None:
    """Raise UserError for a package that is missing, or was built for another numpy than is there."""
    _import("numpy")
    import numpy

    if not hasattr(numpy, REMOVED):
        raise UserError(
            f"numpy {numpy.__version__} has no numpy.{REMOVED}, which megatron-core 0.12.1 calls: {_install(PACKAGES['numpy'])}"
        )
    for name in PACKAGES:
        if not name.startswith("megatron"):  # imported by the run itself, behind the adaptor
            _import(name)
    if importlib.util.find_spec("megatron.core") is None:
        raise UserError(f"megatron.core is not installed: {_install(PACKAGES['megatron.core'])}")
    import torch

    try:
        torch.from_numpy(numpy.zeros(1)).numpy()
    except Exception:  # what torch says here: "Numpy is not available"
        raise UserError(
            f"torch {torch.__version__} was built for another numpy than {numpy.__version__}: {_install(PACKAGES['numpy'])}"
        ) from None


def check_folder(out: Path) -> None:
    """That files can be made in the folder and below; the disk may be read-only though the rights look well."""
    for folder in (out, out / "checkpoints", out / "data", out / "index"):
        try:
            if folder == out:
                folder.mkdir(parents=True, exist_ok=True)
            if folder.is_dir():
                with tempfile.TemporaryFile(dir=folder) as file:
                    file.write(b"\0" * 4096)
                    file.flush()
            elif folder.exists() or folder.is_symlink():
                raise UserError(f"--out {out}: {folder} is no folder; move it away, or name another --out")
        except OSError as error:
            raise UserError(
                f"--out {out}: {folder} cannot be written: {error.strerror}; name another --out"
            ) from None


def checkpoint_bytes(parameters: int, dtype: str) -> int:
    return parameters * (WEIGHT_BYTES[dtype] + OPTIMIZER_BYTES)


def check_space(parameters: int, options: argparse.Namespace) -> None:
    """Room for the checkpoints of the run. A new one is written before an old one goes."""
    import checkpoint

    size = checkpoint_bytes(parameters, options.dtype)
    present = len(checkpoint.newer_than(options.out, 0))
    wanted = size * max(1, checkpoint.KEPT + 2 - present)
    free = shutil.disk_usage(options.out).free
    if free < wanted:
        raise UserError(
            f"--out {options.out}: {free / 2**20:.0f} MiB are free, and the checkpoints of this run take "
            f"{wanted / 2**20:.0f} MiB ({size / 2**20:.0f} MiB each); make room, or name another --out"
        )
