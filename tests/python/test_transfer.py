# SPDX-License-Identifier: Apache-2.0
"""Level 0's transfer: code written for CUDA runs on virtual NPUs, and revert() leaves torch as it was."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("torch_npu")
import torch
from mindspeed.adaptor import session
from mindspeed.features.compatibility import cuda_module, device_arguments, distributed_backend
from mindspeed.features.compatibility._devices import npu_device
from mindspeed.features.compatibility.distributed_backend import hccl_backend
from small_megatron import no_megatron

FEATURES = [f.FEATURE for f in (cuda_module, device_arguments, distributed_backend)]

if not torch.npu.is_available():
    pytest.skip("no NPU", allow_module_level=True)


@pytest.fixture(scope="module", autouse=True)
def alone():
    with no_megatron():
        yield


@pytest.fixture
def transfer():
    session.revert()
    session.activate(FEATURES)
    yield
    session.revert()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("cuda", "npu"),
        ("cuda:3", "npu:3"),
        ("cpu", "cpu"),
        ("npu:1", "npu:1"),
        (0, 0),
        (None, None),
        (torch.device("cuda", 2), torch.device("npu", 2)),
        (torch.device("cuda"), torch.device("npu")),
        (torch.device("cpu"), torch.device("cpu")),
        ({"cuda:0": "cuda:1"}, {"npu:0": "npu:1"}),
        (["cuda:0", 1], ["npu:0", 1]),
    ],
)
def test_devices_are_translated(given, expected):
    assert npu_device(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [("nccl", "hccl"), ("gloo", "gloo"), ("cpu:gloo,cuda:nccl", "cpu:gloo,npu:hccl"), (None, None)],
)
def test_backends_are_translated(given, expected):
    assert hccl_backend(given) == expected


@pytest.mark.parametrize("device", ["cuda", "cuda:0", torch.device("cuda"), torch.device("cuda", 0), 0])
def test_constructors(transfer, device):
    assert torch.zeros(2, device=device).device == torch.device("npu:0")
    assert torch.tensor([1.0], device=device).device.type == "npu"
    assert torch.ones(2).to(device).device.type == "npu"
    assert torch.zeros(2).new_empty(3, device=device).device.type == "npu"
    assert torch.zeros_like(torch.ones(2), device=device).device.type == "npu"


def test_tensor_methods(transfer):
    x = torch.arange(4.0).cuda()
    assert x.is_cuda and not x.cpu().is_cuda
    assert x.type() == "torch.cuda.FloatTensor" and x.cpu().type() == "torch.FloatTensor"
    assert x.half().type() == "torch.cuda.HalfTensor"
    assert isinstance(x, torch.cuda.FloatTensor)
    assert x.type(torch.bfloat16).type() == "torch.cuda.BFloat16Tensor"
    assert torch.arange(4.0).type("torch.cuda.IntTensor").device.type == "npu"
    assert torch.equal(x.cuda(0).cpu(), torch.arange(4.0))
    assert torch.arange(4).pin_memory().is_pinned()


def test_modules(transfer):
    layer = torch.nn.Linear(2, 2).cuda()
    assert layer.weight.is_cuda
    assert layer.to("cpu").weight.device.type == "cpu"
    assert layer.to(device="cuda:0").weight.device == torch.device("npu:0")


def test_device_context(transfer):
    with torch.device("cuda"):
        assert torch.empty(1).device.type == "npu"


def test_streams_and_events(transfer):
    stream = torch.cuda.Stream()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    with torch.cuda.stream(stream):
        start.record()
        x = torch.ones(4, device="cuda") * 2
        end.record()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize("cuda:0")
    assert start.elapsed_time(end) >= 0
    assert x.sum().item() == 8
    assert torch.cuda.Stream(device="cuda:0").device == torch.device("npu:0")


def test_devices_and_memory(transfer):
    assert torch.cuda.is_available() and torch.cuda.device_count() == torch.npu.device_count()
    torch.cuda.set_device(torch.device("cuda:0"))
    assert torch.cuda.current_device() == 0
    before = torch.cuda.memory_allocated("cuda:0")
    x = torch.empty(1 << 20, device="cuda")
    assert torch.cuda.memory_allocated() >= before + x.nbytes
    assert torch.cuda.mem_get_info("cuda:0")[1] == torch.npu.mem_get_info(0)[1]
    with torch.cuda.device("cuda:0"):
        assert torch.cuda.current_device() == 0


def test_random_state(transfer):
    torch.cuda.manual_seed(7)
    state = torch.cuda.get_rng_state("cuda:0")
    first = torch.rand(8, device="cuda").cpu()
    torch.cuda.set_rng_state(state, "cuda:0")
    assert torch.equal(torch.rand(8, device="cuda").cpu(), first)
    assert len(torch.cuda.default_generators) == torch.cuda.device_count()
    generator = torch.Generator(device="cuda").manual_seed(3)
    assert generator.device.type == "npu"
    assert isinstance(generator, torch.Generator) and isinstance(torch.default_generator, torch.Generator)
    assert not isinstance(1, torch.Generator)


def test_autocast(transfer):
    x = torch.ones(2, 2, device="cuda")
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert torch.is_autocast_enabled() and torch.is_autocast_enabled("cuda")
        assert (x @ x).dtype == torch.bfloat16
        assert torch.get_autocast_gpu_dtype() == torch.bfloat16
    assert not torch.is_autocast_enabled()
    with torch.cuda.amp.autocast(enabled=True, dtype=torch.float16):
        assert (x @ x).dtype == torch.float16


def test_custom_function_with_device_type(transfer):
    class Double(torch.autograd.Function):
        @staticmethod
        @torch.amp.custom_fwd(device_type="cuda")
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        @torch.amp.custom_bwd(device_type="cuda")
        def backward(ctx, grad):
            return 2 * grad

    x = torch.ones(2, device="cuda", requires_grad=True)
    Double.apply(x).sum().backward()
    assert x.grad.tolist() == [2, 2]


def test_load_maps_cuda_to_npu(transfer, tmp_path):
    file = tmp_path / "tensor.pt"
    torch.save(torch.arange(3), file)
    assert torch.load(file, map_location="cuda:0").device == torch.device("npu:0")
    assert torch.load(file, map_location={"cpu": "cuda:0"}).tolist() == [0, 1, 2]


def test_data_loader_pins_memory(transfer):
    loader = torch.utils.data.DataLoader(torch.arange(8.0), batch_size=4, pin_memory=True)
    assert all(batch.is_pinned() for batch in loader)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_torch_jit_script_still_compiles(transfer):
    @torch.jit.script
    def add_zeros(x):
        return x + torch.zeros([2])

    assert isinstance(add_zeros, torch.jit.ScriptFunction)
    assert add_zeros(torch.ones(2)).tolist() == [1, 1]


def test_double_stays_double(transfer):
    assert torch.ones(1, dtype=torch.float64, device="cuda").dtype == torch.float64
    assert torch.cuda.DoubleTensor is torch.npu.DoubleTensor


def test_cpu_work_is_untouched(transfer):
    x = torch.randn(4, generator=torch.Generator().manual_seed(1))
    session.revert()
    assert torch.equal(x, torch.randn(4, generator=torch.Generator().manual_seed(1)))


def snapshot():
    owners = [torch, torch.cuda, torch.cuda.memory, torch.cuda.random, torch.cuda.amp, torch.Tensor,
              torch.nn.Module, torch.distributed, torch.npu.Stream, torch.amp.GradScaler]  # fmt: skip
    return [dict(vars(owner)) for owner in owners]


def test_revert_restores_the_very_objects():
    session.revert()
    before = snapshot()
    session.activate(FEATURES)
    assert snapshot() != before
    session.revert()
    for old, new in zip(before, snapshot(), strict=True):
        assert old.keys() == new.keys()
        assert [name for name in old if old[name] is not new[name]] == []


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )


def test_the_import_prints_nothing_and_is_idempotent():
    done = run(
        "import torch, mindspeed.megatron_adaptor as a\n"
        "before = a.patched_targets()\n"
        "a.activate()\n"
        "assert a.patched_targets() == before and before\n"
        "import megatron.core\n"
        "a.revert(); a.revert()\n"
        "assert not a.is_active() and not a.patched_targets()\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_pair_that_does_not_fit_says_what_to_install(tmp_path):
    done = run(
        "import importlib.metadata as m\n"
        "real = m.version\n"
        "m.version = lambda name: '2.9.1' if name == 'torch' else real(name)\n"
        "import mindspeed.megatron_adaptor\n"
    )
    assert done.returncode == 1
    assert "torch_npu 2.13.0 is not for torch 2.9.1: install torch-npu==2.9.* for this torch" in done.stderr


def test_an_untested_version_is_one_warning():
    done = run(
        "import mindspeed.adaptor.versions as v\n"
        "real = v._megatron_version\n"
        "v._megatron_version = lambda: '9.1.0rc2' if real() else None\n"
        "import mindspeed.megatron_adaptor\n"
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith(" ")]
    assert len(lines) == 1, done.stderr
    assert (
        "megatron-core 9.1.0rc2 is outside of what this release is tested with: 0.12.1 to 0.19.1" in lines[0]
    )


def test_a_capability_also_under_torch_npu_s_own_transfer():
    """torch.distributed.broadcast() asks for it where tensors claim to be CUDA's, which that transfer makes them."""
    program = (
        "import torch, mindspeed.megatron_adaptor; before = torch.cuda.get_device_capability(); "
        "from torch_npu.contrib import transfer_to_npu; "
        "print(before == torch.cuda.get_device_capability(0) and before[0] > 0)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True"], done.stderr
