# SPDX-License-Identifier: Apache-2.0
"""What fails on one device or in one process is never read as a result on another (docs/streams.md)."""

from __future__ import annotations

from pathlib import Path

from test_runtime_torch import QUEUES, run

BAD = """
import os, time, warnings
import torch.multiprocessing as mp
warnings.simplefilter("ignore")
WORD = "aclnnEmbedding: index 9"

def bad(device="npu:0"):
    return torch.nn.functional.embedding(torch.tensor([9], device=device), torch.ones(4, 3, device=device))

def told(call, word=WORD):
    try:
        found = call()
    except RuntimeError as error:
        assert word in str(error), error
    else:
        raise AssertionError(f"no error: {found}")
"""


@QUEUES
def test_failure_crosses_devices(tmp_path: Path, queue: str) -> None:
    """torch_npu orders copies between devices by events of the kind that processes share."""
    run(
        BAD
        + """
readers = {
    "to": lambda: torch.nn.Embedding(4, 3).npu()(torch.tensor([9], device="npu:0")).to("npu:1").cpu(),
    "non_blocking": lambda: bad().to("npu:1", non_blocking=True).cpu(),
    "copy_": lambda: torch.zeros(1, 3, device="npu:1").copy_(bad()).cpu(),
    "strides": lambda: torch.zeros(3, 1, device="npu:1").t().copy_(bad()).cpu(),
    "computed": lambda: (bad().to("npu:1") + 1).sum().item(),
    "synchronize": lambda: (bad().to("npu:1"), torch.npu.synchronize(1)),
    "two hops": lambda: bad().to("npu:1").to("npu:2").cpu(),
}
for name, read in readers.items():
    print(name, flush=True)
    told(read)
    told(lambda: torch.npu.synchronize(0))  # each device tells its own users
    for device in range(3):
        try:
            torch.npu.synchronize(device)
        except RuntimeError as error:
            assert name == "two hops" and device == 1 and WORD in str(error), (device, error)
    x = torch.arange(3.0, device="npu:0").to("npu:1")
    assert (x + 1).to("npu:0").cpu().tolist() == [1, 2, 3], name
""",
        tmp_path,
        TASK_QUEUE_ENABLE=queue,
        MINDSPEED_NUM_DEVICES="3",
    )


def test_failure_reaches_who_polls_and_who_waits_for_an_external_event(tmp_path: Path) -> None:
    run(
        BAD
        + """
event, host = torch.npu.Event(), torch.zeros(1, 3).pin_memory()

def poll(query):
    host.copy_(bad(), non_blocking=True)
    event.record()
    while not query():
        time.sleep(0.001)
    return host

for query in (event.query, torch.npu.current_stream().query):
    told(lambda: poll(query))
    told(torch.npu.synchronize)

side = torch.npu.Stream()
for _ in range(2):
    external = torch.npu.ExternalEvent()
    bad()
    external.record()
    external.wait(side)  # for a value in memory, which the stream in front of it will not write
    told(side.synchronize)
    told(torch.npu.synchronize)
    external = torch.npu.ExternalEvent()
    x = torch.ones(3, device="npu") * 2
    external.record()
    external.wait(side)
    with torch.npu.stream(side):
        assert x.sum().item() == 6
""",
        tmp_path,
    )


def test_allocator_goes_on_behind_a_failure(tmp_path: Path) -> None:
    """It asks its events for the progress of streams; torch_npu's does not survive an error there."""
    run(
        BAD
        + """
side = torch.npu.Stream()
for _ in range(3):
    x = torch.ones(1000, device="npu")
    with torch.npu.stream(side):
        bad()
        x.record_stream(side)
    del x  # its memory is free once an event on `side`, behind the failure, is over
    assert sum(torch.ones(1000, device="npu").sum().item() for _ in range(10)) == 10000
    told(side.synchronize)
    torch.npu.synchronize()
    torch.npu.empty_cache()
""",
        tmp_path,
    )


def test_failure_crosses_processes(tmp_path: Path) -> None:
    """A tensor is sent to another process together with an event: what the sender had not computed is no result."""
    run(
        BAD
        + """
def child(queue, back):
    for _ in range(2):
        t = queue.get()
        try:
            back.put(str(t.sum().item()))
        except RuntimeError as error:
            back.put(str(error))
        del t

if __name__ == "__main__":
    context = mp.get_context("spawn")
    queue, back = context.Queue(), context.Queue()
    process = context.Process(target=child, args=(queue, back))
    process.start()
    t = bad()
    queue.put(t)
    answer = back.get(timeout=200)
    assert WORD in answer, answer
    told(torch.npu.synchronize)
    u = torch.arange(10.0, device="npu")
    queue.put(u)
    assert back.get(timeout=200) == "45.0"
    process.join(60)
    assert process.exitcode == 0
""",
        tmp_path,
    )


def test_single_rank_goes_on_behind_a_failure(tmp_path: Path) -> None:
    """torch_npu's watchdog polls the events of collectives, and would end the process at an error."""
    run(
        BAD
        + """
import torch.distributed as dist
torch.npu.set_device(0)
dist.init_process_group("hccl", store=dist.HashStore(), rank=0, world_size=1)
t = bad()
dist.all_reduce(t)
time.sleep(2.5)  # it looks once a second
told(lambda: t.sum().item())
x = torch.ones(3, device="npu")
dist.all_reduce(x)
told(lambda: x.sum().item())  # the communication stream tells its users, too
told(torch.npu.synchronize)
x = torch.ones(3, device="npu") * 3
dist.all_reduce(x)
assert x.sum().item() == 9
dist.destroy_process_group()
""",
        tmp_path,
    )
