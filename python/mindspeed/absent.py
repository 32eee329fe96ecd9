# SPDX-License-Identifier: Apache-2.0
"""Names of the original MindSpeed that other projects import and that are not here: one sentence each.

The finder is the last one that Python asks, so a module that exists never meets it. It raises ModuleNotFoundError:
`except ImportError` around an optional import works as with any other module. This file imports nothing of the package.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # read as true by type checkers; the package is imported at the start of every program
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

MIGRATING = "docs/migrating.md lists what there is"

# Name or prefix of names -> what replaces it. The longest prefix counts.
SENTENCES = {
    "mindspeed.auto_settings": "the search for a parallel strategy is not part of this package; "
    "`mindspeed plan` tells what a training command would do",
    "mindspeed.checkpointing": "Megatron's own checkpointing is used: chained optimizers are saved by Megatron",
    "mindspeed.core.auto_parallel": "the search for a parallel strategy is not part of this package; "
    "`mindspeed plan` tells what a training command would do",
    "mindspeed.core.context_parallel": "context parallelism is Megatron's with the feature context-parallel, chosen by "
    "--context-parallel-size, and has no classes to build on",
    "mindspeed.core.distill": "distillation is --qad-enable, which repatch() takes as well; "
    "mindspeed.core.distill.logits_kl_loss has LogitsKLLoss",
    "mindspeed.core.distributed": "Megatron's own data parallelism and FSDP are used (--use-distributed-optimizer, "
    "--use-custom-fsdp)",
    "mindspeed.core.fp8_utils": "Megatron's own function makes the contexts, and --fp8-format and --fp8-recipe choose them",
    "mindspeed.core.fusions": "fused operators are chosen by flags and called through torch_npu or mindspeed.ops",
    "mindspeed.core.megatron_basic": "what Megatron needs to run on an NPU is applied by the import of "
    "mindspeed.megatron_adaptor and has no functions to call",
    "mindspeed.core.memory": "memory features are chosen by flags, which repatch() takes as well; they have no "
    "functions to call",
    "mindspeed.core.models": "Megatron's own models are used",
    "mindspeed.core.multi_modal": "training of encoders and language models in worlds of their own is not part of "
    "this package",
    "mindspeed.core.optimizer": "optimizers are chosen by Megatron's --optimizer and by flags; "
    "mindspeed.core.optimizer.adamw has AdamW",
    "mindspeed.core.performance": "the automatic pipeline is not part of this package",
    "mindspeed.core.pipeline_parallel": "Megatron's own schedules are used",
    "mindspeed.core.qat": "training with weights of few bits is --qat-scheme, which repatch() takes as well",
    "mindspeed.core.simple_parallel_cfg": "the sizes of parallel groups are in Megatron's parallel_state",
    "mindspeed.core.ssm": "gated delta nets have no operator here; Megatron's own and those of the package fla are "
    "used as they are",
    "mindspeed.core.tensor_parallel": "Megatron's own tensor parallelism is used; products that contain messages (MC2), are "
    "cut around them (CoC) or over a grid of ranks are flags, --use-ascend-mc2, --use-ascend-coc and --tp-2d",
    "mindspeed.core.tensor_parallel_y_union_cp": "ranks share a sequence by --context-parallel-size; --tp-2d cuts layers over "
    "a grid of tensor-parallel ranks",
    "mindspeed.core.transformer": "Megatron's own transformer layers are used; features change them by flags",
    "mindspeed.features_manager": "features of this package are no classes: a flag switches one on "
    "(mindspeed.megatron_adaptor.repatch takes the flags as well)",
    "mindspeed.fsdp": "mindspeed.fsdp.mindspeed_parallel_engine has MindSpeedParallelEngine, and its plans are in "
    "mindspeed.fsdp.parallel_engine_config",
    "mindspeed.fsdp.memory.swap_optimizer": "states of a PyTorch optimizer stay on the device; Megatron's go to the host by "
    "--swap-optimizer",
    "mindspeed.fsdp.quantization": "quantization_plan of the engine quantises linear layers (quantize.linear.mx) and experts "
    "(quantize.moe.mx) where they are",
    "mindspeed.functional": "profiling and dumps are those of torch_npu (torch_npu.profiler)",
    "mindspeed.initialize": "Megatron's own initialisation is used",
    "mindspeed.lite": "what followed it is here: mindspeed.fsdp.mindspeed_parallel_engine.MindSpeedParallelEngine",
    "mindspeed.log_config": "use Python's logging: the loggers are named mindspeed.*",
    "mindspeed.mindspore": "with MindSpore a model is trained through MindSpore itself, see docs/install.md; patches that "
    "imitate PyTorch on MindSpore are not part of this package",
    "mindspeed.model": "Megatron's own models are used",
    "mindspeed.moe": "Megatron's own mixture of experts is used",
    "mindspeed.multi_modal": "multimodal building blocks are not part of this package",
    "mindspeed.op_builder": "operators are part of the library and are not compiled at first use: "
    "call them through torch_npu or mindspeed.ops",
    "mindspeed.ops.triton": "there are no Triton kernels here: their results come from operators called through torch_npu",
    "mindspeed.optimizer": "optimizers are chosen by Megatron's --optimizer; mindspeed.core.optimizer.adamw has AdamW",
    "mindspeed.run": "no sources of Megatron are patched: `import mindspeed.megatron_adaptor` is all",
    "mindspeed.te": "Transformer Engine's layers have no such part here",
    "mindspeed.te.pytorch.attention": "attention and its context parallelism are those of Megatron and of the feature "
    "context-parallel-algo, chosen by flags",
    "mindspeed.te.pytorch.fp8": "fp8 is chosen by Megatron's --fp8-format and --fp8-recipe; its quantised tensors have no "
    "class of their own (mindspeed.ops.fp8_products)",
    "mindspeed.tokenizer": "Megatron's own tokenizers are used",
    "mindspeed.training": "Megatron's own training loop is used",
    "mindspeed.yaml_arguments": "Megatron's own YAML arguments are used, with the flags of features",
}


def sentence(name: str) -> str | None:
    """Why there is no such name and what replaces it; None for names nobody knows."""
    prefix = name
    while prefix:
        if prefix in SENTENCES:
            return f"there is no {name}: {SENTENCES[prefix]}; {MIGRATING}"
        prefix = prefix.rpartition(".")[0]
    return None


def attributes(module: str, known: dict[str, str] | Callable[[str], str | None]) -> Callable[[str], Any]:
    """A module's __getattr__ that says why a name of the original is missing.

    Only for names that are known: any other one must stay an AttributeError, because programs ask modules with hasattr.
    """

    def __getattr__(name: str) -> Any:
        reason = known(name) if callable(known) else known.get(name)
        if reason is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        raise ImportError(f"there is no {module}.{name}: {reason}; {MIGRATING}", name=module)

    return __getattr__


class Finder:
    """Asked when no other finder knows a module."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> None:
        if name.startswith("mindspeed."):
            reason = sentence(name)
            if reason is not None:
                raise ModuleNotFoundError(reason, name=name)


def install() -> None:
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())
