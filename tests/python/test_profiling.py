# SPDX-License-Identifier: Apache-2.0
"""torch_npu.profiler has data of the device: the views that it writes, and the `msprof` that it calls for them."""

from __future__ import annotations

import csv
import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torchrun
from hypothesis import given
from hypothesis import strategies as st
from mindspeed.cann.decision import root
from mindspeed.profiling import msprof, names, profile, tables, timeline
from mindspeed.profiling.msprof import main
from mindspeed.profiling.times import union, without

JOB = Path(__file__).parents[1] / "support" / "profiled_job.py"
RANKS, STEPS = 2, ("2", "3")  # those that the schedule records, as torch_npu counts them


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What torch_npu wrote of each rank."""
    folder = tmp_path_factory.mktemp("profiles")
    done = torchrun.run(RANKS, JOB, [str(folder)], timeout=300)
    assert done.returncode == 0, torchrun.errors(done)
    assert "[ERROR]" not in done.stdout + done.stderr, done.stdout
    found = sorted(folder.glob("*/ASCEND_PROFILER_OUTPUT"))
    assert len(found) == RANKS
    return found


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_for_each_kernel(views: list[Path]) -> None:
    for number, view in enumerate(views):
        kernels = rows(view / "kernel_details.csv")
        assert {row["Step Id"] for row in kernels} >= set(STEPS)
        in_step = [row for row in kernels if row["Step Id"] == STEPS[0]]
        products = [row for row in in_step if row["Type"] == "Addmm"]
        assert len(products) == 1, in_step
        shown = {
            key: products[0][key] for key in ("Accelerator Core", "Input Data Types", "Output Data Types")
        }
        assert shown == {
            "Accelerator Core": "AI_CORE",
            "Input Data Types": "FLOAT;FLOAT;FLOAT",
            "Output Data Types": "FLOAT",
        }
        assert products[0]["Input Shapes"].strip('"') == "128;32,64;64,128"
        assert products[0]["Output Shapes"].strip('"') == "32,128"
        assert any(row["Accelerator Core"] == "AI_VECTOR_CORE" for row in in_step), number
        assert sum(row["Type"] == "hcom_allReduce_" for row in in_step) == 1
        assert all(float(row["Duration(us)"]) > 0 and float(row["Wait Time(us)"]) >= 0 for row in kernels)


def test_times_of_steps(views: list[Path]) -> None:
    for view in views:
        steps = rows(view / "step_trace_time.csv")
        assert [row["Step"] for row in steps] == list(STEPS)
        for row in steps:
            times = {name: float(value) for name, value in row.items() if name not in ("Device_id", "Step")}
            assert times["Computing"] > 0 and times["Communication"] > 0
            covered = times["Communication(Not Overlapped)"] + times["Overlapped"]
            assert covered == pytest.approx(times["Communication"], abs=1e-3)


def test_operators_of_torch_lead_to_kernels(views: list[Path]) -> None:
    """Every kernel of a step has an arrow from the operator of torch that launched it."""
    events = json.loads((views[0] / "trace_view.json").read_text(encoding="utf-8"))
    arrows = [event for event in events if event.get("cat") == "async_npu"]
    begins = {event["ts"] for event in events if event["ph"] == "X" and event.get("cat") == "cpu_op"}
    starts = [event["ts"] for event in arrows if event["ph"] == "s"]
    kernels = [row for row in rows(views[0] / "kernel_details.csv") if row["Step Id"] in STEPS]
    assert len(starts) >= len(kernels) > 20 and begins >= set(starts)


def test_communication_by_step(views: list[Path]) -> None:
    """Ranks give one operation one name."""
    found = [json.loads((view / "communication.json").read_text(encoding="utf-8")) for view in views]
    for step in STEPS:
        operations = [set(each[f"step{step}"]["collective"]) for each in found]
        assert operations[0] == operations[1]
        names_of_it = [name for name in operations[0] if name.startswith("hcom_allReduce_")]
        assert len(names_of_it) == 1
        times = found[0][f"step{step}"]["collective"][names_of_it[0]]
        moved = times["Communication Bandwidth Info"]["HCCS"]["Transit Size(MB)"]
        assert (
            moved == pytest.approx(2 * 64 * 128 * 4 / 1e6)
            and times["Communication Time Info"]["Elapse Time(ms)"] > 0
        )
    assert all((view / "communication_matrix.json").is_file() for view in views)


def test_a_short_job_of_one_rank(tmp_path: Path) -> None:
    """Its export is quicker than torch_npu looks for it."""
    done = torchrun.run(1, JOB, [str(tmp_path)], timeout=300)
    assert done.returncode == 0, torchrun.errors(done)
    assert "[ERROR]" not in done.stdout + done.stderr, done.stdout
    (view,) = tmp_path.glob("*/ASCEND_PROFILER_OUTPUT")
    assert len(rows(view / "kernel_details.csv")) > 20 and len(rows(view / "step_trace_time.csv")) == 2
    assert (view / "operator_details.csv").is_file()


# ---- msprof alone ----


def record(name: str, kind: str, begin: float, end: float, **more: Any) -> dict[str, Any]:
    args = {"shapes": "", "bytes": 8, "flops": 0, "code": 0, "roles": "", "launch": begin - 1}
    place = {"pid": more.pop("device", 0) + 1, "tid": more.pop("stream", 1) + 1}
    times = {"ts": begin, "dur": round(end - begin, 3)}
    return {"ph": "X", "name": name, "cat": kind, **place, **times, "args": args | more}


TASKS = [
    record("aclnnMatmul", "operator", 100, 200, shapes="float32[4,8] float32[8,2] float32[4,2]", roles="iio", flops=128),
    record("HcclAllReduce", "collective", 150, 300, shapes="float32[8] 2 ranks, direct, tp", stream=3),
    record("aclnnInplaceAdd", "operator", 350, 360, shapes="bfloat16[8] bfloat16[8]", roles="bi"),
    record("wait event", "control", 340, 350),
]  # fmt: skip


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Path]:
    """A profile whose raw clock gains a thousandth on the trace's."""
    folder = tmp_path / "PROF_000001_20260101000000000_ABCDEF"
    (folder / "host" / "data").mkdir(parents=True)
    clocks = {"collectionTimeBegin": "5000000", "clockMonotonicRaw": "900000", "clockMonotonic": "100000"}
    (folder / "host" / "start_info").write_text(json.dumps(clocks))
    clocks = {"collectionTimeEnd": "5001001", "clockMonotonicRaw": "1901000", "clockMonotonic": "1100000"}
    (folder / "host" / "end_info").write_text(json.dumps(clocks))
    head = {"ph": "M", "name": "mindspeed_trace", "pid": 0, "tid": 0, "args": {}}
    lines = "\n,".join(map(json.dumps, [head, *TASKS]))
    (folder / "host" / "data" / "npu_trace_77.json").write_text(f"[\n{lines}\n]\n")
    yield folder


def test_times_are_of_the_calendar(written: Path) -> None:
    """A thousandth more has passed by the raw clock, by which torch_npu counts."""
    found = profile.read(written)
    assert (found.process, found.devices, len(found.tasks)) == (77, [0], 4)
    product = found.tasks[0]
    assert (product.begin, product.launch) == (5_000_000_000, 5_000_000_000 - 1001)
    assert found.tasks[1].begin == 5_000_000_000 + 50_050


def test_tables(written: Path) -> None:
    found = profile.read(written)
    head, *all_rows = tables.summary(found)
    product, collective, addition = (dict(zip(head, row, strict=True)) for row in all_rows)
    assert (product["Task Start Time(us)"], product["Task Wait Time(us)"]) == ("5000000.000\t", "1.001")
    assert (product["Input Shapes"], product["Output Shapes"]) == ('"4,8;8,2"', '"4,2"')
    assert (addition["Output Shapes"], addition["Task Type"]) == ('"8"', "AI_VECTOR_CORE")
    assert collective["Op Name"] == "hcom_allReduce__tp_0_1"
    shares = [row[-1] for row in tables.statistic(found)][1:]
    assert sum(shares) == pytest.approx(100, abs=0.01) and shares == sorted(shares, reverse=True)


def test_what_overlaps(written: Path) -> None:
    events = timeline.events(profile.read(written))
    found: dict[str, list[float]] = {}
    for event in events:
        if event["ph"] == "X" and event["name"] in timeline.OVERLAP:
            found.setdefault(event["name"], []).append(event["dur"])
    assert found == {
        "Computing": [100.1, 10.01],
        "Communication": [150.15],
        "Communication(Not Overlapped)": [100.1],
        "Free": [50.05],
    }
    rows_of_processes = {e["args"]["name"]: e["pid"] for e in events if e["name"] == "process_name"}
    assert len(set(rows_of_processes.values())) == 4


def stretches() -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda pair: (min(pair), max(pair)))
    )


@given(stretches(), stretches())
def test_stretches_of_time(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    def moments(found: list[tuple[int, int]]) -> set[int]:
        return {moment for begin, end in found for moment in range(begin, end)}

    a, b = union(first), union(second)
    assert moments(a) == moments(first)
    assert all(end < begin for (_, end), (begin, _) in itertools.pairwise(a))
    left = without(a, b)
    assert moments(left) == moments(first) - moments(second)
    assert sum(end - begin for begin, end in left) == len(moments(left))


def test_products_are_of_cube_cores() -> None:
    for name, wanted in (
        ("aclnnMatmul", True), ("aclnnGroupedMatmulV5", True), ("aclnnFlashAttentionScoreGrad", True), ("aclnnMm", True),
        ("aclnnConvolution", True), ("aclnnAdd", False), ("aclnnMul", False), ("aclnnSoftmax", False), ("aclnnRmsNorm", False),
    ):  # fmt: skip
        task = profile.Task(
            name=name, kind="operator", device=0, stream=0, begin=0, end=1, launch=0, shapes="", roles="", size=0, flops=0
        )  # fmt: skip
        assert (names.core(task) == "AI_CORE") == wanted, name


def test_the_program_that_torch_npu_finds(written: Path) -> None:
    """In the folder that the start-up hook puts into PATH, next to the script that torch_npu looks for."""
    program = root() / "tools" / "profiler" / "bin" / "msprof"
    for option, result in (
        ("--export=on", "mindstudio_profiler_output/op_summary_*.csv"),
        ("--analyze=on", "analyze/communication.json"),
    ):
        done = subprocess.run(
            [program, option, f"--output={written}"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert len(list(written.glob(result))) == 1
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)
    assert "--type" not in done.stdout  # by which torch_npu would see that databases can be exported


def test_tables_come_at_once_and_are_waited_for(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the second time, over what the first has left."""
    seen: list[list[str]] = []
    output = written / "mindstudio_profiler_output"
    monkeypatch.setattr(
        msprof.time, "sleep", lambda _seconds: seen.append([p.name[:6] for p in output.iterdir()])
    )
    for _ in range(2):
        assert main(["--export=on", f"--output={written}"]) == 0
    assert [sorted(names_of) for names_of in seen] == [["msprof", "op_sta", "op_sum"]] * 2
    assert not list(written.glob("*.part"))


def test_mistakes_are_told_in_a_sentence(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(*options: str) -> str:
        try:
            code = main(options)
        except SystemExit as stop:
            code = stop.code
        assert code not in (0, None)
        error = capsys.readouterr().err
        assert "Traceback" not in error
        return error

    output = f"--output={written}"
    assert "nothing to do" in fails(output)
    assert "--type=db: not there for virtual NPUs" in fails("--export=on", "--type=db", output)
    assert "is no profile (PROF_*)" in fails("--export=on", f"--output={written / 'host'}")
    (written / "host" / "start_info").write_text('{"clockMonotonic": []}')
    assert "start_info is damaged" in fails("--export=on", output)
    trace = written / "host" / "data" / "npu_trace_77.json"
    trace.write_text(trace.read_text().replace('"launch"', '"lunch"'))
    (written / "host" / "start_info").write_text(
        (written / "host" / "end_info").read_text().replace("TimeEnd", "TimeBegin")
    )
    assert "line 3: no record of a task: KeyError('launch')" in fails("--export=on", output)
    trace.unlink()
    assert "MINDSPEED_TRACE" in fails("--export=on", output)
