# SPDX-License-Identifier: Apache-2.0
"""pretrain_gpt.py of Megatron-LM, after the same without the flags from --qat-scheme on has saved a teacher (--qad-enable)."""

from __future__ import annotations

import os
import runpy
import socket
import subprocess
import sys

START = "import mindspeed.megatron_adaptor, runpy, sys; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"


def save_teacher(script: str) -> None:
    words = sys.argv[1:]
    folder = words[words.index("--qad-teacher-load") + 1]
    plain = [
        *words[: words.index("--qat-scheme")],
        "--save",
        folder,
        "--train-iters",
        "2",
        "--save-interval",
        "2",
    ]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-c", START, script, *plain]
    subprocess.run(
        command, env=os.environ | {"MASTER_PORT": port, "PYTHONPATH": ":".join(sys.path)}, check=True
    )


if __name__ == "__main__":
    import pretrain_gpt

    save_teacher(str(pretrain_gpt.__file__))
    runpy.run_path(str(pretrain_gpt.__file__), run_name="__main__")
