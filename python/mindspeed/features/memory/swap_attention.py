# SPDX-License-Identifier: Apache-2.0
"""What attention and the norms save for the backward pass goes to the memory of the host until it is needed.

Of each layer: while the following layer runs, copies go out on a stream of their own; at that layer's end the device's
memory is given back. In the backward pass the first tensor that a layer asks for lets those of the layer before come in,
on another stream. What has not gone out yet when it is asked for is used where it is.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from mindspeed.adaptor import Feature, Flag, Level, Need, Patch
from mindspeed.features.memory._own_weight import own_weight

# Names as in the flag's default, and Megatron Core's for the same modules.
NAMES = {"input_norm": "input_layernorm", "post_attention_norm": "pre_mlp_layernorm"}
# Of Megatron's layers; those of a --spec of its own may have others.
MODULES = (
    "input_layernorm",
    "self_attention",
    "pre_cross_attn_layernorm",
    "cross_attention",
    "pre_mlp_layernorm",
    "mlp",
)
LEAST_BYTES = 16384  # a copy of less costs more than its memory is worth
LARGEST_PART = 4  # a view of more than so many times its own size is not worth to go with its memory


def holders(tensor: torch.Tensor) -> int:
    """How many tensors there are with this tensor's memory: it is one, and so is what it may be a view of."""
    return int(torch._C._storage_Use_Count(tensor.untyped_storage()._cdata)) - _uncounted()


@functools.cache
def _uncounted() -> int:
    """References that asking takes."""
    probe = torch.empty(1)
    return int(torch._C._storage_Use_Count(probe.untyped_storage()._cdata)) - 1


class Streams:
    """To the host and back; of the current device."""

    def __init__(self) -> None:
        self.out, self.back = torch.npu.Stream(), torch.npu.Stream()

    @staticmethod
    @functools.cache
    def of(device: int) -> Streams:
        return Streams()


class Block:
    """The memory of one or several saved tensors. It lives as long as autograd keeps one of them."""

    def __init__(self, layer: Saved, memory: torch.Tensor) -> None:
        self.layer = layer
        self.device: torch.Tensor | None = memory
        self.host: torch.Tensor | None = torch.empty(memory.shape, dtype=memory.dtype, pin_memory=True)

    @property
    def place(self) -> tuple[int, int]:
        assert self.device is not None
        return self.device.data_ptr(), self.device.numel() * self.device.element_size()

    def __del__(self) -> None:
        """Its memory may be used again at once: not before a copy that is under way is over."""
        if self.device is not None and self.copying is not None:
            torch.npu.current_stream().wait_event(self.copying)

    @property
    def copying(self) -> Any:
        return self.layer._event

    @property
    def is_held_elsewhere(self) -> bool:
        """To let go of it would free nothing."""
        assert self.device is not None
        return holders(self.device) > (1 if self.device._base is None else 2)

    def send(self) -> None:
        assert self.device is not None and self.host is not None
        self.host.copy_(self.device, non_blocking=True)

    def leave(self) -> None:
        """What has been sent has arrived."""
        self.device = None

    def stay(self) -> None:
        """It is not to be sent after all."""
        self.host = None

    def room(self) -> torch.Tensor:
        assert self.host is not None
        return torch.empty_like(self.host, device="npu", pin_memory=False)

    def fetch(self) -> None:
        """Into the room."""
        assert self.device is not None and self.host is not None
        self.device.copy_(self.host, non_blocking=True)


@dataclass(frozen=True, slots=True)
class Ticket:
    """In autograd's place of a tensor."""

    block: Block
    size: torch.Size
    stride: tuple[int, ...]
    offset: int

    def tensor(self) -> torch.Tensor:
        return self.block.layer.memory_of(self.block).as_strided(self.size, self.stride, self.offset)


class Saved:
    """What one layer has saved in one forward pass."""

    block: type[Block] = Block

    def __init__(self, number: int, kept: set[int], before: Saved | None) -> None:
        self.number = number
        self.before = before
        self._kept = kept  # memory that others hold anyway
        self._found: (
            dict[tuple[int, torch.dtype, int], Block] | None
        ) = {}  # until the forward pass of the layer is over
        self._blocks: weakref.WeakSet[Block] = weakref.WeakSet()
        self._streams = Streams.of(torch.npu.current_device())
        self._event: Any = None  # of copies that are under way
        self._is_out = False

    def pack(self, tensor: torch.Tensor) -> Any:
        if tensor.device.type != "npu" or tensor.layout != torch.strided or self._found is None:
            return tensor
        storage = tensor.untyped_storage()
        begin, size = storage.data_ptr(), storage.nbytes()
        least = max(LEAST_BYTES, size // LARGEST_PART)
        if (begin, size) in _shared or begin in self._kept or tensor.numel() * tensor.element_size() < least:
            return tensor
        key = begin, tensor.dtype, tensor._version
        with torch.no_grad():
            if key not in self._found:
                memory = tensor.detach().as_strided((size // tensor.element_size(),), (1,), 0)
                self._found[key] = self.block(self, memory)
                self._send(self._found[key])
        return Ticket(self._found[key], tensor.size(), tensor.stride(), tensor.storage_offset())

    def _send(self, block: Block) -> None:
        """All that the tensor's values come from has been launched on the current stream."""
        self._blocks.add(block)
        out = self._streams.out
        out.wait_stream(torch.npu.current_stream())
        with torch.npu.stream(out):
            block.send()
            self._event = out.record_event()

    def close(self) -> None:
        """The layer's forward pass is over. (Tensors with other values may come to lie where these are now.)"""
        self._found = None

    def leave(self) -> None:
        """Give the device's memory back; whatever uses it next comes later on the current stream."""
        if self._event is not None:
            torch.npu.current_stream().wait_event(self._event)
            self._event = None
        for block in list(self._blocks):
            if block.is_held_elsewhere:
                _shared.add(block.place)
                block.stay()
            else:
                block.leave()
        self._is_out = True

    def fetch(self) -> None:
        """Let everything that autograd still keeps come back."""
        if not self._is_out:
            return
        self._is_out = False
        blocks = [block for block in self._blocks if block.device is None]
        with torch.no_grad():
            for block in blocks:
                block.device = block.room()
            back = self._streams.back
            back.wait_stream(torch.npu.current_stream())
            with torch.npu.stream(back):
                for block in blocks:
                    block.fetch()
                self._event = back.record_event()

    def memory_of(self, block: Block) -> torch.Tensor:
        """Of a block, on the device; it is the turn of the layer before as well."""
        self.fetch()
        if self._event is not None:
            torch.npu.current_stream().wait_event(self._event)
            self._event = None
        if self.before is not None:
            self.before.fetch()
            self.before = None
        assert block.device is not None
        return block.device


# Places and sizes of memory that somebody else held on to, such as a mask of all layers: it is not copied again
# by the layers that follow.
_shared: set[tuple[int, int]] = set()


def forget_shared() -> None:
    """What lies at these places may be something else by now."""
    _shared.clear()


_last: Saved | None = None  # whose memory is not given back yet
_current: Saved | None = None  # whose forward pass runs


def swapping(forward: Callable[..., Any]) -> Callable[..., Any]:
    """TransformerLayer.forward."""

    @functools.wraps(forward)
    def swapping_forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        global _last, _current
        # In a recomputation, which runs in a backward pass, everything is needed at once.
        if not torch.is_grad_enabled() or torch._C._current_graph_task_id() != -1:
            return forward(self, *args, **kwargs)
        _prepare(self)
        follows = _last is not None and _last.number + 1 == self.layer_number
        if not follows:
            forget_shared()
        saved = _current = Saved(self.layer_number, _kept(self, args[1:], kwargs), _last if follows else None)
        try:
            return forward(self, *args, **kwargs)
        finally:
            saved.close()
            if _last is not None:
                _last.leave()
            _last, _current = saved, None

    return swapping_forward


def _kept(layer: torch.nn.Module, args: Iterable[Any], kwargs: dict[str, Any]) -> set[int]:
    """Where parameters are, and what all layers are given alike: masks and rotations."""
    shared = [*args, *(value for name, value in kwargs.items() if name != "hidden_states")]
    flat = [part for value in shared for part in (value if isinstance(value, (tuple, list)) else (value,))]
    tensors = [*layer.parameters(), *(value for value in flat if isinstance(value, torch.Tensor))]
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}


def _prepare(layer: Any) -> None:
    """Let the chosen modules of a layer take notes of what they save."""
    for name in filter(None, (word.strip() for word in layer.config.swap_modules.split(","))):
        path = NAMES.get(name, name)
        try:
            module = layer.get_submodule(path)
        except AttributeError:
            children = ", ".join(child for child, _ in layer.named_children())
            raise ValueError(
                f"--swap-modules {name}: a layer has no such module; it has {children}, or as other names "
                f"{', '.join(NAMES)}"
            ) from None
        if "_is_swapped" not in vars(module):
            module._is_swapped = True
            module.forward = _noting(module.forward)


def _noting(forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def noting_forward(*args: Any, **kwargs: Any) -> Any:
        if _current is None:
            return forward(*args, **kwargs)
        with saved_tensors_hooks(_current.pack, _unpack):
            return forward(*args, **kwargs)

    return noting_forward


def _unpack(packed: Any) -> torch.Tensor:
    return packed.tensor() if isinstance(packed, Ticket) else packed


def _misspelt(words: str) -> Iterator[str]:
    """Names of modules that Megatron's layers do not have."""
    for word in words.split(","):
        if word.strip().partition(".")[0] not in (*MODULES, *NAMES):
            yield f"--swap-modules {words}: a layer has no {word.strip()!r}; it has {', '.join((*NAMES, *MODULES))}"


def check(args: Any) -> Iterator[str]:
    if getattr(args, "spec", None) is None:  # whose layers may have other modules: asked when they run
        yield from _misspelt(args.swap_modules)
    if getattr(args, "lora_target_modules", None):
        yield "LoRA (lora_target_modules) is not supported with it; leave one of the two out"
    if getattr(args, "recompute_granularity", None) == "full" and args.recompute_method == "uniform":
        yield (
            "--recompute-method uniform recomputes every layer as a whole, which leaves nothing to swap; give "
            "--recompute-method block, or leave one of the two out"
        )


FEATURE = Feature(
    name="swap-attention",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--swap-attention",
            "Keep what attention and norms save for the backward pass in the host's memory.",
        ),
        Flag(
            "--swap-modules",
            "Of which modules of a layer, with commas between them.",
            type=str,
            default="input_norm,self_attention,post_attention_norm",
        ),
    ),
    needs=(
        Need(
            feature="flash-attention",
            flag="--use-flash-attn",
            why="without it attention saves its scores, which are more than all else",
        ),
    ),
    check=check,
    patches=(
        Patch("megatron.core.transformer.transformer_layer:TransformerLayer.forward", swapping, wraps=True),
        *own_weight(),
    ),
)
