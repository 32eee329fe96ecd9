# SPDX-License-Identifier: Apache-2.0
"""Numbers for some groups of ranks, given as "tp:300;ep:400", and how HCCL is told them with the group."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mindspeed.adaptor import Patch

# What Megatron calls its groups, and earlier ones or the original called the same.
ALIASES = {"exp": "ep", "tp_exp": "ep_tp", "mp_exp": "tp_ep_mp", "dp_modulo_exp": "ep_dp"}
GROUPS = (
    "cp", "dp", "dp_cp", "embd", "ep", "ep_dp", "ep_tp", "hcp", "inter_dp_cp", "inter_ep_dp", "intra_dist_opt_instance",
    "intra_dp_cp", "intra_ep_dp", "mp", "pos_embd", "pp", "tp", "tp_cp", "tp_dp", "tp_dp_cp", "tp_ep_mp", "tp_ep_pp",
)  # fmt: skip
_FORM = re.compile(r"\s*(\w+)\s*:\s*(\d+)\s*")


@dataclass(frozen=True, slots=True)
class Numbers:
    """What may be given for a group: from `least` to `most`; `form` is how, and `unit` goes behind the range."""

    least: int
    most: int
    form: str
    unit: str = ""

    def parse(self, text: str) -> tuple[dict[str, int], list[str]]:
        """Numbers by group, and what is wrong. "dp:200;tp:300", with commas as well."""
        numbers: dict[str, int] = {}
        wrong = []
        for word in re.split("[;,]", text):
            found = _FORM.fullmatch(word)
            if found is None:
                wrong.append(f"{word.strip()!r}: wanted {self.form}")
                continue
            name, number = ALIASES.get(found[1], found[1]), int(found[2])
            if name not in GROUPS:
                wrong.append(f"{found[1]}: there is no such group; wanted {', '.join((*GROUPS, *ALIASES))}")
            if not self.least <= number <= self.most:
                wrong.append(f"{found[1]}:{number}: wanted {self.least} to {self.most}{self.unit}")
            if name in numbers:
                wrong.append(f"{found[1]} is given twice")
            numbers[name] = number
        return numbers, wrong


def with_option(option: str, numbers_of: Callable[[], Mapping[str, int]]) -> tuple[Patch, ...]:
    """Options of groups as Megatron makes them, with that of HCCL for those that have a number."""

    def wrapping(options_of: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(options_of)
        def with_number(pg_name: str, *args: Any) -> Any:
            options, number = options_of(pg_name, *args), numbers_of().get(pg_name)
            if number is not None:
                options.hccl_config = {**options.hccl_config, option: number}
            return options

        return with_number

    return (Patch("megatron.core.parallel_state:get_nccl_options", wrapping, wraps=True),)
