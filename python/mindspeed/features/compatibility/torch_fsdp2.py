# SPDX-License-Identifier: Apache-2.0
"""Megatron-LM's --use-torch-fsdp2 works with Megatron's own layers, in earlier releases too.

These call the wrapper with an argument that it does not have, and read its configuration, which it does not keep. All
releases make units of the linear layers inside of layers that are units already, which Transformer Engine's are not. In
checkpoints shards lie where other layouts look for them (_shard_places.py), and what is loaded is loaded whole (_shard_loads.py).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch
from mindspeed.features.compatibility import _shard_loads, _shard_places

WRAPPER = "megatron.core.distributed.torch_fully_sharded_data_parallel:TorchFullyShardedDataParallel"


class Outermost:
    """For isinstance: linear layers that are in no layer of the transformer, such as that of the logits."""

    def __init__(self, model: Any) -> None:
        from megatron.core.transformer.transformer_layer import TransformerLayer

        layers = [module for module in model.modules() if isinstance(module, TransformerLayer)]
        self._inner = {id(module) for layer in layers for module in layer.modules()}

    def __instancecheck__(self, module: Any) -> bool:
        from megatron.core.tensor_parallel import ColumnParallelLinear

        return isinstance(module, ColumnParallelLinear) and id(module) not in self._inner


def accepting(init: Callable[..., None]) -> Callable[..., None]:
    known = inspect.signature(init).parameters

    def __init__(self: Any, config: Any, ddp_config: Any, module: Any, *args: Any, **kwargs: Any) -> None:
        if not args and "sub_modules_to_wrap" not in kwargs:
            from megatron.core.models.common.embeddings.language_model_embedding import LanguageModelEmbedding
            from megatron.core.transformer.transformer_layer import TransformerLayer

            kwargs["sub_modules_to_wrap"] = {TransformerLayer, LanguageModelEmbedding, Outermost(module)}
        if "disable_bucketing" not in known:
            kwargs.pop("disable_bucketing", None)  # there are no buckets
        init(self, config, ddp_config, module, *args, **kwargs)
        if not hasattr(self, "ddp_config"):
            self.ddp_config = ddp_config
        _shard_places.tell(module)

    return __init__


FEATURE = Feature(
    name="torch-fsdp2",
    level=Level.COMPATIBILITY,
    patches=(
        Patch(f"{WRAPPER}.__init__", accepting, wraps=True),
        *_shard_places.PATCHES,
        *_shard_loads.patches_of(WRAPPER),
    ),
)
