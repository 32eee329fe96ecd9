# SPDX-License-Identifier: Apache-2.0
"""What a layer saves for the backward pass is compressed without loss (npu_hans_encode) on a second stream, and comes back.

Of each element a byte is coded. Half a byte for it stays on the device; what does not fit into that goes to the host, and with
`host_too` the other bytes as well.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
import torch_npu

from mindspeed.features.memory.swap_attention import Block, Saved

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
GROUP, LEAST = 64, 32768  # elements, as the operator demands
META = 512


class Packed(Block):
    """Memory in three parts: bytes that are not coded, the code as far as there is room, the rest of the code."""

    def __init__(self, layer: Saved, memory: torch.Tensor) -> None:
        assert isinstance(layer, Compressed)
        self.layer = layer
        self.device: torch.Tensor | None = memory
        size, item = memory.numel(), memory.element_size()
        self._like = memory.new_empty(0)
        self._size = size
        on_device = META + size // GROUP + size // 2  # numbers of planes, and four planes of eight
        self._pdf = torch.empty(1, 256, dtype=torch.int32, device=memory.device)
        self._mantissa = self._part(size * (item - 1))
        self._fixed = self._part(on_device)
        self._var = self._part(size - size // 2)
        self._host = {"_var": self._pinned(self._var)}
        if layer.host_too:
            self._host["_mantissa"] = self._pinned(self._mantissa)

    def _part(self, size: int) -> torch.Tensor:
        return self._like.new_empty(-(-size // self._like.element_size()))

    @staticmethod
    def _pinned(like: torch.Tensor) -> torch.Tensor:
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)

    def send(self) -> None:
        assert self.device is not None
        out = self._pdf, self._mantissa, self._fixed, self._var
        torch_npu.npu_hans_encode(self.device, True, False, out=out)
        for name, host in self._host.items():
            host.copy_(getattr(self, name), non_blocking=True)

    def leave(self) -> None:
        self.device = None
        for name in self._host:
            setattr(self, name, None)

    def stay(self) -> None:
        self.leave_parts()

    def leave_parts(self) -> None:
        self._mantissa = self._fixed = self._var = self._pdf = self._like
        self._host = {}

    def room(self) -> torch.Tensor:
        for name, host in self._host.items():
            setattr(self, name, torch.empty(host.shape, dtype=host.dtype, device=self._like.device))
        return self._like.new_empty(self._size)

    def fetch(self) -> None:
        assert self.device is not None
        for name, host in self._host.items():
            getattr(self, name).copy_(host, non_blocking=True)
        torch_npu.npu_hans_decode(self._mantissa, self._fixed, self._var, self._pdf, False, out=self.device)


class Compressed(Saved):
    """What one layer has saved; `only` at these places, if there are some given."""

    block = Packed

    def __init__(self, layer: Any, kept: set[int], before: Saved | None, host_too: bool) -> None:
        super().__init__(layer.layer_number, kept, before)
        self.mlp = getattr(layer, "mlp", None)
        self.host_too = host_too
        self.only: set[int] | None = None
        self._under_way: list[tuple[Any, weakref.ref[Block]]] = []

    def pack(self, tensor: torch.Tensor) -> Any:
        if tensor.device.type != "npu" or tensor.dtype not in DTYPES or tensor.layout != torch.strided:
            return tensor
        storage = tensor.untyped_storage()
        size = storage.nbytes() // tensor.element_size()
        if size < LEAST or size % GROUP or storage.nbytes() % tensor.element_size():
            return tensor
        if self.only is not None and storage.data_ptr() not in self.only:
            return tensor
        self._let_go()
        return super().pack(tensor)

    def _send(self, block: Block) -> None:
        super()._send(block)
        self._under_way.append((self._event, weakref.ref(block)))

    def _let_go(self) -> None:
        """Of what has been compressed and nobody else uses, before the layer is over: it would be there twice."""
        waiting = []
        for event, reference in self._under_way:
            block = reference()
            if block is None or block.device is None:
                continue
            if event.query() and not block.is_held_elsewhere:
                # Another tensor may come to lie there.
                self._found = {key: other for key, other in (self._found or {}).items() if other is not block}
                block.leave()
            else:
                waiting.append((event, reference))
        self._under_way = waiting

    def leave(self) -> None:
        self._let_go()
        self._under_way = []
        gone = [block for block in self._blocks if block.device is None]
        for block in gone:
            self._blocks.discard(block)
        super().leave()
        self._blocks.update(gone)

    def memory_of(self, block: Block) -> torch.Tensor:
        if block.device is None:  # let go before its layer was over
            self._is_out = True
        found = super().memory_of(block)
        if isinstance(block, Packed):
            block.leave_parts()
        return found
