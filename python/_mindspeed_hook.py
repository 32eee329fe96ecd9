# SPDX-License-Identifier: Apache-2.0
"""Imported by mindspeed.pth at every interpreter start: keep it tiny, import nothing, never raise.

It watches for the import of a framework that loads CANN. Only then mindspeed.cann decides which CANN the
process uses and, where it is ours, loads it; `import torch` gets there through torch's own autoload.
"""

import sys

_FRAMEWORKS = ("torch_npu", "mindspore")


def _try(step):
    """A step of mindspeed.cann.loader. Whatever goes wrong there (SystemExit is no Exception), the import goes on: the
    framework then reports what it misses, and doctor shows this. Only Ctrl-C is the user's."""
    global failure
    try:
        from mindspeed.cann import loader

        getattr(loader, step)()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        failure = failure or error


class _Loader:
    """The framework's loader, with the choice of CANN in front of it."""

    def __init__(self, real):
        self._real = real

    def __getattr__(self, name):
        return getattr(self._real, name)

    def create_module(self, spec):
        return self._real.create_module(spec)

    def exec_module(self, module):
        module.__loader__ = module.__spec__.loader = self._real
        _try("activate")
        self._real.exec_module(module)
        _try("imported")


class _Finder:
    """In front of the other finders; costs one comparison per import."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in _FRAMEWORKS:
            return None
        for finder in list(sys.meta_path):
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


failure = None
sys.meta_path.insert(0, _Finder())
