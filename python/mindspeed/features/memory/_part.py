# SPDX-License-Identifier: Apache-2.0
"""A part of a layer of which autograd keeps nothing: the first tensor that the backward pass asks for runs it again.

While the part runs autograd keeps a number in place of every tensor, and what uses its output keeps where it lies there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks


class Part:
    """A part of a forward pass: runs again when the backward pass asks for a tensor of it.

    flag, what  for the error if it does something else then.
    """

    def __init__(self, run: Callable[[], torch.Tensor], flag: str, what: str) -> None:
        self._run, self._flag, self._what = run, flag, what
        self._number = 0
        self._output: torch.Tensor | None = None
        self._tensors: dict[int, torch.Tensor] = {}

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """What is saved here is replaced by its number."""
        with saved_tensors_hooks(self._note, self._tensor):
            yield

    @contextlib.contextmanager
    def noting_uses_of(self, output: torch.Tensor) -> Iterator[None]:
        """What is saved here and lies in `output` is replaced by where it lies."""
        # Autograd keeps this function, which therefore must not keep the tensor.
        begin, dtype = output.untyped_storage().data_ptr(), output.dtype

        def note(tensor: torch.Tensor) -> Any:
            if tensor.untyped_storage().data_ptr() != begin or tensor.dtype != dtype:
                return tensor
            return tensor.size(), tensor.stride(), tensor.storage_offset()

        def find(noted: Any) -> torch.Tensor:
            return noted if isinstance(noted, torch.Tensor) else self.of_output(noted)

        with saved_tensors_hooks(note, find):
            yield

    def _note(self, tensor: torch.Tensor) -> int:
        self._number += 1
        return self._number

    def of_output(self, place: tuple[Any, Any, int]) -> torch.Tensor:
        if self._output is None:
            self._again()
        assert self._output is not None
        return self._output.as_strided(*place)

    def _tensor(self, number: int) -> torch.Tensor:
        """Each is handed out once and then forgotten; asked for again (retain_graph), the part runs again."""
        if number not in self._tensors:
            self._again()
        self._output = None  # its consumer comes before the part in a backward pass
        return self._tensors.pop(number)

    def _again(self) -> None:
        found: list[torch.Tensor] = []

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            found.append(tensor.detach())
            return tensor

        with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
            output = self._run()
        if len(found) != self._number:
            raise RuntimeError(
                f"{self._flag}: {self._what} saved {self._number} tensors in the forward pass and {len(found)} when it "
                "ran again; it must do the same both times"
            )
        self._tensors = dict(enumerate(found, 1))
        self._output = output.detach()
