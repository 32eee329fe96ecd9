"""Call operators of libopapi directly, with torch CPU tensors as device memory.

The host implementation's device memory is host memory, so a test needs neither torch_npu nor a wheel:

    out = torch.empty(3)
    call("aclnnAdd", a, b, Scalar(1), out)

Plain ints and floats are passed as the C type that the interface table gives for that argument. The libraries are
those of MINDSPEED_LIB_DIR, or of the installed wheel.
"""

from __future__ import annotations

import concurrent.futures
import csv
import ctypes
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ABI = Path(__file__).resolve().parents[2] / "abi"
DTYPES: dict[torch.dtype, int] = {
    torch.float32: 0, torch.float16: 1, torch.int8: 2, torch.int32: 3, torch.uint8: 4, torch.int16: 6,
    torch.uint16: 7, torch.uint32: 8, torch.int64: 9, torch.uint64: 10, torch.float64: 11, torch.bool: 12,
    torch.complex64: 16, torch.complex128: 17, torch.bfloat16: 27,
    torch.float8_e5m2: 35, torch.float8_e4m3fn: 36, torch.float8_e8m0fnu: 37,
}  # fmt: skip
HIFLOAT8 = 34
FP4 = E2M1, E1M2 = (40, 41)
FORMAT_ND = 2
C_TYPES: dict[str, Any] = {
    "int64_t": ctypes.c_int64, "uint64_t": ctypes.c_uint64, "int32_t": ctypes.c_int32, "int": ctypes.c_int,
    "int8_t": ctypes.c_int8, "bool": ctypes.c_bool, "float": ctypes.c_float, "double": ctypes.c_double,
    "aclDataType": ctypes.c_int,
}  # fmt: skip


class OperatorError(RuntimeError):
    """A phase returned a code; `code` and the library's error text."""

    def __init__(self, name: str, phase: int, code: int, text: str) -> None:
        super().__init__(f"{name} phase {phase}: code {code}: {text}")
        self.code, self.text, self.phase = code, text, phase


@dataclass(frozen=True, slots=True)
class Scalar:
    """An aclScalar. Without dtype: bool, int64, double or complex128 by the value, as torch_npu makes them."""

    value: complex | float | bool
    dtype: torch.dtype | None = None

    def tensor(self) -> torch.Tensor:
        kinds = ((bool, torch.bool), (int, torch.int64), (float, torch.float64), (complex, torch.complex128))
        dtype = self.dtype or next(d for kind, d in kinds if isinstance(self.value, kind))
        return torch.tensor(self.value, dtype=dtype)


@dataclass(frozen=True, slots=True)
class IntArray:
    values: Sequence[int]


@dataclass(frozen=True, slots=True)
class FloatArray:
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class BoolArray:
    values: Sequence[bool]


@dataclass(frozen=True, slots=True)
class Typed:
    """A tensor of bytes as a type that torch has not, by its number in the interface.

    Two fp4 share a byte: they are described as clients do: twice as many along the dimension of stride 1, the offset in bytes.
    """

    bytes: torch.Tensor
    dtype: int


@dataclass(frozen=True, slots=True)
class ScalarList:
    values: Sequence[Scalar]


@functools.cache
def library_dir() -> Path:
    if "MINDSPEED_LIB_DIR" in os.environ:
        return Path(os.environ["MINDSPEED_LIB_DIR"])
    import mindspeed

    return Path(mindspeed.__file__).parent / "cann" / "lib64"


@functools.cache
def load(name: str) -> ctypes.CDLL:
    if name == "libopapi.so":
        for below in ("libascendcl.so", "libnnopbase.so"):
            load(below)
    return ctypes.CDLL(str(library_dir() / name), mode=ctypes.RTLD_GLOBAL)


def check(code: int) -> None:
    if code not in (0, 100002):  # 100002: initialised before
        raise RuntimeError(f"runtime: code {code}: {error_text()}")


def set_device() -> None:
    """Of this thread."""
    check(load("libascendcl.so").aclrtSetDevice(0))


@functools.cache
def base() -> ctypes.CDLL:
    """libnnopbase with the types of its functions set, and a device set for this thread."""
    lib, acl = load("libnnopbase.so"), load("libascendcl.so")
    acl.aclGetRecentErrMsg.restype = ctypes.c_char_p
    check(acl.aclInit(None))
    set_device()
    for name in ("Tensor", "Scalar", "IntArray", "FloatArray", "BoolArray", "TensorList", "ScalarList"):
        getattr(lib, f"aclCreate{name}").restype = ctypes.c_void_p
        getattr(lib, f"aclDestroy{name}").argtypes = [ctypes.c_void_p]
    return lib


def error_text() -> str:
    return (load("libascendcl.so").aclGetRecentErrMsg() or b"").decode()


@functools.cache
def instruction_set() -> str:
    """The one in use, by its name in HC_ISA."""
    lib = load("libascendcl.so")
    lib.hc_isa_name.restype = ctypes.c_char_p
    return str(lib.hc_isa_name(lib.hc_isa()).decode())


@functools.cache
def signatures() -> dict[str, list[tuple[str, str]]]:
    """Operator -> [(C type without const, argument name)]."""
    table: dict[str, list[tuple[str, str]]] = {}
    with (ABI / "aclnn.tsv").open(encoding="utf-8", newline="") as f:
        for row in csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE):
            args = []
            for arg in filter(None, (a.strip() for a in (row["arguments"] or "").split(","))):
                kind, _, name = arg.replace("const ", "").rpartition(" ")
                args.append((kind.strip(), name))
            table[row["operator"]] = args
    return table


def acl_tensor(value: torch.Tensor | Typed) -> int:
    """An aclTensor that borrows the memory, described as torch_npu does: storage base, offset in elements."""
    t = value.bytes if isinstance(value, Typed) else value
    dtype = value.dtype if isinstance(value, Typed) else DTYPES[value.dtype]
    n, shape, stride = t.dim(), list(t.shape), list(t.stride())
    pair = 2 if dtype in FP4 else 1
    if pair == 2:
        packed = n - 2 if n > 1 and stride[-1] != 1 else n - 1
        shape[packed] *= 2
        stride = [s if d == packed else s * 2 for d, s in enumerate(stride)]
    storage_numel = t.untyped_storage().nbytes() // t.element_size() * pair
    handle = base().aclCreateTensor(
        (ctypes.c_int64 * n)(*shape), ctypes.c_uint64(n), dtype, (ctypes.c_int64 * n)(*stride),
        ctypes.c_int64(t.storage_offset()), FORMAT_ND, (ctypes.c_int64 * 1)(storage_numel), ctypes.c_uint64(1),
        ctypes.c_void_p(t.untyped_storage().data_ptr()),
    )  # fmt: skip
    if not handle:
        raise RuntimeError(error_text())
    return int(handle)


class Arguments:
    """Converts Python arguments and destroys what it made; the handles of tensors are kept for `view_shape`."""

    def __init__(self) -> None:
        self.owned: list[tuple[str, int]] = []
        self.keep: list[Any] = []

    def make(self, kind: str, *args: Any) -> ctypes.c_void_p:
        handle = getattr(base(), f"aclCreate{kind}")(*args)
        self.owned.append((kind, handle))
        return ctypes.c_void_p(handle)

    def scalar(self, value: Scalar) -> int:
        t = value.tensor()
        return int(base().aclCreateScalar(ctypes.c_void_p(t.data_ptr()), DTYPES[t.dtype]))

    def array(self, kind: str, c_type: Any, values: Sequence[Any]) -> ctypes.c_void_p:
        return self.make(kind, (c_type * len(values))(*values), ctypes.c_uint64(len(values)))

    def convert(self, value: Any, c_type: str) -> Any:
        if value is None:
            return ctypes.c_void_p(None)
        if isinstance(value, (torch.Tensor, Typed)):
            handle = acl_tensor(value)
            self.owned.append(("Tensor", handle))
            return ctypes.c_void_p(handle)
        if isinstance(value, Scalar):
            handle = self.scalar(value)
            self.owned.append(("Scalar", handle))
            return ctypes.c_void_p(handle)
        if isinstance(value, IntArray):
            return self.array("IntArray", ctypes.c_int64, value.values)
        if isinstance(value, FloatArray):
            return self.array("FloatArray", ctypes.c_float, value.values)
        if isinstance(value, BoolArray):
            return self.array("BoolArray", ctypes.c_bool, value.values)
        if isinstance(value, ScalarList):
            handles = [self.scalar(v) for v in value.values]
            return self.array("ScalarList", ctypes.c_void_p, handles)
        if isinstance(value, (list, tuple)):
            return self.array(
                "TensorList", ctypes.c_void_p, [None if t is None else acl_tensor(t) for t in value]
            )
        if isinstance(value, torch.dtype):
            return ctypes.c_int(DTYPES[value])
        if isinstance(value, str):
            self.keep.append(ctypes.create_string_buffer(value.encode()))
            return ctypes.cast(self.keep[-1], ctypes.c_void_p)
        return C_TYPES[c_type](value)

    def destroy(self) -> None:
        for kind, handle in self.owned:
            getattr(base(), f"aclDestroy{kind}")(handle)


def view_shape(handle: ctypes.c_void_p) -> tuple[int, ...]:
    dims, rank = ctypes.POINTER(ctypes.c_int64)(), ctypes.c_uint64()
    base().aclGetViewShape(handle, ctypes.byref(dims), ctypes.byref(rank))
    return tuple(dims[i] for i in range(rank.value))


def call(
    name: str, *args: Any, stream: int | None = None, shapes_of: Sequence[int] = ()
) -> list[tuple[int, ...]]:
    """Run both phases and synchronise. Returns the view shapes of the arguments numbered in `shapes_of`.

    Where a tensor is empty this happens in a new thread: memory that the thread has from earlier operators would
    hide that an operator, asking for 0 bytes before anything else, takes NULL for a failure.

    Raises OperatorError with the phase, code and text of the library.
    """
    signature = signatures()[name]
    if len(signature) != len(args):
        raise TypeError(f"{name} takes {len(signature)} arguments {signature}, got {len(args)}")
    base()
    if stream is None and any(isinstance(a, torch.Tensor) and a.numel() == 0 for a in args):
        with concurrent.futures.ThreadPoolExecutor(1, initializer=set_device) as new_thread:
            return new_thread.submit(_call, name, args, stream, shapes_of).result()
    return _call(name, args, stream, shapes_of)


def _call(
    name: str, args: Sequence[Any], stream: int | None, shapes_of: Sequence[int]
) -> list[tuple[int, ...]]:
    signature, ops, converter = signatures()[name], load("libopapi.so"), Arguments()
    try:
        c_args = [converter.convert(a, kind) for a, (kind, _) in zip(args, signature, strict=True)]
        size, executor = ctypes.c_uint64(), ctypes.c_void_p()
        code = getattr(ops, f"{name}GetWorkspaceSize")(*c_args, ctypes.byref(size), ctypes.byref(executor))
        if code:
            raise OperatorError(name, 1, code, error_text())
        workspace = torch.empty(size.value, dtype=torch.uint8)
        pointer = ctypes.c_void_p(workspace.data_ptr() if size.value else None)
        code = getattr(ops, name)(pointer, size, executor, ctypes.c_void_p(stream))
        code = code or load("libascendcl.so").aclrtSynchronizeStream(ctypes.c_void_p(stream))
        if code:
            raise OperatorError(name, 2, code, error_text())
        return [view_shape(c_args[i]) for i in shapes_of]
    finally:
        converter.destroy()
