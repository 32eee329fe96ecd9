# SPDX-License-Identifier: Apache-2.0
"""Names of groups reach HCCL: in the options that Megatron gives to torch, and from there in a trace."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from mindspeed.features.compatibility import group_names

JOB = """
import torch, torch_npu
from mindspeed.features.compatibility import group_names
torch.distributed.init_process_group("hccl", store=torch.distributed.HashStore(), rank=0, world_size=1)
options = group_names.naming(None)("dp_cp", {})
group = torch.distributed.new_group([0], pg_options=options)
torch.distributed.all_reduce(torch.ones(3, device="npu"), group=group)
torch.npu.synchronize()
torch.distributed.destroy_process_group()
"""


def test_name_is_in_the_trace(tmp_path):
    trace = tmp_path / "trace.json"
    environment = os.environ | {"MINDSPEED_TRACE": str(trace)}
    subprocess.run([sys.executable, "-c", JOB], env=environment, check=True)
    shapes = [record.get("args", {}).get("shapes", "") for record in json.loads(trace.read_text())]
    assert [text for text in shapes if text.endswith("(dp_cp)")]


def test_options_of_nccl_are_refused():
    with pytest.raises(ValueError, match=r"--nccl-communicator-config-path .* the group 'tp'"):
        group_names.naming(None)("tp", {"tp": {"max_ctas": 8}})
