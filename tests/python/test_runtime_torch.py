# SPDX-License-Identifier: Apache-2.0
"""The runtime through torch.npu, each theme in a process of its own: devices, options, exits are per process.

The libraries are those of the installed wheel, or of MINDSPEED_LIB_DIR (a lib64 folder inside a CANN tree).
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import forked
import pytest

SUPPORT = Path(__file__).parents[1] / "support"
# For processes that a job spawns; a forked one has both.
PRELOAD = f"import sys; sys.path.append({str(SUPPORT)!r})\nimport named_libraries, ctypes, os, torch\n"

if not os.environ.get("MINDSPEED_LIB_DIR") and importlib.util.find_spec("mindspeed") is None:
    pytest.skip("no wheel installed and MINDSPEED_LIB_DIR is not set", allow_module_level=True)


def start(code: str, folder: Path, **variables: str) -> forked.Process:
    script = folder / "job.py"
    script.write_text(PRELOAD + textwrap.dedent(code))
    return forked.start([str(script)], **({"MINDSPEED_NUM_THREADS": "2"} | variables))


def run(code: str, folder: Path, **variables: str) -> str:
    """Standard output of code that must succeed."""
    process = start(code, folder, **variables)
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, f"exit code {process.returncode}\n{out}\n{error[-4000:]}"
    return out


def test_devices_and_properties(tmp_path: Path) -> None:
    run(
        """
        assert torch.npu.is_available() and torch.npu.device_count() == 3
        p = torch.npu.get_device_properties(1)
        assert p.name.startswith("Ascend") and p.total_memory == 4 << 30, p
        torch.npu.set_device(2)
        assert torch.npu.current_device() == 2
        free, total = torch.npu.mem_get_info()
        assert total == 4 << 30 and 0 < free <= total
        assert 0 <= torch.npu.utilization() <= 100
        assert torch.npu.can_device_access_peer(0, 1)
        try:
            torch.npu.set_device(3)
        except RuntimeError as error:
            assert "107001" in str(error) or "device" in str(error).lower(), error
        else:
            raise AssertionError("device 3 exists")
        a = torch.arange(6.0).to("npu:0")
        assert torch.equal(a.to("npu:1").cpu(), torch.arange(6.0))
        """,
        tmp_path,
        MINDSPEED_NUM_DEVICES="3",
        MINDSPEED_DEVICE_MEMORY="4G",
    )


PHYSICAL = """
        acl = ctypes.CDLL("libascendcl.so")

        def physical(device):
            found = ctypes.c_int32(-1)
            assert acl.aclrtGetLogicDevIdByUserDevId(device, ctypes.byref(found)) == 0
            return found.value
"""


def test_visible_devices(tmp_path: Path) -> None:
    run(
        PHYSICAL
        + """
        assert torch.npu.is_available() and torch.npu.device_count() == 2
        a = torch.arange(6.0, device="npu:1") + torch.arange(6.0).to("npu:0").to("npu:1")
        assert torch.equal(a.cpu(), 2 * torch.arange(6.0)) and a.device.index == 1
        assert [physical(0), physical(1)] == [5, 2]
        try:
            torch.npu.set_device(2)
        except RuntimeError as error:
            assert "ASCEND_RT_VISIBLE_DEVICES" in str(error) or "107001" in str(error), error
        else:
            raise AssertionError("device 2 exists")
        """,
        tmp_path,
        ASCEND_RT_VISIBLE_DEVICES="5,2",
    )


@pytest.mark.parametrize(
    ("value", "message"), [("", "is empty"), ("0,0", "ASCEND_RT_VISIBLE_DEVICES=0,0: '0' is there twice")]
)
def test_no_visible_device(tmp_path: Path, value: str, message: str) -> None:
    out = run(
        """
        print(torch.npu.is_available(), torch.npu.device_count())
        try:
            torch.ones(1, device="npu")
        except (RuntimeError, AssertionError) as error:
            print(error)
        else:
            raise AssertionError("there is a device")
        """,
        tmp_path,
        ASCEND_RT_VISIBLE_DEVICES=value,
    )
    assert out.startswith("False 0\n"), out
    assert message in out, out


def test_streams_and_events(tmp_path: Path) -> None:
    run(
        """
        import time
        side = torch.npu.Stream()
        low = torch.npu.Stream(priority=0)
        start, end = (torch.npu.Event(enable_timing=True) for _ in range(2))
        x = torch.zeros(1000, device="npu")
        start.record()
        with torch.npu.stream(side):
            side.wait_stream(torch.npu.default_stream())
            x.fill_(3)
            done = side.record_event()
        torch.npu.current_stream().wait_event(done)
        y = x.clone()
        x.record_stream(side)
        time.sleep(0.05)
        end.record()
        end.synchronize()
        assert done.query() and end.query()
        assert 40 < start.elapsed_time(end) < 5000, start.elapsed_time(end)
        assert (y.cpu() == 3).all()
        assert side.query() and low.query()
        side.synchronize()
        torch.npu.synchronize()
        plain = torch.npu.Event()
        plain.record()
        try:
            start.elapsed_time(plain)
        except RuntimeError:
            pass
        else:
            raise AssertionError("an event without timing has a time")
        """,
        tmp_path,
    )


def test_memory_statistics_and_snapshot(tmp_path: Path) -> None:
    run(
        """
        torch.npu.memory._record_memory_history(max_entries=1000)
        before = torch.npu.memory_allocated()
        a = torch.empty(1 << 20, dtype=torch.float32, device="npu")
        assert torch.npu.memory_allocated() - before >= 4 << 20
        assert torch.npu.max_memory_allocated() >= torch.npu.memory_allocated()
        stats = torch.npu.memory_stats()
        assert stats["allocated_bytes.all.current"] == torch.npu.memory_allocated()
        snapshot = torch.npu.memory_snapshot()
        assert sum(s["total_size"] for s in snapshot) == torch.npu.memory_reserved()
        assert torch.npu.memory._snapshot()["segments"]
        free, total = torch.npu.mem_get_info()
        assert total - free >= torch.npu.memory_reserved()
        del a
        torch.npu.empty_cache()
        assert torch.npu.mem_get_info()[0] > free
        assert isinstance(torch.npu.memory_summary(), str)
        torch.npu.reset_peak_memory_stats()
        pinned = torch.arange(1000).pin_memory()
        assert pinned.is_pinned() and not torch.arange(3).is_pinned()
        assert torch.equal(pinned.to("npu", non_blocking=True).cpu(), torch.arange(1000))
        """,
        tmp_path,
    )


def test_out_of_memory_then_go_on(tmp_path: Path) -> None:
    run(
        """
        keep = torch.ones(1000, device="npu")
        for _ in range(2):
            try:
                torch.empty(2 << 30, dtype=torch.uint8, device="npu")
            except torch.OutOfMemoryError as error:
                assert "out of memory" in str(error), error
            else:
                raise AssertionError("2 GiB fit into 1 GiB")
            assert torch.empty(512 << 20, dtype=torch.uint8, device="npu").numel() == 512 << 20
        assert (keep.cpu() == 1).all()
        """,
        tmp_path,
        MINDSPEED_DEVICE_MEMORY="1G",
    )


@pytest.fixture
def ledger() -> Iterator[str]:
    """Processes that have this HC_LEDGER share the memory of a host of their own."""
    name = f"-pytest{os.getpid()}"
    yield name
    for left in Path("/dev/shm").glob(f"mindspeed-devices-*{name}"):
        left.unlink()


@pytest.mark.parametrize(("capacity", "segments"), [("", "expandable_segments:True"), ("64G", "")])
def test_the_host_is_full_then_go_on(tmp_path: Path, ledger: str, capacity: str, segments: str) -> None:
    run(
        """
        chunks = []
        for _ in range(2):
            try:
                while True:
                    chunks.append(torch.ones(16 << 20, dtype=torch.uint8, device="npu"))
            except torch.OutOfMemoryError as error:
                assert "out of memory" in str(error), error
            assert 10 <= len(chunks) <= 16, len(chunks)
            free, total = torch.npu.mem_get_info()
            assert free < 32 << 20 and total >= 256 << 20, (free, total)
            assert all(chunk[-1].item() == 1 for chunk in chunks)
            chunks.clear()
            torch.npu.empty_cache()
            assert torch.npu.mem_get_info()[0] >= 200 << 20
        """,
        tmp_path,
        MINDSPEED_DEVICE_MEMORY=capacity,
        MINDSPEED_HOST_MEMORY="256M",
        HC_LEDGER=ledger,
        PYTORCH_NPU_ALLOC_CONF=segments,
    )


def test_filling_what_was_planned(tmp_path: Path, ledger: str) -> None:
    run(
        """
        plan = torch.empty(4 << 30, dtype=torch.uint8, device="npu")
        assert torch.npu.mem_get_info()[1] == 64 << 30
        try:
            plan.fill_(1)
            torch.npu.synchronize()
        except RuntimeError as error:
            assert "would fill" in str(error), error
        else:
            raise AssertionError("4 GiB were filled where there are 256 MiB")
        part = plan[: 64 << 20].fill_(2)
        assert part[-1].item() == 2
        """,
        tmp_path,
        MINDSPEED_DEVICE_MEMORY="64G",
        MINDSPEED_HOST_MEMORY="256M",
        HC_LEDGER=ledger,
    )


@pytest.mark.parametrize("memory", ["", "expandable_segments:True"])
def test_training_and_capacity(tmp_path: Path, memory: str) -> None:
    run(
        """
        torch.manual_seed(0)
        w = torch.randn(64, 64).npu().requires_grad_()
        x = torch.randn(32, 64).npu()
        first = None
        for step in range(30):
            loss = ((x @ w) ** 2).mean()
            first = first or loss.item()
            (gradient,) = torch.autograd.grad(loss, w)
            with torch.no_grad():
                w -= 0.5 * gradient
        assert loss.item() < first * 0.5
        big = [torch.empty(100 << 20, dtype=torch.uint8, device="npu") for _ in range(5)]
        try:
            big.append(torch.empty(700 << 20, dtype=torch.uint8, device="npu"))
        except torch.OutOfMemoryError:
            pass
        else:
            raise AssertionError("1.2 GiB fit into 1 GiB")
        big.clear()
        torch.npu.empty_cache()
        big.append(torch.zeros(900 << 20, dtype=torch.uint8, device="npu"))
        assert big[0][-1].item() == 0
        """,
        tmp_path,
        PYTORCH_NPU_ALLOC_CONF=memory,
        MINDSPEED_DEVICE_MEMORY="1G",
    )


def test_random_state(tmp_path: Path) -> None:
    run(
        """
        torch.npu.manual_seed(5)
        state = torch.npu.get_rng_state()
        a = torch.rand(100, device="npu")
        torch.npu.set_rng_state(state)
        assert torch.equal(a.cpu(), torch.rand(100, device="npu").cpu())
        assert not torch.equal(a.cpu(), torch.rand(100, device="npu").cpu())
        torch.npu.manual_seed_all(5)
        assert torch.equal(a.cpu(), torch.rand(100, device="npu").cpu())
        assert torch.npu.initial_seed() == 5
        """,
        tmp_path,
    )


SHARING = """
import torch.multiprocessing as mp

def child(queue, back):
    t = queue.get()
    assert t.device.type == "npu" and t.sum().item() == 45.0, t
    t += 1
    torch.npu.synchronize()
    del t
    back.put("done")

if __name__ == "__main__":
    context = mp.get_context("spawn")
    queue, back = context.Queue(), context.Queue()
    process = context.Process(target=child, args=(queue, back))
    process.start()
    t = torch.arange(10.0, device="npu")
    queue.put(t)
    assert back.get(timeout=200) == "done"
    process.join(60)
    assert process.exitcode == 0
    assert t.sum().item() == 55.0, t
"""


@pytest.mark.parametrize("memory", ["", "expandable_segments:True"])
def test_tensor_shared_between_processes(tmp_path: Path, memory: str) -> None:
    run(SHARING, tmp_path, PYTORCH_NPU_ALLOC_CONF=memory)


def test_dataloader_workers_are_forked(tmp_path: Path) -> None:
    run(
        """
        x = torch.ones(10, device="npu")
        class Data(torch.utils.data.Dataset):
            def __len__(self):
                return 64
            def __getitem__(self, i):
                return torch.full((4,), float(i)) * 2
        loader = torch.utils.data.DataLoader(
            Data(), batch_size=8, num_workers=2, multiprocessing_context="fork", pin_memory=True
        )
        for _ in range(2):
            total = sum(batch.npu(non_blocking=True).sum() for batch in loader)
            assert total.item() == 2 * 4 * sum(range(64)), total
        assert (x.cpu() == 1).all()
        """,
        tmp_path,
    )


def test_trace_of_operators(tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    process = start(
        """
        a = torch.ones(16, 8, device="npu", dtype=torch.bfloat16)
        b = (a @ a.t()).float().sum().item()
        raise ValueError("the script fails")
        """,
        tmp_path,
        MINDSPEED_TRACE=str(trace),
    )
    process.communicate(timeout=300)
    assert process.returncode == 1
    events = json.loads(trace.read_text())
    slices = [e for e in events if e["ph"] == "X"]
    assert {e["args"]["name"] for e in events if e["name"] == "process_name"} >= {"NPU 0"}
    assert any(e["name"].startswith("aclnn") and "bfloat16[16,8]" in e["args"]["shapes"] for e in slices)
    assert any(e["cat"] == "copy" and e["args"]["bytes"] > 0 for e in slices)
    assert all(e["dur"] >= 0 and e["args"]["code"] == 0 for e in slices)


def test_errors_name_what_is_wrong(tmp_path: Path) -> None:
    run(
        """
        table = torch.zeros(10, 4, device="npu")
        try:
            torch.nn.functional.embedding(torch.tensor([3, 10], device="npu"), table).cpu()
        except RuntimeError as error:
            assert "10" in str(error) and "mbedding" in str(error), error
        else:
            raise AssertionError("index 10 of 10")
        """,
        tmp_path,
    )


QUEUES = pytest.mark.parametrize("queue", ["0", "1", "2"])


@QUEUES
def test_asynchronous_error_is_told_once_and_the_program_goes_on(tmp_path: Path, queue: str) -> None:
    """Also what was launched behind it must not count as done, and what comes after it must be right."""
    run(
        """
        import warnings
        import torch.nn.functional as F
        warnings.simplefilter("ignore")
        table = torch.arange(40.0, device="npu").view(10, 4)
        side = torch.npu.Stream()
        event = torch.npu.Event()

        def bad_index():
            return F.embedding(torch.tensor([3, 10], device="npu"), table)

        def missing_operator():
            return F.affine_grid(torch.rand(1, 2, 3, device="npu"), (1, 1, 4, 4))

        def by_event():
            event.record()
            event.synchronize()

        def over_streams():
            side.wait_stream(torch.npu.current_stream())
            side.synchronize()

        readers = {
            "cpu": lambda y: y.cpu(),
            "item": lambda y: y.sum().item(),
            "device": lambda y: torch.npu.synchronize(),
            "stream": lambda y: torch.npu.current_stream().synchronize(),
            "nonzero": lambda y: torch.nonzero(y),
            "masked_select": lambda y: torch.masked_select(y, y > 0),
            "unique": lambda y: torch.unique(y),
            "event": lambda y: by_event(),
            "other stream": lambda y: over_streams(),
        }
        for make, word in ((bad_index, "aclnnEmbedding: index 10"), (missing_operator, "operator type AffineGrid")):
            for name, read in readers.items():
                try:
                    y = make() + 1
                    read(y)
                except RuntimeError as error:
                    assert word in str(error), (name, error)
                else:
                    raise AssertionError(f"{name}: no error")
                if name == "other stream":  # each stream tells its own users
                    try:
                        torch.npu.synchronize()
                    except RuntimeError as error:
                        assert word in str(error), (name, error)
                torch.npu.synchronize()  # told once
                for i in range(3):
                    assert torch.equal((table[0] * 2 + i).cpu(), torch.arange(4.0) * 2 + i), name
                    assert (torch.ones(3, device="npu") + i).sum().item() == 3 * (i + 1), name
                    with torch.npu.stream(side):
                        assert torch.mm(table.t(), table).sum().item() == 81960, name
        """,
        tmp_path,
        TASK_QUEUE_ENABLE=queue,
    )


def test_what_torch_npu_drops_is_never_read_as_a_result(tmp_path: Path) -> None:
    """With TASK_QUEUE_ENABLE=2 an error in phase one ends torch_npu's queue of operators."""
    run(
        """
        a = torch.ones(2, 3, device="npu")
        errors = []
        for _ in range(4):
            try:
                if not errors:
                    torch.addmm(a, torch.ones(2, 4, device="npu"), a).cpu()
                else:
                    print((a + 1).sum().item())
            except RuntimeError as error:
                errors.append(str(error))
        assert len(errors) == 4, errors
        assert all("aclnnAddmm" in e for e in errors), errors
        assert all("no operator on NPU 0 any more" in e for e in errors[1:]), errors
        b = torch.ones(3, device="npu:1")
        assert (b + 1).sum().item() == 6
        """,
        tmp_path,
        TASK_QUEUE_ENABLE="2",
    )


def test_nothing_burns_a_core_while_it_waits(tmp_path: Path) -> None:
    """Streams, operator threads and torch_npu's own: 20 ms of a second are what the interpreter may take."""
    run(
        """
        import time
        x, side = torch.ones(300, 300, device="npu"), torch.npu.Stream()
        torch.mm(x, x)
        with torch.npu.stream(side):
            event = torch.npu.Event()
            event.record(torch.npu.current_stream())
            torch.mm(x, x)
        torch.npu.synchronize()
        time.sleep(0.2)
        began = time.process_time()
        time.sleep(1)
        assert time.process_time() - began < 0.02, time.process_time() - began
        """,
        tmp_path,
    )


def test_launch_blocking_raises_where_it_happens(tmp_path: Path) -> None:
    run(
        """
        table = torch.zeros(10, 4, device="npu")
        for _ in range(2):
            try:
                torch.nn.functional.embedding(torch.tensor([3, 10], device="npu"), table)
            except RuntimeError as error:
                assert "aclnnEmbedding: index 10" in str(error), error
            else:
                raise AssertionError("index 10 of 10")
            assert (table + 1).sum().item() == 40
        """,
        tmp_path,
        ASCEND_LAUNCH_BLOCKING="1",
    )


def test_interrupt_and_exit(tmp_path: Path) -> None:
    process = start(
        """
        import signal
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has it ignored
        x = torch.ones(1000, device="npu")
        print("ready", flush=True)
        while True:
            x = x * 1.0
        """,
        tmp_path,
    )
    assert process.stdout is not None and re.match("ready", process.stdout.readline())
    process.send_signal(signal.SIGINT)
    begin = time.monotonic()
    try:
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert time.monotonic() - begin < 20 and "KeyboardInterrupt" in error
    assert process.returncode in (1, -signal.SIGINT), process.returncode


def test_profiler_writes_a_trace(tmp_path: Path) -> None:
    run(
        """
        import pathlib, sys, torch_npu
        folder = pathlib.Path(sys.argv[0]).parent / "prof"
        with torch_npu.profiler.profile(
            activities=[torch_npu.profiler.ProfilerActivity.CPU, torch_npu.profiler.ProfilerActivity.NPU],
            on_trace_ready=torch_npu.profiler.tensorboard_trace_handler(str(folder), analyse_flag=False),
        ):
            (torch.ones(8, 8, device="npu") @ torch.ones(8, 8, device="npu")).cpu()
        found = list(folder.rglob("npu_trace_*.json"))
        assert found and "aclnn" in found[0].read_text(), list(folder.rglob("*"))
        """,
        tmp_path,
    )


def test_memory_history(tmp_path: Path) -> None:
    """What was allocated and freed, and where; torch's unwinder warns of libraries that it cannot read."""
    code = """
        import sys
        torch.npu.memory._record_memory_history()
        x = torch.zeros(1000, 1000, device="npu")
        y = x + x
        del x
        found = torch.npu.memory._snapshot()
        trace = [(entry["action"], entry["size"]) for entry in found["device_traces"][0]]
        assert trace.count(("alloc", 4000000)) == 2 and ("free_completed", 4000000) in trace, trace
        frames = [frame["filename"] for entry in found["device_traces"][0] for frame in entry["frames"]]
        assert any(name.endswith("job.py") for name in frames), frames
        assert found["segments"][0]["total_size"] >= 4000000
    """
    process = start(code, tmp_path)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0 and "PT_GNU_EH_FRAME" not in errors, errors[-2000:]
