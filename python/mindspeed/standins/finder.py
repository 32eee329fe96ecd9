# SPDX-License-Identifier: Apache-2.0
"""Makes the stand-ins importable where the real packages are missing or broken.

A real package wins if it can be imported. One that is there and fails is replaced, with a line on stderr that says why:
its failing would otherwise make Megatron take a path without it, or end the process. Extension modules (amp_C) belong to
a package: they are looked for one by one, since each is built or not.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from torch.utils._triton import has_triton_package

from mindspeed.adaptor.importing import find_spec
from mindspeed.standins.refusal import ADVICE
from mindspeed.standins.versions import reported_version

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """One top-level module.

    distribution  what importlib.metadata knows it by, "" for an extension module of another package.
    probe         a submodule that must be importable as well: some packages swallow the failure of their main part.
    hidden_from   packages that import it to learn whether it works, and must learn that it does not.
    """

    name: str
    distribution: str = ""
    probe: str = ""
    hidden_from: tuple[str, ...] = ()


STAND_INS = {
    standin.name: standin
    for standin in (
        StandIn(name="amp_C"),
        StandIn(name="apex", distribution="apex"),
        StandIn(name="flash_attn", distribution="flash_attn"),
        StandIn(name="fused_weight_gradient_mlp_cuda"),
        StandIn(name="grouped_gemm", distribution="grouped_gemm"),
        StandIn(name="mamba_ssm", distribution="mamba_ssm"),
        StandIn(name="transformer_engine", distribution="transformer_engine", probe="pytorch"),
        StandIn(name="transformer_engine_torch"),
        StandIn(name="triton", distribution="triton", hidden_from=("torch", "torch_npu")),
    )
}


def standin_spec(name: str) -> ModuleSpec:
    """The spec of a stand-in's top-level module: a folder or a file here."""
    folder = FOLDER / name
    package = folder.is_dir()
    file = folder / "__init__.py" if package else folder.with_suffix(".py")
    spec = importlib.util.spec_from_file_location(
        name, file, submodule_search_locations=[str(folder)] if package else None
    )
    assert spec is not None
    return spec


def is_standin(module: ModuleType) -> bool:
    """Whether a module was made from a file below this folder under a foreign name."""
    file = getattr(module, "__file__", None)
    return (
        isinstance(file, str)
        and FOLDER in Path(file).parents
        and not module.__name__.startswith("mindspeed.")
    )


def _forget(root: str, *, without_root: bool = False) -> None:
    for name in [n for n in sys.modules if n.startswith(f"{root}.") or (n == root and not without_root)]:
        del sys.modules[name]


class RealOrStandIn(Loader):
    """Loads the real package, or if that fails the stand-in into the same module object."""

    def __init__(self, standin: StandIn, real: Any) -> None:
        self._standin = standin
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        # An extension module runs foreign code as early as here.
        try:
            return self._real.create_module(spec)
        except Exception as error:
            self._report(error)
            module = importlib.util.module_from_spec(standin_spec(spec.name))
            self._real = None
            return module

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        if self._real is not None:
            module.__loader__ = self._real
            if module.__spec__ is not None:
                module.__spec__.loader = self._real
            try:
                self._real.exec_module(module)
                if self._standin.probe:
                    importlib.import_module(f"{name}.{self._standin.probe}")
                return
            except Exception as error:
                self._report(error)
        _forget(name, without_root=True)
        self._become_standin(module)

    def _report(self, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        print(
            f"mindspeed: the installed {self._standin.name} cannot be imported ({reason}); MindSpeed's stand-in "
            "takes its place",
            file=sys.stderr,
        )

    @staticmethod
    def _become_standin(module: ModuleType) -> None:
        spec = standin_spec(module.__name__)
        fresh = importlib.util.module_from_spec(spec)
        vars(module).clear()
        vars(module).update(vars(fresh))
        assert spec.loader is not None
        spec.loader.exec_module(module)


class Distribution(metadata.Distribution):
    """The answer of importlib.metadata for a stand-in."""

    def __init__(self, name: str) -> None:
        self._name = name

    def read_text(self, filename: str) -> str | None:
        if filename not in ("METADATA", "PKG-INFO"):
            return None
        version = reported_version(self._name)
        return (
            f"Metadata-Version: 2.1\nName: {self._name}\nVersion: {version}\nSummary: MindSpeed's stand-in\n"
        )

    def locate_file(self, path: Any) -> Any:
        return FOLDER / path


class StandInFinder(MetaPathFinder):
    """First on sys.meta_path while it is installed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        root, _, rest = fullname.partition(".")
        standin = STAND_INS.get(root)
        if standin is None:
            return None
        if rest:
            return self._find_part(fullname, root, path)
        if standin.hidden_from and _importer() in standin.hidden_from:
            return None
        real = find_spec(fullname, path, without=self)
        # A folder of that name without __init__.py is nobody's package.
        if real is None or real.loader is None or real.origin is None:
            return standin_spec(fullname)
        real.loader = RealOrStandIn(standin, real.loader)
        return real

    @staticmethod
    def _find_part(fullname: str, root: str, path: Sequence[str] | None) -> ModuleSpec | None:
        module = sys.modules.get(root)
        if module is None or not is_standin(module):
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is None:
            # Without `name`: `from package import this` would otherwise replace the message by its own.
            raise ModuleNotFoundError(f"{fullname} is not in MindSpeed's stand-in for {root}. {ADVICE}.")
        return spec

    def find_distributions(self, context: metadata.DistributionFinder.Context) -> Iterator[Distribution]:
        """Those in whose place a stand-in is, or would be if it were imported now."""
        wanted = context.name and context.name.lower().replace("-", "_").replace(".", "_")
        for standin in STAND_INS.values():
            if (
                standin.distribution
                and wanted in (None, standin.distribution)
                and self._is_used(standin.name)
            ):
                yield Distribution(standin.distribution)

    def _is_used(self, name: str) -> bool:
        module = sys.modules.get(name)
        if module is not None:
            return is_standin(module)
        real = find_spec(name, None, without=self)
        return real is None or real.loader is None or real.origin is None

    def install(self) -> None:
        """Be asked first."""
        # torch keeps its answer, so it goes on knowing that there is no Triton to compile kernels with.
        has_triton_package()
        sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Out of sight, and everything loaded from here with it."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] in STAND_INS and is_standin(module):
                del sys.modules[name]


def _importer() -> str:
    """The top-level package of the code whose import statement is being carried out."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if not name.startswith(("importlib", "mindspeed.adaptor")) and name != __name__:
            return name.partition(".")[0]
        frame = frame.f_back
    return ""
