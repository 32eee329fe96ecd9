# SPDX-License-Identifier: Apache-2.0
"""Captured graphs through torch.npu: what a replay computes is what the same lines compute without a graph."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import forked
import pytest

if not os.environ.get("MINDSPEED_LIB_DIR") and importlib.util.find_spec("mindspeed") is None:
    pytest.skip("no wheel installed and MINDSPEED_LIB_DIR is not set", allow_module_level=True)

SUPPORT = Path(__file__).parents[1] / "support"
PRELOAD = f"import sys; sys.path.append({str(SUPPORT)!r})\nimport named_libraries, torch\n"

REPLAY = """
x, w = torch.randn(8, 32, device="npu"), torch.randn(32, 16, device="npu")
def step(t):
    return torch.nn.functional.gelu(t @ w).softmax(-1).sum(0)
step(x)
graph = torch.npu.NPUGraph()
with torch.npu.graph(graph):
    y = step(x)
for seed in range(3):
    x.copy_(torch.randn(8, 32, generator=torch.Generator().manual_seed(seed)))
    graph.replay()
    torch.npu.synchronize()
    assert torch.equal(y, step(x)), seed
graph.reset()
"""

RANDOM = """
def draw():
    return [torch.randn(99, device="npu"), torch.rand(99, device="npu"), torch.randint(0, 1000, (99,), device="npu"),
            torch.empty(99, device="npu").normal_(3, 2), torch.nn.functional.dropout(torch.ones(999, device="npu"), 0.3)]
torch.npu.manual_seed(5)
want = [draw() for _ in range(3)]
graph = torch.npu.NPUGraph()
with torch.npu.graph(graph):
    got = draw()
torch.npu.manual_seed(5)
for i in range(3):
    graph.replay()
    torch.npu.synchronize()
    for a, b in zip(got, want[i], strict=True):
        assert torch.equal(a, b), (i, a, b)
"""

TRAINING = """
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.GELU(), torch.nn.Linear(32, 4)).npu()
plain = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.GELU(), torch.nn.Linear(32, 4)).npu()
plain.load_state_dict(model.state_dict())
x, y = torch.randn(8, 16).npu(), torch.randn(8, 4).npu()
def step(m):
    for p in m.parameters():
        p.grad = None if p.grad is None else p.grad.zero_()
    loss = (m(x) - y).square().mean()
    loss.backward()
    with torch.no_grad():
        for p in m.parameters():
            p.sub_(p.grad, alpha=0.1)
    return loss
side = torch.npu.Stream()
side.wait_stream(torch.npu.current_stream())
with torch.npu.stream(side):
    step(model), step(plain)
torch.npu.current_stream().wait_stream(side)
graph = torch.npu.NPUGraph()
with torch.npu.graph(graph):
    loss = step(model)
for i in range(4):
    graph.replay()
    want = step(plain)
    assert torch.equal(loss, want), (i, loss, want)
for a, b in zip(model.parameters(), plain.parameters(), strict=True):
    assert torch.equal(a, b)
"""

REFUSED = """
x = torch.ones(4, device="npu")
graph = torch.npu.NPUGraph()
try:
    with torch.npu.graph(graph):
        y = x + 1
        y.sum().item()
except RuntimeError as error:
    assert "captur" in str(error).lower(), error
else:
    raise AssertionError("a captured stream was read")
assert (x + 1).sum().item() == 8
"""


@pytest.mark.parametrize(
    "code", [REPLAY, RANDOM, TRAINING, REFUSED], ids=["replay", "random", "training", "refused"]
)
def test_graphs(code: str, tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(PRELOAD + code)
    process = forked.start([str(script)], MINDSPEED_NUM_THREADS="2")
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, f"exit code {process.returncode}\n{out}\n{error[-4000:]}"
