# SPDX-License-Identifier: Apache-2.0
"""The command `mindspeed`; what needs devices is in test_startup.py."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import mindspeed
import pytest
from mindspeed.cann import decision, loader
from mindspeed.cli import doctor, probing
from mindspeed.cli.main import main


@pytest.fixture(autouse=True)
def no_vendor(monkeypatch):
    for name in ("MINDSPEED_DEVICE", "ASCEND_HOME_PATH", "LD_LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)
    # Packages of NVIDIA, if this machine has some, are not what these tests are about.
    monkeypatch.setattr(doctor, "OPTIONAL", ())


def command(*arguments, **variables):
    import os

    return subprocess.run(
        [sys.executable, "-m", "mindspeed.cli.main", *arguments],
        capture_output=True, text=True, env=os.environ | variables, timeout=300, check=False,
    )  # fmt: skip


def test_version(capsys):
    with pytest.raises(SystemExit) as done:
        main(["--version"])
    assert done.value.code == 0
    assert capsys.readouterr().out == f"mindspeed {mindspeed.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["env", "--no"], ["run"]])
def test_wrong_arguments_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 2
    assert "usage: mindspeed" in capsys.readouterr().err


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(f"    {name} " in text for name in ("env", "run", "doctor", "smi"))


def test_the_command_needs_no_framework():
    """In an environment that has the wheel alone, as before the frameworks are installed."""
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['torch_npu'] = None; import mindspeed.cli.main"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_env_prints_exports_that_a_shell_takes(capsys, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/some where:/else")
    assert main(["env"]) == 0
    text = capsys.readouterr().out
    script = f'{text}\nprintf %s "$LD_LIBRARY_PATH"'
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert shell.stdout == f"{loader.root() / 'lib64'}:/some where:/else"


def test_a_reader_that_has_enough_is_no_error():
    """`mindspeed env --list | head -1`"""
    code = (
        "import sys; from mindspeed.cli.main import main; sys.stdin.read(); sys.exit(main(['env', '--list']))"
    )
    shown = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert shown.stdin is not None and shown.stdout is not None and shown.stderr is not None
    shown.stdout.close()
    shown.stdin.close()
    with shown.stderr:
        assert shown.stderr.read() == b""
    assert shown.wait() == 128 + signal.SIGPIPE


def test_env_does_not_grow_when_repeated(capsys, monkeypatch):
    main(["env", "--json"])
    first = json.loads(capsys.readouterr().out)
    for name, value in first.items():
        monkeypatch.setenv(name, value)
    main(["env", "--json"])
    assert json.loads(capsys.readouterr().out) == first


def test_env_for_the_vendor_sets_nothing(capsys, monkeypatch):
    monkeypatch.setenv("MINDSPEED_DEVICE", "ascend")
    assert main(["env", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {}


def test_a_bad_device_choice_is_named(capsys, monkeypatch):
    monkeypatch.setenv("MINDSPEED_DEVICE", "gpu")
    for arguments in (["env"], ["run", "true"], ["doctor"]):
        assert main(arguments) == 2
        assert capsys.readouterr().err == "mindspeed: MINDSPEED_DEVICE=gpu: expected host, ascend or auto\n"


def test_what_the_package_reads_is_checked(capsys, monkeypatch):
    monkeypatch.setenv("TASK_QUEUE_ENABLE", "yes")
    assert main(["env"]) == 2
    assert capsys.readouterr().err == "mindspeed: TASK_QUEUE_ENABLE=yes: expected 0, 1 or 2\n"


def test_run_sets_the_environment_and_passes_everything_on(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("import os, sys; print(os.environ['ASCEND_HOME_PATH'], sys.argv[1:]); sys.exit(7)")
    done = command("run", str(program), "--json", "-x", "a b")
    assert (done.returncode, done.stdout) == (7, f"{loader.root()} ['--json', '-x', 'a b']\n")


def test_run_of_a_missing_program(capsys):
    assert main(["run", "/no/such/program"]) == 2
    assert capsys.readouterr().err == "mindspeed: cannot start /no/such/program: No such file or directory\n"


# decide()


@pytest.fixture
def npu(monkeypatch):
    monkeypatch.setattr(decision, "DEVICE_NODES", "/dev/null")


def test_the_vendor_is_taken_when_it_has_a_device(npu, tmp_path):
    found = decision.decide({"ASCEND_HOME_PATH": str(tmp_path)}, loadable=lambda library: None)
    assert found.kind == "ascend"


def test_an_unloadable_vendor_library_is_the_reason(npu, tmp_path):
    found = decision.decide({"ASCEND_HOME_PATH": str(tmp_path)})
    assert found.kind == "host"
    assert "libascendcl.so" in found.reason


def test_nothing_is_loaded_without_a_device(monkeypatch, tmp_path):
    monkeypatch.setattr(decision, "DEVICE_NODES", "/dev/no-such-device[0-9]")
    found = decision.decide(
        {"ASCEND_HOME_PATH": str(tmp_path)}, loadable=lambda library: pytest.fail("loaded")
    )
    assert (found.kind, "no NPU" in found.reason) == ("host", True)


def test_a_host_tree_is_not_the_vendor(npu, tmp_path):
    (tmp_path / "host_implementation.info").touch()
    assert decision.decide({"ASCEND_HOME_PATH": str(tmp_path)}, loadable=lambda library: None).kind == "host"


@pytest.mark.parametrize("choice", ["host", "ascend"])
def test_an_explicit_choice_wins(choice, npu, tmp_path):
    found = decision.decide(
        {"MINDSPEED_DEVICE": choice, "ASCEND_HOME_PATH": str(tmp_path)}, loadable=lambda _: None
    )
    assert found.kind == choice


# doctor


@pytest.fixture
def healthy(monkeypatch):
    """Answers of a machine on which everything is right."""
    answers = {
        "library": {
            "kind": "host",
            "instruction_set": "avx2",
            "devices": 8,
            "soc": "S",
            "memory_bytes": 2**36,
            "list": [
                {
                    "id": i,
                    "physical_id": 7 - i,
                    "memory_bytes": 2**36,
                    "free_bytes": 2**35,
                    "used_bytes": 0,
                    "processes": [],
                }
                for i in range(8)
            ],
        },
        "operator": {"operator": "add"},
    }
    monkeypatch.setattr(probing, "probe", lambda name, timeout: dict(answers[name]))
    monkeypatch.setattr(doctor, "_versions", _right_versions)
    monkeypatch.setattr(doctor.loader, "library_paths", lambda: [loader.root() / n for n in loader.FIRST])
    monkeypatch.setitem(sys.modules, "_mindspeed_hook", sys)
    return answers


def _right_versions(report):
    report.facts["python"], report.facts["platform"] = "3.11", "x86_64"
    report.facts["versions"] = {
        name: {"found": tested.last, "tested": str(tested), "is_tested": True}
        for name, tested in doctor.TESTED.items()
    }


def test_doctor_is_content(healthy, capsys):
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "8 x S of 64 GiB" in text and "avx2" in text and text.endswith("All is well.\n")


def test_smi_shows_who_holds_memory(healthy, capsys):
    healthy["library"]["list"][2] |= {
        "used_bytes": 3 * 2**30,
        "processes": [
            {"pid": 17, "name": "python", "bytes": 2**31},
            {"pid": 18, "name": "pt_main", "bytes": 2**30},
        ],
    }
    assert main(["smi"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["NPU", "physical", "name", "used", "free", "memory", "processes"]
    assert lines[1] == ["0", "7", "S", "0.0", "MiB", "32.00", "GiB", "64.00", "GiB", "-"]
    assert lines[3] == "2 5 S 3.00 GiB 32.00 GiB 64.00 GiB 17 python 2.00 GiB".split()
    assert lines[4] == "18 pt_main 1.00 GiB".split()
    assert len(lines) == 10
    assert main(["doctor"]) == 0
    assert "17 python 2.00 GiB" in capsys.readouterr().out


def test_smi_of_a_wrong_list():
    done = command("smi", MINDSPEED_DEVICE="host", ASCEND_RT_VISIBLE_DEVICES="1,1")
    assert done.returncode == 1
    assert "ASCEND_RT_VISIBLE_DEVICES=1,1: '1' is there twice" in done.stdout


def test_smi_of_visible_devices():
    done = command("smi", "--json", MINDSPEED_DEVICE="host", ASCEND_RT_VISIBLE_DEVICES="6,2")
    assert done.returncode == 0, done.stderr
    assert [d["physical_id"] for d in json.loads(done.stdout)["list"]] == [6, 2]


def test_smi_of_no_device():
    done = command("smi", MINDSPEED_DEVICE="host", ASCEND_RT_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert "ASCEND_RT_VISIBLE_DEVICES is empty" in done.stdout


def test_doctor_as_json(healthy, capsys):
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True and found["problems"] == []
    assert found["device"]["devices"] == 8


@pytest.mark.parametrize("name", ["library", "operator"])
def test_a_failed_probe_is_a_problem(name, healthy, capsys):
    healthy[name]["error"] = "went wrong"
    assert main(["doctor"]) == 1
    assert "went wrong" in capsys.readouterr().out


def test_what_the_hook_kept_to_itself_is_a_problem(healthy, capsys):
    healthy["operator"]["hook"] = "SystemExit: 3"
    assert main(["doctor"]) == 1
    assert "the start-up hook failed" in (text := capsys.readouterr().out) and "SystemExit: 3" in text


def test_a_missing_hook_is_a_problem(healthy, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "_mindspeed_hook")
    assert main(["doctor"]) == 1
    assert "start-up hook is not installed" in capsys.readouterr().out


def _versions_of(monkeypatch, **installed):
    monkeypatch.setattr("mindspeed.adaptor.versions.installed_version", installed.get)
    report = doctor.Report()
    doctor._versions(report)
    return report


def test_an_untested_version_is_a_warning_and_a_missing_one_a_problem(monkeypatch):
    report = _versions_of(monkeypatch, torch="9.9")
    assert report.warnings == ["torch 9.9 is outside of what this release is tested with: 2.7.1 to 2.14.0"]
    assert report.problems == ["torch_npu is not installed, this release is tested with 2.7.1 to 2.14.0"]


def test_a_pair_that_does_not_fit_is_a_problem(monkeypatch):
    report = _versions_of(monkeypatch, torch="2.13.0+cpu", torch_npu="2.9.0.post2")
    assert report.warnings == []
    assert report.problems == [
        "torch_npu 2.9.0.post2 is not for torch 2.13.0+cpu: install torch-npu==2.13.* for this torch, "
        "or torch==2.9.* for this torch_npu"
    ]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended by signal 11"),
        ("import time; time.sleep(60)", "no answer within 0.5 s"),
        ("raise ValueError('no good')", "ValueError: no good"),
        ("print('not json')", "exit code 0"),
        ("print('noise'); print('{\"devices\": 3}')", None),
    ],
)
def test_probes_survive_everything(script, expected, tmp_path, monkeypatch):
    fake = tmp_path / "python"
    fake.write_text(f'#!/bin/sh\nexec {sys.executable} -c "$SCRIPT"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("SCRIPT", script)
    monkeypatch.setattr(probing.sys, "executable", str(fake))
    found = probing.probe("library", 0.5 if "sleep" in script else 60)
    assert found == {"devices": 3} if expected is None else expected in found["error"]


def test_two_megatrons_are_a_warning(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name / "megatron" / "core").mkdir(parents=True)
        (tmp_path / name / "megatron" / "core" / "package_info.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "a"), str(tmp_path / "b")])
    monkeypatch.setattr(doctor, "OPTIONAL", ())
    report = doctor.Report()
    doctor._packages(report, 60)
    assert "there are 2 Megatrons" in report.warnings[0] and str(tmp_path / "a") in report.warnings[0]


@pytest.mark.parametrize(
    ("text", "warned"), [("", False), ("raise OSError('libcudnn.so is not there')", True)]
)
def test_a_broken_package_of_nvidia_is_a_warning(text, warned, tmp_path, monkeypatch):
    (tmp_path / "apex.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(doctor, "OPTIONAL", ("apex",))
    report = doctor.Report()
    doctor._packages(report, 60)
    assert any("apex is installed and broken (OSError: libcudnn.so" in w for w in report.warnings) is warned
