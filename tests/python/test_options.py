# SPDX-License-Identifier: Apache-2.0
"""Options: wrong values of every row of the table, and that no variable is read without a row."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mindspeed import options
from mindspeed.cann import loader
from mindspeed.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
TABLE = options.table()
# Wrong values for each type; "{low}" and "{high}" are just outside of the range.
WRONG = {
    "number": ["x", "1.5", "8x", " 8", "0x8", "1e3", "--1", "9" * 30, "{low}", "{high}"],
    "numbers": ["x", "0", "4,", ",4", "4,x", "4;2"],
    "size": ["x", "0", "-1G", "64Q", "64 G", "1e9", "inf"],
    "choice": ["x", "nonsense", "0|1", " "],
    "devices": ["x", "0,", ",1", "0,0", "1024", "-1", "0;1", "0, 1"],
    "address": [
        "x",
        "localhost",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "0.0.0.0",
        "255.255.255.255",
        "1.2.3.4:80",
    ],
    "interfaces": [",", "eth0,", "eth 0", "=", "^", "^=", "a/b", "interface_of_16_c", "eth0,=ib0"],
    "algorithms": [
        "ring",
        "=ring",
        "all_reduce=",
        "all_reduce=ring,",
        "all_reduce ring",
        "all_reduce=fast",
        "x=ring",
    ],
    "links": ["x", "0", "-1", "10,", "10,x", "10,-1", "inf", "=10", "tp=", "10;", "10 GB/s", "1e9", "t p=1"],
    "instruction set": ["x", "mmx", "AVX2", "avx2 "],
    "file pattern": ["%d.json", "trace%", "folder/", "a\nb"],
    "path": ["a\nb", "\x7f"],
    "text": ["a\tb", "\x1b[0m"],
}
GOOD = {
    "number": ["{first}", "{last}"],
    "numbers": ["1", "4,2"],
    "size": ["1", "64G", "512M", "1.5t", "64GiB"],
    "devices": ["0", "2,0,1"],
    "address": ["192.168.1.2", "127.0.0.1"],
    "interfaces": ["eth0", "eth,ib", "=eth0", "^docker", "^=lo", "bond0.100"],
    "algorithms": ["all_reduce=ring", "all_reduce=ring,broadcast=tree,barrier=dissemination"],
    "links": ["12.5", "12.5,10", "tp=50,2;12.5,10", "dp_cp=0.5"],
    "file pattern": ["t.json", "/a/b c/%r.%p.json", "100%%.json"],
    "path": ["/a b/c", "ü"],
    "text": ["expandable_segments:True"],
}
CHECKED = ("the libraries", "the Python package")


def values(option, by_type):
    """The values of the option's type, bounds filled in."""
    bounds = [int(n) for n in re.findall(r"-?\d+", option.expected)]
    low, high = (bounds + [None])[:2] if option.type == "number" else (None, None)
    names = {
        "{low}": None if low is None else low - 1,
        "{high}": None if high is None else high + 1,
        "{first}": low,
        "{last}": high,
    }
    if option.type == "choice" and by_type is GOOD:
        return re.split(", | or ", option.expected)
    if option.type == "instruction set" and by_type is GOOD:
        return ["neon" if os.uname().machine == "aarch64" else "scalar"]
    return [str(v) for value in by_type[option.type] if (v := names.get(value, value)) is not None]


@pytest.mark.parametrize("option", TABLE, ids=lambda option: option.name)
def test_values_of_a_row(option):
    for value in values(option, GOOD):
        assert option.problem({option.name: value}) is None
    assert option.problem({}) is None and option.problem({option.name: ""}) is None
    for value in values(option, WRONG):
        text = option.problem({option.name: value})
        assert text is not None, value
        shown = re.sub(r"[\x00-\x1f\x7f]", "?", value)
        assert text.startswith(f"{option.name}={shown}: "), text
        assert "expected " + option.expected in text or option.type in ("algorithms", "devices"), text


def test_every_default_is_valid():
    assert [o.name for o in TABLE if o.default and o.problem({o.name: o.default})] == []


@pytest.fixture(scope="module")
def refusals():
    """What aclInit says, in one process that never succeeds: {name: [[value, code, text], ...]}."""
    wrong = {
        o.name: values(o, WRONG) for o in TABLE if any(reader in CHECKED for reader in o.readers.split(", "))
    }
    code = """
import ctypes, json, os, sys
from mindspeed import options
from mindspeed.cann import loader
acl = options._library()
acl.aclGetRecentErrMsg.restype = ctypes.c_char_p
said = {}
for name, values in json.load(sys.stdin).items():
    kept = os.environ.pop(name, None)
    for value in values:
        os.environ[name] = value
        code = acl.aclInit(None)
        said.setdefault(name, []).append([value, code, (acl.aclGetRecentErrMsg() or b"").decode() if code else ""])
        if code == 0: acl.aclFinalize()
        del os.environ[name]
    if kept is not None: os.environ[name] = kept
print(json.dumps(said))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(wrong),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    said = json.loads(done.stdout)
    assert said.keys() == wrong.keys()
    return said


@pytest.mark.parametrize(
    "option", [o for o in TABLE if any(r in CHECKED for r in o.readers.split(", "))], ids=lambda o: o.name
)
def test_init_refuses_wrong_values(option, refusals):
    for value, code, text in refusals[option.name]:
        assert code != 0, f"aclInit takes {option.name}={value!r}"
        assert option.problem({option.name: value}) in text


def test_import_survives_what_init_refuses():
    code = """
import torch
try: torch.zeros(1, device="npu")
except RuntimeError as error: print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"MINDSPEED_DEVICE": "gpu"},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert "MINDSPEED_DEVICE=gpu: expected host, ascend or auto" in done.stdout + done.stderr


def test_list_names_every_option_and_its_origin(capsys, monkeypatch):
    for option in TABLE:
        monkeypatch.delenv(option.name, raising=False)
    monkeypatch.setenv("HCCL_BUFFSIZE", "64")
    assert main(["env", "--list"]) == 0
    text = capsys.readouterr().out
    assert all(f"{option.name}=" in text and option.meaning in text for option in TABLE)
    assert "HCCL_BUFFSIZE=64  (environment; default: 200)\n" in text
    assert main(["env", "--list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["options"]}
    assert rows["HCCL_BUFFSIZE"]["value"] == "64" and rows["HCCL_BUFFSIZE"]["from"] == "environment"
    assert rows["MINDSPEED_NUM_DEVICES"]["from"] == "default"
    assert rows["RANK"]["read_by"] == ["the libraries", "the examples", "the tests", "PyTorch"]


def test_list_tells_wrong_values_and_names(capsys, monkeypatch):
    monkeypatch.setenv("TASK_QUEUE_ENABLE", "yes")
    monkeypatch.setenv("MINDSPEED_TRCAE", "x")
    assert main(["env", "--list"]) == 1
    text = capsys.readouterr().out
    assert "PROBLEM  TASK_QUEUE_ENABLE=yes: expected 0, 1 or 2\n" in text
    assert "PROBLEM  MINDSPEED_TRCAE is no option and has no effect; did you mean MINDSPEED_TRACE?\n" in text
    assert main(["env", "--list", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["misspelt"] == {"MINDSPEED_TRCAE": "MINDSPEED_TRACE"} and len(found["problems"]) == 2


# Every variable that is read has a row.

NAMES = {option.name for option in TABLE}
# Read by nobody but the process that a test or benchmark starts, or of the system or the interpreter.
# LOCAL_WORLD_SIZE and those of TORCHELASTIC are what torchrun gives its ranks.
OTHERS = {
    "PATH", "HOME", "PYTHONPATH", "PYTHONHASHSEED", "PYTEST_CURRENT_TEST", "SCRIPT", "TORCHELASTIC_ERROR_FILE",
    "LOCAL_WORLD_SIZE", "TORCHELASTIC_MAX_RESTARTS", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_USE_AGENT_STORE",
    "CLOSE_MATMUL_K_SHIFT",  # of the vendor's CANN
    "CUDA_DEVICE_MAX_CONNECTIONS", "UNIT_TESTS_ONLY", "UNIT_TESTS_OUT",  # of tools/megatron_unit_tests.py
}  # fmt: skip
MAPPING = re.compile(r"(^|\.)(environ|environment)$")


def test_c_asks_the_table_alone():
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in (ROOT / "src").rglob("*.[ch]")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\b(secure_)?getenv\s*\(|\benviron\b", line)
        and path.name not in ("hc_option.c", "hc_option_names.c")
    ]
    assert found == [], "read it by hc_option_text and give it a row in src/base/hc_option.h"


def test_c_reads_every_row_that_says_so():
    text = "".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "src").rglob("*.[ch]")
        if not path.name.startswith("hc_option")
    )
    table = (ROOT / "src/base/hc_option.h").read_text(encoding="utf-8")
    rows = re.findall(r'^    X\((\w+), "(\w+)", ([\w |]+),', table, re.MULTILINE)
    assert [name for _, name, _ in rows] == [option.name for option in TABLE]
    unread = [name for id, name, of in rows if "LIBRARY" in of and not re.search(rf"HC_OPT_{id}\b", text)]
    # The device is chosen by Python; here it is only checked.
    assert unread == ["MINDSPEED_DEVICE"]


def test_c_tests_read_rows():
    read = {
        name
        for folder in ("tests", "bench")
        for path in (ROOT / folder).rglob("*.[ch]")
        for name in re.findall(r'getenv\("(\w+)"\)', path.read_text(encoding="utf-8"))
    }
    assert read - NAMES == set() and "HC_TEST_FULL" in read


def constants(tree):
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def keys(tree):
    """Expressions by which a mapping named environ or environment is asked."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and MAPPING.search(ast.unparse(node.value)):
            yield node.slice
        elif isinstance(node, ast.Compare) and MAPPING.search(ast.unparse(node.comparators[0])):
            yield node.left
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            of = ast.unparse(node.func.value)
            asks = node.func.attr in ("get", "setdefault", "pop") and MAPPING.search(of)
            if asks or (of == "os" and node.func.attr == "getenv"):
                yield node.args[0]


def reads(path):
    """Names that a Python file reads; an expression that is no constant of the file stays as it is."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known = constants(tree)
    for key in keys(tree):
        text = ast.unparse(key)
        yield key.value if isinstance(key, ast.Constant) else known.get(text, text)


@pytest.mark.parametrize("folder", ["python", "examples", "bench", "tests", "tools"])
def test_python_reads_rows(folder):
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / folder).rglob("*.py")
        for name in reads(path)
        if name not in NAMES | OTHERS
    }
    # The mapping of all rows itself, one whose names the next test compares, and a constant of another module.
    allowed = {
        "python/mindspeed/cann/loader.py: name",
        "python/mindspeed/options.py: self.name",
        "python/mindspeed/planning/launch.py: name",  # set, as a command line says
        "tests/ops/conftest.py: operator_record.VARIABLE",
        "tests/python/features/test_npu_deterministic.py: npu_deterministic.COLLECTIVES",
    }
    assert found - allowed == set(), "give it a row in src/base/hc_option.h"


def test_defaults_that_the_hook_sets_are_those_of_the_table():
    assert {o.name: o.default for o in TABLE if o.name in loader.DEFAULTS} == loader.DEFAULTS


def test_the_search_finds_every_form(tmp_path):
    source = tmp_path / "a.py"
    source.write_text(
        "import os\nA = 'ONE'\nos.environ[A]; os.environ.get('TWO'); 'THREE' in os.environ; os.getenv('FOUR')\n"
        "environment.get('FIVE', ''); os.environ.setdefault('SIX', 1); os.environ.pop(name)\n"
    )
    assert set(reads(source)) == {"ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "name"}
