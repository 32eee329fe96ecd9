"""The same bits for any number of threads: each count is a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import torch
from aclnn import BoolArray, IntArray, Scalar, call
from compare import make
h = hashlib.sha256()
def done(*outs):
    for t in outs: h.update(t.reshape(-1).view(torch.uint8).numpy().tobytes())
x, g, w = make((700, 515), torch.float32), make((700, 515), torch.float32, 1), make((515,), torch.float32, 2)
for dims in ([], [0], [1]):
    out = torch.empty(x.sum(dims or None).shape)
    call("aclnnReduceSum", x, IntArray(dims), False, torch.float32, out); done(out)
    call("aclnnNorm", x, Scalar(2.0), IntArray(dims), False, out); done(out)
    call("aclnnVarCorrection", x, IntArray(dims), 1, False, out); done(out)
y, m, r = torch.empty_like(x), torch.empty(700, 1), torch.empty(700, 1)
for dim in (0, 1):
    call("aclnnSoftmax", x, dim, y); done(y)
call("aclnnLayerNorm", x, IntArray([515]), w, w, 1e-5, y, m, r); done(y, m, r)
dw, db = torch.empty(515), torch.empty(515)
call("aclnnLayerNormBackward", g, x, IntArray([515]), m, r, w, w, BoolArray([True] * 3), y, dw, db)
done(y, dw, db)
call("aclnnRmsNormGrad", g, x, r, w, y, dw); done(y, dw)
print(h.hexdigest())
"""


def run(threads: int) -> str:
    env = {**os.environ, "MINDSPEED_NUM_THREADS": str(threads), "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    support = Path(__file__).resolve().parents[2] / "support"
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(support)], env=env, check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.slow
def test_thread_count_does_not_change_a_bit() -> None:
    assert len({run(threads) for threads in (1, 2, 3)}) == 1
