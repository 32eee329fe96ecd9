# SPDX-License-Identifier: Apache-2.0
"""Copies between devices, on every device and on the CPU: what tests/python/test_device_copies.py runs.

    device_copies.py PART [full]      prints what differs from the CPU, one line each, and "done"

A part is a generator of differences, below; "all" and "queued" are several. Without "full" each combination of the other
things is tried between one pair of devices, the next one between the next.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "whole": lambda x: x,
    "permute": lambda x: x.permute(2, 0, 1),
    "transpose": lambda x: x.transpose(0, 2),
    "transpose last": lambda x: x.mT,
    "transpose part": lambda x: x[1:3].transpose(1, 2),
    "first": lambda x: x[1:3],
    "middle": lambda x: x[:, 2:5],
    "last": lambda x: x[..., 1:7],
    "all three": lambda x: x[1:, 2:5, 3:],
    "step first": lambda x: x[::2],
    "step middle": lambda x: x[:, ::2],
    "step last": lambda x: x[..., ::3],
    "steps": lambda x: x[1::2, ::3, 2::2],
    "select first": lambda x: x[2],
    "select middle": lambda x: x[:, 2],
    "select last": lambda x: x[..., 3],
    "column": lambda x: x[1, :, 3],
    "step and select": lambda x: x[::2, :, 1],
    "element": lambda x: x[1, 2, 3],
    "expand": lambda x: x[:, :1].expand(4, 5, 8),
    "expand last": lambda x: x[..., 3:4].expand_as(x),
    "expand more": lambda x: x.unsqueeze(1).expand(4, 2, 6, 8),
    "expand one": lambda x: x[1, 2, 3].expand(3, 2),
    "narrow": lambda x: x.narrow(2, 3, 4),
    "chunk": lambda x: x.chunk(3, dim=1)[1],
    "unfold": lambda x: x.unfold(1, 3, 2),
    "unfold last": lambda x: x.unfold(2, 4, 1),
    "diagonal": lambda x: x.diagonal(dim1=1, dim2=2),
    "squeeze": lambda x: x[:, 2:3, 1:6].squeeze(1),
    "as_strided": lambda x: x.as_strided((3, 4), (17, 3), 5),
    "as_strided overlapping": lambda x: x.as_strided((5, 7), (2, 3), 1),
    "as_strided flat": lambda x: x.as_strided((9,), (7,), 2),
    "flatten a permutation": lambda x: x.permute(1, 0, 2)[:, :2].flatten(1),
    "view of a part": lambda x: x[:, :, 2:6].unflatten(0, (2, 2)),
    "empty": lambda x: x[2:2, ::2],
    "empty last": lambda x: x[..., 5:5].permute(1, 0, 2),
}
DTYPES = [
    torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool, torch.complex64, torch.complex128,
]  # fmt: skip
# Types that the CPU and torch_npu convert into each other.
CONVERTED = [d for d in DTYPES if d not in (torch.uint16, torch.uint32, torch.uint64)]
PAIRS = [("npu:0", "npu:1"), ("npu:1", "npu:0"), ("cpu", "npu:1"), ("npu:1", "cpu"), ("npu:0", "npu:0")]


def source(dtype: torch.dtype) -> Tensor:
    """4 x 6 x 8 values that any type can hold, each another bit pattern where the type has as many."""
    values = torch.arange(192).reshape(4, 6, 8)
    if dtype == torch.bool:
        return values % 3 == 0
    if (dtype.is_floating_point and dtype.itemsize == 1) or dtype == torch.complex32:
        return (values % 64).repeat_interleave(dtype.itemsize, dim=2).to(torch.uint8).view(dtype)
    return (values % 100).to(dtype)


def same(a: Tensor, b: Tensor) -> bool:
    """Shape, type and every bit."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    left, right = (
        t.resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format) for t in (a, b)
    )
    return torch.equal(left.flatten().view(torch.uint8), right.flatten().view(torch.uint8))


def on(x: Tensor, device: str) -> Tensor:
    return x if device == "cpu" else x.to(device)


def settle() -> None:
    for device in (0, 1):
        torch.npu.synchronize(device)


def places(x: Tensor) -> dict[str, Tensor]:
    return {device: on(x, device) for device in ("cpu", "npu:0", "npu:1")}


def pairs(*numbers: int) -> list[tuple[str, str]]:
    """For the combination of these: all, or the one whose turn it is."""
    return PAIRS if "full" in sys.argv else [PAIRS[sum(numbers) % len(PAIRS)]]


def views() -> Iterator[str]:
    """Every view of every type."""
    for (n, dtype), (k, (name, view)) in itertools.product(enumerate(DTYPES), enumerate(VIEWS.items())):
        if k == 0:
            x = source(dtype)
            at = places(x)
        turns = [(wait, *pair) for wait in (False, True) for pair in pairs(n, k, int(wait))]
        for later, a, b in turns:
            there = at[a]
            got = view(there).to(b, non_blocking=later, copy=True)
            if got.device != torch.device(b):
                yield f"{dtype} {name} {a} -> {b}: is on {got.device}"
            if later:
                settle()
            if not same(got.cpu(), view(x)):
                yield f"{dtype} {name} {a} -> {b} non_blocking={later}"


def casts() -> Iterator[str]:
    """The type changes on the way."""
    names = ("whole", "permute", "step last", "expand last", "element", "as_strided", "empty")
    for (n, dtype), (k, to) in itertools.product(enumerate(CONVERTED), enumerate(CONVERTED)):
        if dtype.is_complex and not to.is_complex:
            continue
        x = source(dtype)
        at = places(x)
        for i, name in enumerate(names):
            want = VIEWS[name](x).to(to)
            for a, b in pairs(n, k, i):
                if not same(VIEWS[name](at[a]).to(b, to).cpu(), want):
                    yield f"{dtype} to {to} {name} {a} -> {b}"


def destinations() -> Iterator[str]:
    """copy_ into views: what is written is right, and nothing beside it."""
    names = [n for n in VIEWS if not n.startswith(("expand", "unfold", "as_strided over", "flatten"))]
    types = itertools.product((torch.float32, torch.int64, torch.bfloat16), (None, torch.float64))
    for (n, (dtype, to)), (k, name) in itertools.product(enumerate(types), enumerate(names)):
        x, y = source(dtype), torch.full((4, 6, 8), 99, dtype=to or dtype)
        for a, b in pairs(n, k):
            there = on(x, a)
            want, got = y.clone(), on(y, b).clone()
            part = VIEWS[name](want)
            sources: dict[str, Callable[[Tensor], Tensor]] = {
                "itself": VIEWS[name],
                "contiguous": lambda t, shape=part.shape: t.flatten()[: shape.numel()].view(shape),
                "one": lambda t: t[1, 2, 3],
            }
            if part.dim() > 1:
                sources["row"] = lambda t, n=part.shape[-1]: t[1, 2, ::2].repeat(3)[:n]
                sources["strided row"] = lambda t, n=part.shape[-1]: t[:, :, 1].flatten()[:n]
            for kind, make in sources.items():
                part.copy_(make(x))
                VIEWS[name](got).copy_(make(there))
                if not same(got.cpu(), want):
                    yield f"{dtype} to {to}: {kind} into {name}, {a} -> {b}"


def random_views() -> Iterator[str]:
    """Views of views, drawn with a fixed seed, copied into such."""
    draw = torch.Generator().manual_seed(1)

    def pick(n: int) -> int:
        return int(torch.randint(0, n, (), generator=draw))

    def steps(rank: int) -> list[tuple[int, int, int]]:
        return [(pick(4), pick(8), pick(8)) for _ in range(1 + pick(4))]

    def apply(x: Tensor, moves: list[tuple[int, int, int]]) -> Tensor:
        for kind, i, k in moves:
            if x.dim() == 0:
                return x
            d = i % x.dim()
            if kind == 0:
                x = x.transpose(d, k % x.dim())
            elif kind == 1 and x.shape[d] > 1:
                first = k % x.shape[d]
                x = x.narrow(d, first, x.shape[d] - first)
            elif kind == 2:
                x = x[(slice(None),) * d + (slice(k % 2, None, 1 + k % 3),)]
            elif kind == 3 and x.shape[d] > 0:
                x = x.select(d, k % x.shape[d])
        return x

    for _ in range(600 if "full" in sys.argv else 200):
        shape = [1 + pick(6) for _ in range(1 + pick(4))]
        x = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
        a, b = PAIRS[pick(2)]
        moves, there = steps(len(shape)), x.to(a)
        want, got = apply(x, moves), apply(there, moves).to(b)
        if not same(got.cpu(), want):
            yield f"{shape} {moves} {a} -> {b}"
        into, filled = torch.zeros(shape), torch.zeros(shape, device=b)
        apply(into, moves).copy_(want)
        apply(filled, moves).copy_(apply(there, moves))
        if not same(filled.cpu(), into):
            yield f"{shape} {moves} {a} -> {b}, copy_"


def storages() -> Iterator[str]:
    """Views of a storage that torch_npu describes otherwise: set_, resize_, empty_strided, another type of view."""
    x = torch.arange(240.0)
    for a, b in PAIRS[:2]:
        there = x.to(a)
        for name, make in {
            "set_": lambda t: torch.empty(0, device=t.device).set_(t.untyped_storage(), 7, (5, 6), (20, 3)),
            "view as integers": lambda t: t.view(torch.int32).view(12, 20)[:, ::3],
            "real and imaginary": lambda t: torch.view_as_complex(t.view(12, 10, 2)).t(),
            "imaginary part": lambda t: torch.view_as_complex(t.view(12, 10, 2)).imag,
            "conjugate": lambda t: torch.view_as_complex(t.view(12, 10, 2)).conj().t(),
            "channels of 5": lambda t: t.view(2, 3, 4, 5, 2).permute(0, 2, 3, 4, 1),
        }.items():
            if not same(make(there).to(b).cpu(), make(x)):
                yield f"{name} {a} -> {b}"
        for sizes, strides in (((3, 4), (1, 3)), ((3, 4), (8, 2)), ((2, 3, 4), (40, 1, 9))):
            want, got = (torch.empty_strided(sizes, strides, device=d) for d in ("cpu", b))
            want.copy_(x[: want.numel()].view(sizes))
            got.copy_(there[: want.numel()].view(sizes))
            if not same(got.to(a).cpu(), want):
                yield f"empty_strided {sizes} {strides} {a} -> {b}"


def library() -> ctypes.CDLL:
    return ctypes.CDLL("libascendcl.so", mode=ctypes.RTLD_GLOBAL)


def busy(device: int, seconds: float) -> tuple[object, threading.Event]:
    """Something in the device's current stream that takes a while; keep the first value until it is over."""
    over = threading.Event()

    def wait(_: int) -> None:
        time.sleep(seconds)
        over.set()

    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(wait)
    stream = torch.npu.current_stream(device).npu_stream
    with torch.npu.device(device):
        code = library().aclrtLaunchHostFunc(ctypes.c_void_p(stream), function, None)
    assert code == 0, code
    return function, over


def order() -> Iterator[str]:
    """What is copied is still being computed, and what is made of it is launched at once."""
    x = torch.arange(12.0).view(3, 4)
    for name, move in {
        "contiguous": lambda t, to: t.to(to),
        "transpose": lambda t, to: t.t().to(to),
        "type": lambda t, to: t.to(to, torch.float16),
        "transpose and type": lambda t, to: t.t().to(to, torch.int32, non_blocking=True),
        "into a view": lambda t, to: torch.zeros(3, 8, device=to)[:, ::2].copy_(t),
        "into a view, type": lambda t, to: torch.zeros(3, 8, device=to, dtype=torch.int64)[:, ::2].copy_(t),
    }.items():
        for a, b in PAIRS[:2]:
            there = x.to(a)
            keep, over = busy(int(a[-1]), 0.2)
            there.mul_(3).add_(1)
            got = move(there, b) * 2
            if over.is_set() and "type" not in name:
                yield f"{name} {a} -> {b}: the program waited"
            there.zero_()  # behind the copy
            if not same(got.cpu(), move(x * 3 + 1, "cpu") * 2):
                yield f"{name} {a} -> {b}"
            del keep
    settle()


class Net(nn.Module):
    """Products, a transposition, a normalisation and a loss per row."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(24, 40), nn.LayerNorm(40)
        self.second = nn.Linear(40, 7)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = torch.tanh(self.norm(self.first(x)))
        result: Tensor = self.second(hidden.transpose(0, 1).contiguous().transpose(0, 1))
        return result


def data_parallel() -> Iterator[str]:
    """Forward, backward and three steps over two devices against the CPU; batches that do not divide too."""
    torch.manual_seed(5)
    plain = Net()
    net = Net()
    net.load_state_dict(plain.state_dict())
    parallel = nn.DataParallel(net.to("npu:0"), device_ids=[0, 1])
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in (plain, net)]
    for rows in (16, 7, 2):
        x, y = torch.randn(rows, 24), torch.randint(0, 7, (rows,))
        losses = []
        for model, device, optimizer in zip((plain, parallel), ("cpu", "npu:0"), optimizers, strict=True):
            optimizer.zero_grad()
            losses.append(nn.functional.cross_entropy(model(x.to(device)), y.to(device)))
            losses[-1].backward()
            optimizer.step()
        if abs(losses[0].item() - losses[1].item()) > 1e-5:
            yield f"{rows} rows: loss {losses[1].item()}, on the CPU {losses[0].item()}"
    for (name, want), got in zip(plain.named_parameters(), net.parameters(), strict=True):
        for what, a, b in (("weight", got, want), ("gradient", got.grad, want.grad)):
            worst = (a.detach().cpu() - b.detach()).abs().max().item()
            if worst > 1e-5:
                yield f"{what} of {name} differs by {worst:.1e}"


def wide() -> Iterator[str]:
    """The last stride is 256 or more (docs/streams.md)."""
    x = torch.arange(64000.0, device="npu:0").view(64, 1000)
    for name, view in (("column", x[:, 3]), ("steps", x.view(64, 2, 500)[..., ::300])):
        got = view.to("npu:1")
        if got.device != torch.device("npu:1"):
            yield f"{name} is on {got.device}"
        if not same(got.cpu(), view.cpu()):
            yield name


def missing() -> Iterator[str]:
    """An operator by name that does not exist: without torch_npu's queue the call raises; with it, the next
    synchronise. Either way the text names the operator, and the program goes on."""
    x = torch.arange(12.0, device="npu:0").view(3, 4)
    queued = os.environ["TASK_QUEUE_ENABLE"] != "0"
    for _ in range(2):
        where = "nowhere"
        try:
            where = "the call"
            torch.renorm(x, 2, 0, 1.0)
            where = "the synchronise"
            torch.npu.synchronize()
        except RuntimeError as error:
            if "operator type Renorm is not available" not in str(error):
                yield f"the text is {error}"
            if queued != ("TASK_QUEUE_ENABLE=0" in str(error)):
                yield f"the hint is wrong: {error}"
        if where != ("the synchronise" if queued else "the call"):
            yield f"raised by {where}"
        torch.npu.synchronize()
        if not same((x + 1).t().to("npu:1").cpu(), (torch.arange(12.0).view(3, 4) + 1).t()):
            yield "afterwards the device computes something else"


PARTS = {
    p.__name__: p for p in (views, casts, destinations, random_views, storages, order, data_parallel, missing)
}
SEVERAL = {"all": [*PARTS][:-2], "queued": ["random_views", "storages"]}


def main() -> int:
    for name in SEVERAL.get(sys.argv[1], [sys.argv[1]]):
        start = time.monotonic()
        for difference in PARTS[name]():
            print(f"{name}: {difference}")
        settle()
        print(f"{name}: {time.monotonic() - start:.1f} s", file=sys.stderr)
    print("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
