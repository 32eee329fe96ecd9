# SPDX-License-Identifier: Apache-2.0
"""Importing this takes the libraries of MINDSPEED_LIB_DIR (a lib64 folder inside a CANN tree) for the installed wheel's, in
front of `import torch`. Without the variable it does nothing."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_folder = os.environ.get("MINDSPEED_LIB_DIR")
if _folder:
    _home = str(Path(_folder).parent)
    os.environ.update(ASCEND_HOME_PATH=_home, ASCEND_TOOLKIT_HOME=_home, ASCEND_OPP_PATH=_home + "/opp")
    _paths = {path.name: path for path in sorted(Path(_folder).glob("lib*.so"))}
    _first = [_paths.pop(f"lib{name}.so") for name in ("ascendcl", "nnopbase", "opapi", "hccl")]
    for _path in [*_first, *_paths.values()]:
        ctypes.CDLL(str(_path), mode=ctypes.RTLD_GLOBAL)
