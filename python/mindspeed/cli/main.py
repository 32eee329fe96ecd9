# SPDX-License-Identifier: Apache-2.0
"""Commands and their help texts."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import mindspeed
from mindspeed.cli import diff, doctor, environment, memory, plan, smi, trace

DESCRIPTION = "Megatron-LM on Ascend NPUs, and on any Linux machine without one."
EPILOG = """\
examples:
  mindspeed doctor                      is everything there, and does an operator work?
  mindspeed smi                         devices, their memory, and who holds it
  mindspeed run python train.py         start a program with the environment set
  eval "$(mindspeed env)"               set the environment of this shell
  mindspeed plan -- torchrun --nproc-per-node 8 pretrain_gpt.py ...
                                        features, patches, flags and memory of a command, without running it
  mindspeed memory -- torchrun --nproc-per-node 8 pretrain_gpt.py ...
                                        run it, and show which module held what when memory was fullest
  mindspeed diff A B                    where two runs with --npu-datadump part
  mindspeed env --list                  every variable that is read, its value, and whether it is valid

PyTorch programs need neither `run` nor `env`: `import torch` finds the virtual NPUs by itself.
MINDSPEED_DEVICE=host|ascend|auto chooses between the virtual NPUs and the vendor's CANN.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mindspeed",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mindspeed {mindspeed.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    env = commands.add_parser("env", help="print the environment variables that a framework needs")
    env.add_argument("--json", action="store_true", help="as a JSON object instead of shell exports")
    env.add_argument(
        "--list",
        action="store_true",
        help="list every variable that is read: value, meaning, what is valid; exit code 1 if one is not valid",
    )
    env.set_defaults(run=_environment)

    run = commands.add_parser(
        "run",
        help="start a program with that environment",
        description="Start a program with the environment of `mindspeed env`. Only MindSpore needs it.",
    )
    run.add_argument("program", metavar="PROG", help="a command, or a Python file")
    run.add_argument("arguments", metavar="ARG", nargs=argparse.REMAINDER, help="arguments of the program")
    run.set_defaults(run=lambda args: environment.run(args.program, args.arguments))

    check = commands.add_parser(
        "doctor",
        help="check the installation",
        description="Check versions, libraries, devices and one operator. Exit code 0 if all is well.",
    )
    check.add_argument("--json", action="store_true", help="print the findings as a JSON object")
    check.add_argument(
        "--timeout", type=float, default=120.0, metavar="SECONDS", help="for the test (default: 120)"
    )
    check.set_defaults(run=lambda args: doctor.run(as_json=args.json, timeout=args.timeout))

    devices = commands.add_parser(
        "smi",
        help="show the devices, their memory and who holds it",
        description="Show the devices that a program would see (ASCEND_RT_VISIBLE_DEVICES), and which processes"
        " of this user hold how much of their memory.",
    )
    devices.add_argument("--json", action="store_true", help="print a JSON object")
    devices.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="for an answer (default: 60)"
    )
    devices.set_defaults(run=lambda args: smi.run(as_json=args.json, timeout=args.timeout))

    traces = commands.add_parser("trace", help="work with files that MINDSPEED_TRACE wrote")
    actions = traces.add_subparsers(title="actions", metavar="ACTION", required=True)
    merge = actions.add_parser(
        "merge",
        help="one file for Perfetto from those of several processes",
        description="Merge traces of several processes: rows are named by rank and device, times are on one clock.",
    )
    merge.add_argument("files", metavar="FILE", nargs="+", help="what MINDSPEED_TRACE or the profiler wrote")
    merge.add_argument("-o", "--output", metavar="OUT", required=True, help="a new file")
    merge.set_defaults(run=lambda args: trace.merge(args.files, args.output))
    _add_plan(commands)
    _add_memory(commands)
    _add_diff(commands)
    return parser


def _add_memory(commands: Any) -> None:
    memories = commands.add_parser(
        "memory",
        help="run a training command, and show which module holds what memory",
        usage="mindspeed memory [options] -- COMMAND ...\n       mindspeed memory [options] --read DIR",
        description="Run a command with its device memory recorded: which modules, by name, held what when most was in use, and over"
        " time. The program's own output goes to standard error. Exit code as of the command.",
    )
    memories.add_argument(
        "--steps", type=int, default=memory.STEPS, metavar="N",
        help=f"of the optimizer to record; the program runs on without (default: {memory.STEPS})",
    )  # fmt: skip
    memories.add_argument("--format", choices=memory.FORMATS, default="table", help="default: table")
    memories.add_argument("-o", "--output", metavar="FILE", help="instead of standard output")
    memories.add_argument("--rank", type=int, metavar="R", help="the rank to show (default: the fullest)")
    memories.add_argument(
        "--depth", type=int, default=memory.DEPTH, metavar="N",
        help=f"parts of names: at 3 decoder.layers.0 is one module (default: {memory.DEPTH})",
    )  # fmt: skip
    memories.add_argument("--record", metavar="DIR", help="keep the records, for --read")
    memories.add_argument("--read", metavar="DIR", help="show such records, and run nothing")
    memories.add_argument("command", metavar="COMMAND", nargs="*", help="torchrun ... script.py --flags ...")
    memories.set_defaults(run=_memory)


def _memory(args: argparse.Namespace) -> int:
    return memory.run(
        args.command,
        steps=args.steps,
        record=args.record,
        read=args.read,
        rank=args.rank,
        depth=args.depth,
        form=args.format,
        output=args.output,
    )


def _add_diff(commands: Any) -> None:
    differ = commands.add_parser(
        "diff",
        help="find where two runs part",
        description="Compare two dumps of --npu-datadump: the first module whose output or gradient differs."
        " Exit code 0 if the runs agree, 1 if they part.",
    )
    differ.add_argument("a", metavar="A", help="folder of the first run (--npu-datadump-dir)")
    differ.add_argument("b", metavar="B", help="folder of the second run")
    differ.add_argument(
        "--tolerance",
        type=float,
        metavar="X",
        help="largest relative difference of statistics (default: by element type, 1e-4 for float32, 2e-2 for bfloat16)",
    )
    differ.add_argument("--json", action="store_true", help="print a JSON object")
    differ.set_defaults(
        run=lambda args: diff.run(args.a, args.b, tolerance=args.tolerance, as_json=args.json)
    )


def _add_plan(commands: Any) -> None:
    plans = commands.add_parser(
        "plan",
        help="tell what a training command would do, without running it",
        usage="mindspeed plan [options] -- COMMAND ...\n       mindspeed plan --diff A B",
        description="Every feature, on or off and why; every patch; every flag; parameters and memory per device."
        " Exit code 1 if the command would be refused.",
    )
    plans.add_argument("--optimization-level", type=int, choices=(0, 1, 2), help="instead of the command's")
    plans.add_argument("--format", choices=plan.FORMATS, default="table", help="default: table")
    plans.add_argument("-o", "--output", metavar="FILE", help="instead of standard output")
    plans.add_argument(
        "--megatron", metavar="DIR", help="checkout of Megatron-LM, if the script is elsewhere"
    )
    plans.add_argument(
        "--diff",
        nargs=2,
        metavar=("A", "B"),
        help="compare two commands (each one quoted word), or plans written as .json",
    )
    plans.add_argument("command", metavar="COMMAND", nargs="*", help="torchrun ... script.py --flags ...")
    plans.set_defaults(run=_plan)


def _plan(args: argparse.Namespace) -> int:
    if args.diff:
        return plan.compare(*args.diff, megatron=args.megatron)
    return plan.show(
        args.command,
        level=args.optimization_level,
        form=args.format,
        output=args.output,
        megatron=args.megatron,
    )


def _environment(args: argparse.Namespace) -> int:
    return (environment.list_options if args.list else environment.show)(as_json=args.json)


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    try:
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `mindspeed env --list | head`: whoever reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is written at the end
        return 128 + signal.SIGPIPE
    except environment.UsageError as error:
        print(f"mindspeed: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
