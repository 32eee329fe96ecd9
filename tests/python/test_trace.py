# SPDX-License-Identifier: Apache-2.0
"""Traces of real processes, and `mindspeed trace merge`. How a file is kept whole: tests/runtime/test_trace_file.c."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from mindspeed.cli.main import main

# The runtime alone: no framework, so a process takes a tenth of a second. Arguments: devices to use.
JOB = """
import ctypes, os, sys
from mindspeed.options import _library
acl = _library()
def work():
    assert acl.aclInit(None) == 0
    for device in sys.argv[1:]:
        assert acl.aclrtSetDevice(int(device)) == 0
        there = ctypes.c_void_p()
        assert acl.aclrtMalloc(ctypes.byref(there), ctypes.c_size_t(64), 0) == 0
        for _ in range(3):
            assert acl.aclrtMemset(there, ctypes.c_size_t(64), 0, ctypes.c_size_t(64)) == 0
    acl.aclFinalize()
"""


def run(code, *devices, check=True, **variables):
    return subprocess.run(
        [sys.executable, "-c", JOB + code, *map(str, devices)],
        env=os.environ | {k: str(v) for k, v in variables.items()},
        capture_output=True,
        text=True,
        timeout=100,
        check=check,
    )


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def slices(records):
    return [record for record in records if record["ph"] == "X"]


def test_subprocesses_that_inherit_the_variable_have_files_of_their_own(tmp_path):
    code = """
import subprocess
work()
if "CHILD" not in os.environ:
    script = open("/proc/self/cmdline").read().split("\\0")[2]
    for _ in range(2):
        subprocess.run([sys.executable, "-c", script, *sys.argv[1:]], env={**os.environ, "CHILD": "1"}, check=True)
"""
    done = run(code, 0, MINDSPEED_TRACE=tmp_path / "t.json")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 3 and tmp_path / "t.json" in files
    assert all(len(slices(load(path))) == 3 for path in files)
    assert done.stderr.count("t.json exists and is left alone; the trace of process") == 2
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o600"}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_multiprocessing(method, tmp_path):
    """What a DataLoader does: workers that use no device write nothing, those that do write files of their own."""
    script = tmp_path / "job.py"
    script.write_text(
        JOB
        + f"""
import multiprocessing
def worker(uses):
    if uses: work()
if __name__ == "__main__":
    work()
    context = multiprocessing.get_context("{method}")
    workers = [context.Process(target=worker, args=(uses,)) for uses in (False, True, True)]
    for process in workers: process.start()
    for process in workers: process.join()
    assert [process.exitcode for process in workers] == [0, 0, 0]
"""
    )
    folder = tmp_path / "traces"
    folder.mkdir()
    variables = os.environ | {"MINDSPEED_TRACE": str(folder / "t.json")}
    subprocess.run([sys.executable, str(script), "0"], env=variables, timeout=100, check=True)
    assert [len(slices(load(path))) for path in sorted(folder.iterdir())] == [3, 3, 3]


def test_ranks_of_a_single_process_are_named_too(tmp_path):
    run("work()", 0, MINDSPEED_TRACE=tmp_path / "%r.json", RANK=0, WORLD_SIZE=1)
    run("work()", 0, MINDSPEED_TRACE=tmp_path / "t.json", RANK=5, WORLD_SIZE=8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.json", "t.rank5.json"]
    assert load(tmp_path / "t.rank5.json")[0]["args"]["rank"] == 5


# merge


def head(process=100, rank=None, host="a", clock="boot/1", wall_ns=10**18):
    args = {"format": 1, "process": process, "rank": rank, "host": host, "clock": clock, "wall_ns": wall_ns}
    return {"ph": "M", "name": "mindspeed_trace", "pid": 0, "tid": 0, "args": args}


def task(ts, device=0, name="aclnnAdd"):
    return {"ph": "X", "name": name, "pid": device + 1, "tid": 1, "ts": ts, "dur": 1.5, "args": {}}


def write(path, *records):
    """As the library does: a record on a line, blanks in between."""
    first, *others = map(json.dumps, records)
    lines = "".join(f"{' ' * 37},{other}\n" for other in others)
    path.write_text(f"[\n{first}\n{lines}{' ' * 40}]\n", encoding="utf-8")
    return str(path)


def merged(tmp_path, *files):
    out = tmp_path / "merged.json"
    assert main(["trace", "merge", *files, "-o", str(out)]) == 0
    return load(out)


def row_names(records):
    return {r["pid"]: r["args"]["name"] for r in records if r["name"] == "process_name"}


def test_merge_of_real_traces(tmp_path, capsys):
    """Two ranks with the same devices: rows by rank and device, all slices, one clock."""
    for rank in (1, 0):
        run("work()", 0, 3, MINDSPEED_TRACE=tmp_path / "%r.json", RANK=rank, WORLD_SIZE=2)
    names = [str(tmp_path / f"{rank}.json") for rank in (1, 0)]
    records = merged(tmp_path, *names)
    assert "merged.json: " in capsys.readouterr().out
    rows = row_names(records)
    assert sorted(rows.values()) == ["rank 0: NPU 0", "rank 0: NPU 3", "rank 1: NPU 0", "rank 1: NPU 3"]
    assert [rows[n] for n in sorted(rows)] == sorted(rows.values())
    assert len(slices(records)) == 12 and {r["pid"] for r in records} == set(rows)
    alone = [s["ts"] for name in names for s in slices(load(tmp_path / os.path.basename(name)))]
    assert sorted(s["ts"] for s in slices(records)) == sorted(alone)
    assert oct((tmp_path / "merged.json").stat().st_mode & 0o777) == "0o600"


def test_other_hosts_are_moved_to_the_clock_of_the_first(tmp_path):
    """Host b was started 1000 s later, by the calendar; containers of both have the same process number."""
    a = write(tmp_path / "a.json", head(rank=0, host="a", clock="x/1", wall_ns=5 * 10**18), task(2000.125))
    b = write(
        tmp_path / "b.json", head(rank=1, host="b", clock="y/1", wall_ns=5 * 10**18 + 10**12), task(7.5)
    )
    records = merged(tmp_path, b, a)
    assert row_names(records) == {1: "rank 0 on a: NPU 0", 2: "rank 1 on b: NPU 0"}
    assert {s["pid"]: s["ts"] for s in slices(records)} == {1: 2000.125, 2: 7.5 + 1e9}


def test_processes_without_a_rank_come_behind(tmp_path):
    files = [
        write(tmp_path / "a.json", head(process=7), task(1.0)),
        write(tmp_path / "b.json", head(process=7), task(1.0, device=-1)),
        write(tmp_path / "c.json", head(process=9, rank=2), task(1.0)),
    ]
    names = row_names(merged(tmp_path, *files))
    assert names == {1: "rank 2: NPU 0", 2: "process 7: NPU 0", 3: "process 7: host"}


def refused(capsys, tmp_path, *files):
    out = tmp_path / "merged.json"
    assert main(["trace", "merge", *map(str, files), "-o", str(out)]) == 2
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[: text.index("3.0")], "bad.json, line 5: no whole record"),
        (lambda text: text.rstrip("]\n "), "bad.json has no ']' at its end: it is cut off"),
        (lambda text: text.replace('"dur"', '"d\0r"', 1), "bad.json, line 3: no whole record"),
        (lambda text: text.replace(",{", "{", 1), "bad.json, line 3: a record begins with ','"),
        (lambda text: text.replace(",{", ",,{", 1), "bad.json, line 3: no whole record"),
        (lambda text: text.replace('"pid": 1', '"pid": "1"', 1), "bad.json, line 3: 'pid' and 'ts' must be numbers"),
        (lambda text: text + "[]", "bad.json, line 8: text behind the ']' of line 7"),
        (lambda text: "{" + text, "bad.json, line 1: a trace of MindSpeed begins with a line '['"),
        (lambda text: "", "bad.json has no ']' at its end"),
        (lambda text: text.replace("mindspeed_trace", "other"), "line 2: the first record does not say whose trace"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "line 2: format 2; this release merges format 1"),
        (lambda text: text.replace('"wall_ns"', '"wall"'), "line 2: the first record lacks or has a wrong 'wall_ns'"),
    ],
)  # fmt: skip
def test_damaged_files_are_refused_with_their_place(change, said, tmp_path, capsys):
    good = write(tmp_path / "good.json", head(), task(1.0))
    bad = tmp_path / "bad.json"
    write(bad, head(), task(1.0), task(2.0), task(3.0), task(4.0))
    bad.write_text(change(bad.read_text(encoding="utf-8")), encoding="utf-8")
    assert said in refused(capsys, tmp_path, good, bad)


def test_other_refusals(tmp_path, capsys):
    good = write(tmp_path / "good.json", head(), task(1.0))
    assert "cannot read" in refused(capsys, tmp_path, good, tmp_path / "absent.json")
    (tmp_path / "link.json").symlink_to(good)
    assert "named twice" in refused(capsys, tmp_path, good, tmp_path / "link.json")
    assert main(["trace", "merge", good, "-o", good]) == 2
    assert "exists; name another file" in capsys.readouterr().err
    assert main(["trace", "merge", good, "-o", str(tmp_path / "no" / "t.json")]) == 2
    assert "cannot write" in capsys.readouterr().err
    (tmp_path / "dangling.json").symlink_to(tmp_path / "victim")
    assert main(["trace", "merge", good, "-o", str(tmp_path / "dangling.json")]) == 2
    assert not (tmp_path / "victim").exists()


def test_a_trace_of_a_killed_process_merges(tmp_path):
    """Blank pages and all: what a process leaves that is killed between two writes."""
    code = """
import signal, threading
acl.aclInit(None); acl.aclrtSetDevice(0)
there = ctypes.c_void_p()
acl.aclrtMalloc(ctypes.byref(there), ctypes.c_size_t(64), 0)
threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
while True:
    acl.aclrtMemset(there, ctypes.c_size_t(64), 0, ctypes.c_size_t(64))
"""
    done = run(code, MINDSPEED_TRACE=tmp_path / "t.json", check=False)
    assert done.returncode == -9
    count = len(slices(load(tmp_path / "t.json")))
    assert count > 1000
    assert len(slices(merged(tmp_path, str(tmp_path / "t.json")))) == count
