# SPDX-License-Identifier: Apache-2.0
"""When a rank dies, all go on behind a recent step from copies of their states in memory, without a checkpoint.

Every few steps each rank writes its state into shared memory, and its neighbour keeps another copy of it. torchrun, which
sees that a rank died, starts all again; they take the newest step of which every rank's state is left somewhere.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Patch
from mindspeed.adaptor.session import current_arguments

_LAYOUT = (
    "world_size", "tensor_model_parallel_size", "pipeline_model_parallel_size", "virtual_pipeline_model_parallel_size",
    "context_parallel_size", "expert_model_parallel_size", "expert_tensor_parallel_size", "use_distributed_optimizer",
    "micro_batch_size", "global_batch_size",
)  # fmt: skip
_COUNTED = ("consumed_train_samples", "consumed_valid_samples", "skipped_train_samples")
Method = Callable[..., Any]


class _Job:
    """Of this process: its copies, and what is still to be done with those that it goes on from."""

    def __init__(self, args: Any) -> None:
        from mindspeed.features.tooling import _kept_copies as kept

        given = current_arguments()
        layout = {name: getattr(args, name, None) for name in _LAYOUT}
        place, keep = given.ttp_dump_dir, given.ttp_max_dump_ckpt_to_keep
        self.copies = kept.open_copies(place, keep, given.ttp_copy_interval, layout)
        self.found = self.copies.find()
        self.generators: Any = None  # set in front of the first step, as data loaders use them in between
        self.first = self.samples = 0
        self.training: Any = None

    def restore(self, args: Any, model: Any, optimizer: Any, scheduler: Any) -> None:
        from megatron.core.num_microbatches_calculator import update_num_microbatches

        from mindspeed.features.tooling._kept_state import Training

        self.training = Training(model, optimizer)
        if self.found is not None:
            told = self.found.told
            self.training.restore(self.found.data, told)
            self.found.close()
            args.iteration = self.found.step
            self.generators = told["generators"]
            vars(args).update(told["counted"]["arguments"])
            if scheduler is not None:
                scheduler.num_steps = told["counted"]["scheduler"]
            update_num_microbatches(consumed_samples=args.consumed_train_samples, verbose=True)
            self.found = None
        self.first, self.samples = args.iteration, args.consumed_train_samples

    def before_step(self, args: Any, scheduler: Any) -> None:
        from mindspeed.features.tooling._kept_state import set_generators

        if self.generators is not None:
            set_generators(self.generators)
            self.generators = None
        step = args.curr_iteration
        if step > self.first and step % self.copies.interval == 0:
            self.copies.keep(self.training, step, self._counted(args, scheduler))

    def _counted(self, args: Any, scheduler: Any) -> dict[str, Any]:
        from megatron.training.training import num_floating_point_operations

        operations = num_floating_point_operations(args, args.consumed_train_samples - self.samples)
        values = {name: getattr(args, name) for name in _COUNTED if hasattr(args, name)}
        values["num_floating_point_operations_so_far"] = (
            args.num_floating_point_operations_so_far + operations
        )
        return {"arguments": values, "scheduler": getattr(scheduler, "num_steps", 0)}

    def end(self) -> None:
        """All ranks are through: nothing is to be gone back to."""
        import torch

        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        self.copies.folder.remove()


_job: _Job | None = None


def resuming(setup: Method) -> Method:
    """setup_model_and_optimizer: where there are copies, no checkpoint is read."""

    @functools.wraps(setup)
    def setup_model_and_optimizer(*args: Any, **kwargs: Any) -> Any:
        global _job
        from megatron.training import get_args

        given = get_args()
        _job = _Job(given)
        hidden = {name: getattr(given, name, None) for name in ("load", "pretrained_checkpoint")}
        if _job.found is not None:
            vars(given).update(dict.fromkeys(hidden))
        model, optimizer, scheduler = setup(*args, **kwargs)
        if _job.found is not None:
            vars(given).update(hidden)
        _job.restore(given, model, optimizer, scheduler)
        return model, optimizer, scheduler

    return setup_model_and_optimizer


def keeping(train_step: Method) -> Method:
    """In front of a step, when all that belongs to the one before is counted."""

    @functools.wraps(train_step)
    def train_step_with_copies(
        forward_step_func: Any, data_iterator: Any, model: Any, optimizer: Any, opt_param_scheduler: Any,
        *args: Any, **kwargs: Any,
    ) -> Any:  # fmt: skip
        from megatron.training import get_args

        if _job is not None:
            _job.before_step(get_args(), opt_param_scheduler)
        return train_step(
            forward_step_func, data_iterator, model, optimizer, opt_param_scheduler, *args, **kwargs
        )

    return train_step_with_copies


def ending(pretrain: Method) -> Method:
    """Copies of a job that is done are removed; those of one that failed stay."""

    @functools.wraps(pretrain)
    def pretrain_with_copies(*args: Any, **kwargs: Any) -> Any:
        try:
            result = pretrain(*args, **kwargs)
        except SystemExit as leaving:
            if leaving.code in (None, 0) and _job is not None:
                _job.end()
            raise
        if _job is not None:
            _job.end()
        return result

    return pretrain_with_copies


def _meeting_anew(create: Method) -> Method:
    """torchrun keeps its store when it starts ranks again, with what those before wrote: addresses of processes that are gone,
    which ranks then connect to. On one host each start has names of its own; over several hosts their counts differ."""

    @functools.wraps(create)
    def create_store(*args: Any, **kwargs: Any) -> Any:
        import torch

        store = create(*args, **kwargs)
        is_agents = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        if not is_agents or os.environ["WORLD_SIZE"] != os.environ["LOCAL_WORLD_SIZE"]:
            return store
        return torch.distributed.PrefixStore(f"start{os.environ['TORCHELASTIC_RESTART_COUNT']}", store)

    return create_store


# Of the original's controller: (flag, type, default, what it says), and what does its work here.
_ELSEWHERE = {
    "torchrun watches the ranks; its address is --master-addr or --rdzv-endpoint": (
        ("--ttp-server-ip", str, "0.0.0.0", "Address of the original's controller."),
        ("--ttp-server-port", int, 29500, "Its port."),
    ),
    "copies are made while training, and nothing is written when a rank dies; ranks wait for each other as long as "
    "--distributed-timeout-minutes says": (
        ("--ttp-dump-timeout-seconds", int, 60, "How long the original writes."),
        ("--ttp-wait-dump-file-timeout", int, 60, "How long it waits for that."),
    ),
    "torchrun sees the end of a process within --monitor-interval": (
        ("--ttp-heartbeat-interval-ms", int, 1000, "How often the original's ranks report."),
        ("--ttp-heartbeat-timeout-ms", int, 3000, "How long a report may take."),
        ("--ttp-max-missed-count", int, 3, "How many reports may be missing."),
    ),
}


def check(args: Any) -> Iterator[str]:
    yield from _values(args)
    for attribute, flag in (
        ("use_precision_aware_optimizer", "--use-precision-aware-optimizer"),
        ("optimizer_cpu_offload", "--optimizer-cpu-offload"),
        ("use_torch_fsdp2", "--use-torch-fsdp2"),
        ("use_custom_fsdp", "--use-custom-fsdp"),
        ("use_megatron_fsdp", "--use-megatron-fsdp"),
        ("moe_use_upcycling", "--moe-use-upcycling"),
    ):
        if getattr(args, attribute, False):
            yield f"copies have what Megatron's own optimizers hold, and {flag} holds it in another way: leave out {flag}"
    if getattr(args, "num_distributed_optimizer_instances", 1) > 1:
        yield "--num-distributed-optimizer-instances is more than 1, which was not tried: leave it out"
    if getattr(args, "fp8", None) and getattr(args, "fp8_recipe", "delayed") == "delayed":
        yield "the scales of --fp8-recipe delayed come from steps before, which are not copied: give another recipe"


def _values(args: Any) -> Iterator[str]:
    for why, flags in _ELSEWHERE.items():
        for name, _, default, _ in flags:
            value = getattr(args, name[2:].replace("-", "_"), default)
            if value != default:
                yield f"{name} {value} would have no effect, as {why}: leave it out"
    for name in ("ttp_copy_interval", "ttp_max_dump_ckpt_to_keep"):
        if getattr(args, name, 1) < 1:
            yield f"--{name.replace('_', '-')} is {getattr(args, name)}, wanted 1 or more"
    for name in ("ttp_save_optimizer", "ttp_save_rng"):
        if not getattr(args, name, True):
            yield f"{name} is False, and without it the job would go on with other losses: leave it True"
    place = Path(getattr(args, "ttp_dump_dir", "ttp_dump"))
    if (not place.is_absolute() and len(place.parts) != 1) or ".." in place.parts:
        yield f"--ttp-dump-dir {place} is neither a name (of a folder within /dev/shm) nor a whole path: give one of these"


def _exclude(feature: str, why: str) -> Conflict:
    return Conflict(feature=feature, why=why)


FEATURE = Feature(
    name="ttp-enabled",
    level=Level.ACCELERATION,
    flags=(
        Flag("--ttp-enabled", "Go on from copies in memory when a rank dies (torchrun --max-restarts).", in_config=False),
        Flag("--ttp-copy-interval", "Steps between copies.", type=int, default=10, in_config=False),
        Flag(
            "--ttp-dump-dir",
            "Folder of the copies: a name within /dev/shm, or a path in another file system of memory.",
            type=str, default="ttp_dump", metavar="DIR", in_config=False,
        ),
        Flag(
            "--ttp-max-dump-ckpt-to-keep",
            "Whole copies at any time; there is memory for one more, which is being written.",
            type=int, default=1, metavar="N", in_config=False,
        ),
        Flag("--ttp-save-optimizer", "Copies have the optimizer's states, as they must.", default=True, in_config=False),
        Flag("--ttp-save-rng", "Copies have the states of generators, as they must.", default=True, in_config=False),
        *(
            Flag(name, f"{text} No other value than {default}: {why}.", type=kind, default=default, in_config=False)
            for why, flags in _ELSEWHERE.items()
            for name, kind, default, text in flags
        ),
    ),
    conflicts=(
        _exclude("reuse-fp32-param", "copies are made of main parameters, which are in halves there"),
        _exclude("swap-optimizer", "copies are made of states on the device, which are with the host there"),
        _exclude("virtual-optimizer", "copies are made of states on the device, which are with the host there"),
        _exclude("compress-optimizer", "copies are made of states that are tensors, which are compressed there"),
        _exclude("quant-states", "copies are made of states that are tensors, which are codes there"),
        _exclude("muon-optimizer", "what each rank updates is sent to the others by its own step, which copies do not do"),
        _exclude("npu-datadump", "no dump is overwritten, so ranks that are started again would be refused"),
        _exclude("layerzero", "copies have what Megatron's own optimizers hold"),
        _exclude("fsdp2-config", "copies have what Megatron's own optimizers hold"),
    ),
    check=check,
    patches=(
        Patch("torch.distributed.rendezvous:_create_c10d_store", _meeting_anew, wraps=True),
        Patch("megatron.training.training:setup_model_and_optimizer", resuming, wraps=True, requires="megatron.training"),
        Patch("megatron.training.training:train_step", keeping, wraps=True, requires="megatron.training"),
        Patch("megatron.training.training:pretrain", ending, wraps=True, requires="megatron.training"),
    ),
)  # fmt: skip
