# SPDX-License-Identifier: Apache-2.0
"""Reading pickles from files that others may have written: data is built, nothing of theirs is called.

A pickle names functions and classes to call, so plain unpickling runs whatever its author wants. Here only classes that
hold data may be named: those listed, enumerations of modules that are loaded already, and what the program itself has
declared with torch.serialization.add_safe_globals().
"""

from __future__ import annotations

import contextlib
import enum
import pickle
import sys
from collections.abc import Iterable
from typing import IO, Any

import torch

REMEDY = (
    "reading it could run code of whoever wrote the file. If you trust the class, allow it before loading with "
    "torch.serialization.add_safe_globals([...])"
)
# What torch.distributed.checkpoint and Megatron keep about a checkpoint (the file .metadata).
METADATA = (
    *(
        f"torch.distributed.checkpoint.metadata.{name}"
        for name in (
            "BytesStorageMetadata ChunkStorageMetadata Metadata MetadataIndex StorageMeta TensorProperties "
            "TensorStorageMetadata _MEM_FORMAT_ENCODING"
        ).split()
    ),
    "torch.distributed.checkpoint.filesystem._StorageInfo",
    "torch.distributed.checkpoint.filesystem._StoragePrefix",  # in cached plans of saving
    "torch.distributed.checkpoint._extension.StreamTransformExtension",
    "torch.distributed.checkpoint.planner.SavePlan",
    "torch.distributed.checkpoint.planner.TensorWriteData",
    "torch.distributed.checkpoint.planner.WriteItem",
    "torch.distributed.checkpoint.planner.WriteItemType",
    # where older releases of torch had them
    "torch.distributed._shard.sharded_tensor.metadata.TensorProperties",
    "torch.distributed._shard.sharded_tensor.metadata.MEM_FORMAT_ENCODING",
    "megatron.core.dist_checkpointing.strategies.torch.MCoreSavePlan",
    "torch.serialization._get_layout",
    "torch.Size",
    "collections.OrderedDict",
    "pathlib.Path",
    "pathlib.PosixPath",
)
# What Megatron's scripts save beside tensors: their arguments, states of random number generators, and states of layers that
# are bytes already.
COMMON = (
    "_io.BytesIO",
    "argparse.Namespace",
    "types.SimpleNamespace",
    "collections.defaultdict",
    "pathlib.PosixPath",
    "pathlib.Path",
    "numpy.ndarray",
    "numpy.dtype",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "_codecs.encode",
)


def _loaded(module: str, name: str) -> Any:
    """An object of a module that is loaded already; None if there is none. Nothing is imported for a file."""
    return vars(sys.modules[module]).get(name) if module in sys.modules else None


def _is_data(module: str, name: str, listed: Iterable[str]) -> bool:
    found = _loaded(module, name)
    return (
        f"{module}.{name}" in listed
        or isinstance(found, torch.dtype)
        or (isinstance(found, type) and issubclass(found, enum.Enum))
        or any(
            getattr(one, "__module__", None) == module and getattr(one, "__qualname__", None) == name
            for one in torch.serialization.get_safe_globals()
        )
    )


def refuse(where: str, names: Iterable[str]) -> pickle.UnpicklingError:
    found = ", ".join(sorted(names))
    return pickle.UnpicklingError(f"{where} names {found}, which is not allowed in a checkpoint: {REMEDY}")


class _DataUnpickler(pickle.Unpickler):
    """Raises at the first name that is not allowed, before it is looked up."""

    def __init__(self, file: IO[bytes], where: str) -> None:
        super().__init__(file)
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        if not _is_data(module, name, METADATA):
            raise refuse(self._where, [f"{module}.{name}"])
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError(f"{self._where} refers to an object outside of the file")


def load_metadata(file: IO[bytes], where: str) -> Any:
    """A plain pickle of what METADATA lists."""
    return _DataUnpickler(file, where).load()


def _split(names: Iterable[str]) -> list[tuple[str, str]]:
    """Module and name."""
    return [(name.rpartition(".")[0], name.rpartition(".")[2]) for name in names]


def _resolve(names: Iterable[str]) -> list[Any]:
    """Of the listed ones those that exist in this release of their package."""
    return [found for module, name in _split(names) if (found := _loaded(module, name)) is not None]


def _dtype_classes() -> list[Any]:
    """numpy pickles a dtype as a call of its class."""
    numpy = sys.modules.get("numpy")
    found = getattr(numpy, "dtypes", None)
    return [value for value in vars(found).values() if isinstance(value, type)] if found else []


def _allowed(these: list[Any]) -> contextlib.AbstractContextManager[None]:
    """For a while. torch's safe_globals() would also forget afterwards what the program itself had declared before."""
    declared = torch.serialization.get_safe_globals()
    return torch.serialization.safe_globals([one for one in these if one not in declared])


def load_data(file: Any, where: str, **options: Any) -> Any:
    """torch.load for tensors, plain containers and what COMMON lists. `file` is a path, or open and seekable."""
    with _allowed([*_resolve(COMMON), *_dtype_classes()]):
        try:
            names = torch.serialization.get_unsafe_globals_in_checkpoint(file)
        except ValueError:  # not a zip file: an old one, or none
            names = []
        if hasattr(file, "seek"):
            file.seek(0)
        refused = [
            name for name, pair in zip(names, _split(names), strict=True) if not _is_data(*pair, COMMON)
        ]
        if refused:
            raise refuse(where, refused)
        with _allowed(_resolve(names)):
            try:
                return torch.load(file, weights_only=True, **options)
            except pickle.UnpicklingError as error:
                raise pickle.UnpicklingError(f"{where}: {_last_sentence(error)}; {REMEDY}") from None


def _last_sentence(error: pickle.UnpicklingError) -> str:
    """torch adds paragraphs of advice, the first of which is to unpickle everything."""
    lines = [line.strip() for line in str(error).splitlines() if "WeightsUnpickler error" in line]
    return lines[0] if lines else "it cannot be read as tensors and plain values"
