# SPDX-License-Identifier: Apache-2.0
"""Megatron's search for the slowest rank: a flag that travels by HCCL, and times of what ran on the device."""

from __future__ import annotations

import socket
import subprocess
import sys

JOB = """
import logging, sys, time, torch
import mindspeed.megatron_adaptor
from megatron.core.utils import StragglerDetector

logging.basicConfig(level=logging.INFO)
torch.cuda.set_device(0)
torch.distributed.init_process_group("nccl", store=torch.distributed.HashStore(), rank=0, world_size=1)
detector = StragglerDetector()
detector.configure(1, 0, port=int(sys.argv[1]), enabled=True)
matrix = torch.rand(64, 64, device="cuda")
with detector(bdata=True):
    time.sleep(0.25)
with detector:
    matrix @ matrix
    time.sleep(0.25)
computed, batches, *sensors = detector.elapsed()
assert 250 <= computed < 20_000 and 250 <= batches < 20_000, (computed, batches)
assert sensors == [0, 0, 0, 0], sensors
with detector(bdata=True):
    pass
with detector:
    matrix @ matrix
assert detector.report(total_flops=1e9, log_interval=1)
torch.distributed.destroy_process_group()
"""


def test_times_are_measured_and_reported():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ended = subprocess.run(
        [sys.executable, "-c", JOB, str(port)], capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    assert "MnRtt/Rnk" in ended.stderr
