# SPDX-License-Identifier: Apache-2.0
"""Parameters are gathered in the order in which the forward pass uses them, instead of the reverse of their definition.

With `--overlap-param-gather` Megatron gathers the next bucket while layers compute with the present one, and takes the last
defined parameters' bucket for the first that is used. Where that is not so, a bucket is waited for that nobody has begun to
gather. Here the first forward pass notes which bucket it needs when, and each is linked to the one after it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from mindspeed.adaptor import Feature, Flag, Level, Need, Patch

_DISTRIBUTED = "megatron.core.distributed"
_ORDER = "_mindspeed_order_of_use"


class Order:
    """Of the bucket groups of one model chunk, as its first forward pass meets them."""

    def __init__(self) -> None:
        self._met: list[Any] = []
        self.is_known = False

    def meet(self, group: Any) -> None:
        """`group` is about to be used."""
        if self.is_known:
            return
        if group not in self._met:
            self._met.append(group)
        elif not group.param_gather_dispatched or group.param_gather_handle is not None:
            self._link()  # it is gathered anew: the next pass has begun

    def _link(self) -> None:
        """What the pass did not meet is linked nowhere: it is gathered when it is needed."""
        for group, following in zip(self._met, [*self._met[1:], None], strict=True):
            group.next_param_gather_bucket_group = following
        self._met.clear()
        self.is_known = True


def noting(initialize: Callable[..., None]) -> Callable[..., None]:
    """DistributedDataParallel.__init__."""

    @functools.wraps(initialize)
    def with_order(self: Any, *args: Any, **kwargs: Any) -> None:
        initialize(self, *args, **kwargs)
        for groups in (self.bucket_groups, self.expert_parallel_bucket_groups):
            order = Order()
            for group in groups:
                setattr(group, _ORDER, order)

    return with_order


def meeting(finish: Callable[..., Any]) -> Callable[..., Any]:
    """_ParamAndGradBucketGroup.finish_param_sync, which a layer's forward calls before it uses its parameters."""

    @functools.wraps(finish)
    def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        order = getattr(self, _ORDER, None)
        if order is not None:
            order.meet(self)
        return finish(self, *args, **kwargs)

    return noted


FEATURE = Feature(
    name="reset-bucket-group-order",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--reset-bucket-group-order",
            "Gather parameters in the order in which the first forward pass used them.",
            in_config=False,
        ),
    ),
    needs=(Need(flag="--overlap-param-gather", why="there is no gather to put into order"),),
    patches=(
        Patch(
            f"{_DISTRIBUTED}.distributed_data_parallel:DistributedDataParallel.__init__", noting, wraps=True
        ),
        Patch(
            f"{_DISTRIBUTED}.param_and_grad_buffer:_ParamAndGradBucketGroup.finish_param_sync",
            meeting,
            wraps=True,
        ),
    ),
)
