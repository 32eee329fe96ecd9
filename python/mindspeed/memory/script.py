# SPDX-License-Identifier: Apache-2.0
"""A rank's program with recording on: `python .../mindspeed/memory/script.py FOLDER STEPS program.py ARG...`.

The program is run as Python runs a script. torch is not imported for it: recording begins when the program has loaded torch, and torch_npu with it.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import ModuleType

from mindspeed.adaptor.importing import PostImportFinder


class _Later:
    """A recorder, once there is torch."""

    def __init__(self, folder: Path, steps: int) -> None:
        self._folder, self._steps = folder, steps
        self._recorder: object = None
        self._finder = PostImportFinder({"torch"}, self._begin)
        if "torch" in sys.modules:
            self._begin(sys.modules["torch"])
        else:
            self._finder.install()

    def _begin(self, module: ModuleType) -> None:
        from mindspeed.memory.recorder import Recorder

        self._finder.remove()
        recorder = Recorder(self._folder, self._steps)
        recorder.start()
        self._recorder = recorder

    def stop(self, ended: str = "") -> None:
        stop = getattr(self._recorder, "stop", None)
        if stop is not None:
            stop(ended)


def main() -> None:
    folder, steps, program, *arguments = sys.argv[1:]
    sys.argv = [program, *arguments]
    sys.path[0] = str(Path(program).resolve().parent)
    later = _Later(Path(folder), int(steps))
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as error:
        later.stop("" if error.code in (None, 0) else f"the program ended with exit code {error.code}")
        raise
    except BaseException as error:
        later.stop(f"{type(error).__name__}: {error}".splitlines()[0])
        raise
    later.stop("the program ended before the last step that was asked for")


if __name__ == "__main__":
    main()
