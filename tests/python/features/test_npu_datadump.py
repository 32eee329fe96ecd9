# SPDX-License-Identifier: Apache-2.0
"""--npu-datadump and `mindspeed diff`: what is written, where two runs part, files that are damaged."""

from __future__ import annotations

import json
import math
import stat
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from mindspeed.adaptor import Level, rules
from mindspeed.cli.main import main
from mindspeed.dumping import records
from mindspeed.dumping.compare import compare
from mindspeed.dumping.recorder import Recorder
from mindspeed.features.tooling import npu_datadump
from torch import nn
from torch.utils.checkpoint import checkpoint


class Layer(nn.Module):
    def __init__(self, again: bool) -> None:
        super().__init__()
        self.up, self.down, self.again = nn.Linear(8, 16), nn.Linear(16, 8), again

    def body(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(torch.relu(self.up(x)))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        found = checkpoint(self.body, x, use_reentrant=True) if self.again else self.body(x)
        return {"hidden": x + found}


class Model(nn.Module):
    def __init__(self, again: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(again), Layer(again)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)["hidden"]
        return x


class Wrapped(nn.Module):
    """As data parallelism wraps a model."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x)


def run(folder: Path, *, device: str = "npu", spoil: str = "", wrap: bool = False, again: bool = False, microbatches: int = 2):  # fmt: skip
    torch.manual_seed(3)
    model = Model(again)
    if spoil:
        with torch.no_grad():
            model.get_parameter(spoil)[0] += 1.0
    inputs = [torch.randn(4, 8).to(device).requires_grad_() for _ in range(microbatches)]
    model = model.to(device)
    chunk = Wrapped(model) if wrap else model
    with Recorder([chunk], folder, step=1, rank=0, world_size=1):
        for x in inputs:
            chunk(x).square().sum().backward()
    return model, records.file_of(folder, 1, 0)


def test_statistics_are_those_of_the_tensors(tmp_path):
    model, path = run(tmp_path, microbatches=1)
    found = {record.key: record for record in records.read(path)}
    weight = model.layers[1].up.weight.detach().double().cpu()
    low, high, mean, norm, bad = found["layers.1.up.weight", "parameter", 0, 0].statistics
    assert (low, high, bad) == (weight.min(), weight.max(), 0)
    assert math.isclose(mean, weight.mean(), rel_tol=1e-5, abs_tol=1e-7)
    assert math.isclose(norm, weight.norm(), rel_tol=1e-6)
    torch.manual_seed(3)
    copy, x = Model(), torch.randn(4, 8)
    outputs = copy(x)
    assert math.isclose(found["model", "forward", 0, 0].statistics[3], outputs.norm().item(), rel_tol=1e-5)
    assert math.isclose(
        found["model", "backward", 0, 0].statistics[3], (2 * outputs).norm().item(), rel_tol=1e-5
    )
    assert found["model", "input", 0, 0].shape == (4, 8)


def test_order_is_that_of_execution(tmp_path):
    _, path = run(tmp_path, microbatches=1)
    keys = [record.key[:2] for record in records.read(path)]
    forward = [name for name, direction in keys if direction == "forward"]
    backward = [name for name, direction in keys if direction == "backward"]
    assert forward == [
        "layers.0.up",
        "layers.0.down",
        "layers.0",
        "layers.1.up",
        "layers.1.down",
        "layers.1",
        "model",
    ]
    assert backward.index("layers.1") < backward.index("layers.1.up") < backward.index("layers.0.up")
    assert keys[0] == ("model", "input")


def test_file_is_private_and_never_overwritten(tmp_path):
    _, path = run(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        run(tmp_path)
    assert path.read_bytes() == before


def test_failed_step_leaves_no_file_and_no_hooks(tmp_path):
    model = Model()
    with pytest.raises(RuntimeError, match="shapes cannot"), Recorder([model], tmp_path, step=1, rank=0, world_size=1):  # fmt: skip
        model(torch.randn(4, 7))
    assert not list(tmp_path.iterdir())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_kinds_of_tensors(tmp_path):
    class Kinds(nn.Module):
        def forward(self, x):
            return x.int(), (x > 0, x[:0], x.bfloat16()), [x / 0, "text", None]

    with Recorder([Kinds()], tmp_path, step=1, rank=0, world_size=1) as recorder:
        recorder._chunks[0](torch.tensor([-1.0, 0.0, 2.0]).npu())
    found = [
        record for record in records.read(records.file_of(tmp_path, 1, 0)) if record.direction == "forward"
    ]
    assert [record.dtype for record in found] == ["int32", "bool", "float32", "bfloat16", "float32"]
    assert found[1].statistics[:3] == pytest.approx((0, 1, 1 / 3))
    assert found[2].shape == (0,) and found[2].statistics == (0,) * 5
    assert found[4].statistics[4] == 3 and math.isnan(found[4].statistics[2])


@pytest.mark.parametrize("other", [{}, {"wrap": True}, {"again": True}, {"device": "cpu"}])
def test_runs_that_agree(tmp_path, capsys, other):
    """Wrapped, computed again in the backward pass, on another device: the same names, and nothing parts."""
    run(tmp_path / "a")
    run(tmp_path / "b", **other)
    assert main(["diff", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    text = capsys.readouterr().out
    assert text.startswith("The runs agree in ")
    result = compare(tmp_path / "a", tmp_path / "b")
    assert result.compared > 30
    assert (result.only_a, result.only_b) == (0, 0)


@pytest.mark.parametrize(
    ("spoiled", "place"),
    [
        ("layers.1.down.bias", "forward of layers.1.down, call 0, tensor 0"),
        ("layers.0.up.weight", "forward of layers.0.up, call 0, tensor 0"),
    ],
)
def test_first_place_is_named(tmp_path, capsys, spoiled, place):
    run(tmp_path / "a")
    run(tmp_path / "b", spoil=spoiled)
    assert main(["diff", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"The runs part at step 1, rank 0: {place}"
    assert lines[3].split()[:3] == ["A", "float32", "4x16" if "up" in place else "4x8"]
    assert main(["diff", "--json", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["first"]["name"] == place.split()[2].rstrip(",") and found["differing"] > 1


def test_tolerance(tmp_path):
    run(tmp_path / "a")
    run(tmp_path / "b", device="cpu")
    assert main(["diff", "--tolerance", "0", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert main(["diff", "--tolerance", "1", str(tmp_path / "a"), str(tmp_path / "b")]) == 0


def damage(path: Path, how: str) -> None:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    changed = {
        "cut": "".join(lines[:-1]),
        "cut in a line": text[: len(text) // 2],
        "empty": "",
        "other format": text.replace('"format": 1', '"format": 9', 1),
        "no number": text.replace('"norm": ', '"norm": "x', 1),
        "missing key": text.replace('"norm"', '"gnome"', 1),
    }
    path.write_text(changed[how], encoding="utf-8")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cut", "was not written to its end"),
        ("cut in a line", "the file is damaged"),
        ("empty", "not written to its end"),
        ("other format", "format 9, this version reads 1"),
        ("no number", "the file is damaged"),
        ("missing key", "KeyError('norm'); the file is damaged"),
    ],
)
def test_damaged_files_are_named(tmp_path, capsys, how, message):
    run(tmp_path / "a")
    _, path = run(tmp_path / "b")
    damage(path, how)
    assert main(["diff", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    text = capsys.readouterr().err
    assert message in text and str(path) in text


def test_folders_without_a_dump(tmp_path, capsys):
    (tmp_path / "a").mkdir()
    assert main(["diff", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "is no folder" in capsys.readouterr().err
    assert main(["diff", str(tmp_path / "a"), str(tmp_path / "a")]) == 2
    assert "give the folder of --npu-datadump-dir" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [("1", [1], [0, 2]), ("1,5-7", [1, 5, 7], [2, 8]), (" 3 - 4 ", [3, 4], [5])],
)
def test_steps(text, inside, outside):
    wanted = npu_datadump.chosen(text)
    assert all(wanted(step) for step in inside) and not any(wanted(step) for step in outside)


@pytest.mark.parametrize("text", ["", "x", "3-1", "1,,2", "-1"])
def test_steps_that_cannot_be_read(text):
    with pytest.raises(ValueError, match="neither a step nor a range"):
        npu_datadump.chosen(text)


def problems(**given: object) -> str:
    args = Namespace(npu_datadump=True, **given)
    return "".join(rules.problems([npu_datadump.FEATURE], args, Level.COMPATIBILITY))


def test_rules(tmp_path):
    run(tmp_path)
    assert "step000001 exists, and no dump is overwritten" in problems(npu_datadump_dir=str(tmp_path))
    assert not problems(npu_datadump_dir=str(tmp_path), npu_datadump_steps="2-3")
    assert "leave out --enable-cuda-graph" in problems(npu_datadump_dir="x", enable_cuda_graph=True)
