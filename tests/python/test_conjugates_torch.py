# SPDX-License-Identifier: Apache-2.0
"""Products of complex tensors with a lazy conjugate on the device are those of the CPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch_npu  # noqa: F401
from torch import Tensor

Calls = dict[str, Callable[[dict[str, Tensor]], Tensor]]
CALLS: Calls = {
    "mm": lambda t: t["a"].conj().t() @ t["b"],
    "adjoint": lambda t: t["a"].mH @ t["b"],
    "both": lambda t: t["a"].mH @ t["b"].conj(),
    "bmm": lambda t: t["a"][None].conj().transpose(1, 2) @ t["b"][None],
    "addmm": lambda t: torch.addmm(t["c"].conj(), t["a"].mH, t["b"]),
    "addmm in place": lambda t: t["c"].clone().addmm_(t["a"].mH, t["b"], alpha=2),
    "addmm into what is lazy": lambda t: t["c"].clone().conj().addmm_(t["a"].mH, t["b"]),
    "baddbmm": lambda t: torch.baddbmm(t["c"][None].conj(), t["a"][None].mH, t["b"][None]),
    "mm out": lambda t: torch.mm(t["a"].mH, t["b"], out=torch.empty_like(t["c"])),
    "mm out of what is lazy": lambda t: torch.mm(t["a"].mH, t["b"], out=torch.empty_like(t["c"]).conj()),
    "dot": lambda t: torch.dot(t["v"].conj(), t["v"]),
    "vdot": lambda t: torch.vdot(t["v"], t["v"] * 2j),
    "vdot out": lambda t: torch.vdot(t["v"], t["v"] * 2j, out=torch.empty_like(t["v"][0])),
    "vdot of what is lazy": lambda t: torch.vdot(t["v"].conj(), t["v"]),
    "vdot of reals": lambda t: torch.vdot(t["v"].real.contiguous(), t["v"].imag.contiguous()),
    "mv": lambda t: t["a"].conj() @ t["v"],
    "einsum": lambda t: torch.einsum("ij,ik->jk", t["a"].conj(), t["b"]),
}


def tensors(device: str, dtype: torch.dtype) -> dict[str, Tensor]:
    torch.manual_seed(5)
    made = {"a": (4, 5), "b": (4, 3), "c": (5, 3), "v": (5,)}
    return {name: torch.randn(shape, dtype=dtype).to(device).requires_grad_() for name, shape in made.items()}


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("name", CALLS)
def test_the_same_as_on_the_cpu(name: str, dtype: torch.dtype) -> None:
    with torch.no_grad():
        ours, wanted = CALLS[name](tensors("npu", dtype)), CALLS[name](tensors("cpu", dtype))
    assert ours.device.type == "npu"
    torch.testing.assert_close(ours.cpu().resolve_conj(), wanted.resolve_conj())


@pytest.mark.parametrize("name", ["addmm", "dot", "vdot", "einsum"])
def test_gradients(name: str) -> None:
    """Of matmul() torch_npu has none for complex numbers."""
    gradients = []
    for device in ("npu", "cpu"):
        made = tensors(device, torch.complex64)
        CALLS[name](made).abs().sum().backward()
        gradients.append({key: t.grad.cpu().resolve_conj() for key, t in made.items() if t.grad is not None})
    torch.testing.assert_close(gradients[0], gradients[1])


def test_other_devices_go_their_way() -> None:
    a, b = torch.randn(3, 3, dtype=torch.complex64), torch.randn(3, 3, dtype=torch.complex64)
    product = a.mH @ b
    torch.testing.assert_close(product, a.t().conj_physical() @ b)
    assert torch.randn(2, dtype=torch.complex64).conj().is_conj()
