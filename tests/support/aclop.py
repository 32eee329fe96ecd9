# SPDX-License-Identifier: Apache-2.0
"""Call operators by name (aclop) directly, with torch CPU tensors as device memory.

    y = torch.empty(4, 3)
    call("Transpose", [x, [1, 0]], [y])

A tensor is described as torch_npu does for a contiguous one: its shape, its memory, the bytes of its elements. A list
of ints is an int64 tensor on the host. `Operand` describes anything else.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aclnn
import torch

DTYPES = aclnn.DTYPES | {torch.complex32: 33, torch.float8_e5m2: 35, torch.float8_e4m3fn: 36}
HOST = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """A descriptor and a buffer; what is not given comes from the tensor."""

    tensor: torch.Tensor | None = None
    shape: Sequence[int] | None = None
    dtype: int | None = None
    format: int = aclnn.FORMAT_ND
    bytes: int | None = None
    address: int | None = None
    placement: int = 0
    constant: torch.Tensor | None = None  # its value is kept in the descriptor, and the buffer is not read


class OperatorError(RuntimeError):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"code {code}: {text}")
        self.code, self.text = code, text


def as_operand(value: torch.Tensor | Sequence[int] | int | Operand) -> Operand:
    if isinstance(value, Operand):
        return value
    if isinstance(value, torch.Tensor):
        return Operand(tensor=value)
    return Operand(tensor=torch.tensor(value, dtype=torch.int64), placement=HOST)


def acl() -> ctypes.CDLL:
    aclnn.base()
    lib = aclnn.load("libascendcl.so")
    for name in ("aclCreateTensorDesc", "aclCreateDataBuffer", "aclopCreateAttr"):
        getattr(lib, name).restype = ctypes.c_void_p
    for name in ("aclDestroyTensorDesc", "aclDestroyDataBuffer", "aclopDestroyAttr"):
        getattr(lib, name).argtypes = [ctypes.c_void_p]
    return lib


def describe(operand: Operand) -> int:
    lib, t = acl(), operand.tensor
    shape = operand.shape if operand.shape is not None else t.shape if t is not None else ()
    dtype = operand.dtype if operand.dtype is not None else DTYPES[t.dtype] if t is not None else -1
    desc = lib.aclCreateTensorDesc(dtype, len(shape), (ctypes.c_int64 * len(shape))(*shape), operand.format)
    if operand.placement:
        aclnn.check(lib.aclSetTensorPlaceMent(ctypes.c_void_p(desc), operand.placement))
    if (c := operand.constant) is not None:
        length = ctypes.c_size_t(c.nbytes)
        aclnn.check(lib.aclSetTensorConst(ctypes.c_void_p(desc), ctypes.c_void_p(c.data_ptr()), length))
    return int(desc)


def buffer(operand: Operand) -> int:
    t = operand.tensor
    address = operand.address if operand.address is not None else t.data_ptr() if t is not None else 0
    size = operand.bytes if operand.bytes is not None else t.nbytes if t is not None else 0
    return int(acl().aclCreateDataBuffer(ctypes.c_void_p(address), ctypes.c_size_t(size)))


@contextlib.contextmanager
def attributes(values: Mapping[str, float | str]) -> Iterator[int]:
    """bool, int, float and str as the attribute of that type."""
    lib = acl()
    attr = lib.aclopCreateAttr()
    for name, value in values.items():
        if isinstance(value, str):
            code = lib.aclopSetAttrString(ctypes.c_void_p(attr), name.encode(), value.encode())
        elif isinstance(value, bool):
            code = lib.aclopSetAttrBool(ctypes.c_void_p(attr), name.encode(), ctypes.c_uint8(value))
        elif isinstance(value, float):
            code = lib.aclopSetAttrFloat(ctypes.c_void_p(attr), name.encode(), ctypes.c_float(value))
        else:
            code = lib.aclopSetAttrInt(ctypes.c_void_p(attr), name.encode(), ctypes.c_int64(value))
        aclnn.check(code)
    yield attr
    lib.aclopDestroyAttr(attr)


def call(
    name: str,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    attrs: Mapping[str, float | str] | None = None,
    *,
    function: str = "aclopCompileAndExecute",
) -> None:
    """Launch and synchronise. Raises OperatorError with the code and text of the library."""
    lib, operands = acl(), [[as_operand(v) for v in side] for side in (inputs, outputs)]
    made = [([describe(o) for o in side], [buffer(o) for o in side]) for side in operands]
    handles = [
        (ctypes.c_void_p * len(values))(*values) for side in made for values in side
    ]  # descriptors and buffers of inputs, then of outputs
    with attributes(attrs or {}) as attr:
        code = getattr(lib, function)(
            name.encode(), len(inputs), handles[0], handles[1], len(outputs), handles[2], handles[3],
            ctypes.c_void_p(attr if attrs else None), 0, 0, None, None,
        )  # fmt: skip
    text = aclnn.error_text() if code else ""
    # All of it may go once the call has returned.
    for descs, buffers in made:
        for desc in descs:
            lib.aclDestroyTensorDesc(desc)
        for handle in buffers:
            lib.aclDestroyDataBuffer(handle)
    if not code:
        code = lib.aclrtSynchronizeStream(None)
        text = aclnn.error_text() if code else ""
    if code:
        raise OperatorError(code, text)
