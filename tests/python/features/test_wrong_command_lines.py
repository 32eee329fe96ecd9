# SPDX-License-Identifier: Apache-2.0
"""What users are told of command lines that cannot work (tests/support/wrong_lines.py), over the features that there are.

Megatron's parser is one of a few lines that has the options which the lines name. Against Megatron-LM itself: see there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import wrong_lines
from mindspeed.adaptor import discovery, session
from mindspeed.features.compatibility import arguments as arguments_feature
from mindspeed.features.compatibility import config_fields
from small_megatron import small_megatron

PARSER = """
import argparse
NUMBERS = ("num-layers hidden-size num-attention-heads seq-length max-position-embeddings micro-batch-size "
           "global-batch-size recompute-num-layers num-experts moe-ffn-hidden-size ffn-hidden-size "
           "moe-shared-expert-intermediate-size tensor-model-parallel-size pipeline-model-parallel-size "
           "num-layers-per-virtual-pipeline-stage context-parallel-size expert-model-parallel-size moe-router-topk "
           "train-iters")
SIZES = {"context-parallel-size": 1, "moe-router-topk": 2}
SWITCHES = ("bf16 fp16 use-flash-attn use-distributed-optimizer use-precision-aware-optimizer optimizer-cpu-offload "
            "deterministic-mode use-rotary-position-embeddings sequence-parallel moe-grouped-gemm disable-bias-linear")
WORDS = {"optimizer": "adam", "position-embedding-type": "learned_absolute", "recompute-granularity": None,
         "recompute-method": None, "moe-router-load-balancing-type": "aux_loss", "moe-expert-capacity-factor": None,
         "moe-token-dispatcher-type": "allgather", "spec": None,
         "transformer-impl": "transformer_engine"}
def parse_args(extra_args_provider=None, ignore_unknown_args=False):
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in NUMBERS.split(): parser.add_argument("--" + name, type=int, default=SIZES.get(name))
    for name in SWITCHES.split(): parser.add_argument("--" + name, action="store_true")
    for name, default in WORDS.items(): parser.add_argument("--" + name, default=default)
    return extra_args_provider(parser).parse_args()
def validate_args(args, defaults={}): return args
"""

# Of flags for which 1 is no value.
EXAMPLES = {"--pipeline-num-transformer-layers": "[[1]]"}


@pytest.fixture(autouse=True)
def parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Features that patch what this Megatron does not have are asked for their rules only."""
    features = [feature for feature in discovery.all_features() if feature.level > 0 or feature.flags]
    permanent = (arguments_feature.FEATURE, config_fields.FEATURE)
    with small_megatron(
        tmp_path, monkeypatch, (*permanent, *features), {"megatron/training/arguments.py": PARSER}
    ):
        monkeypatch.setattr(sys, "argv", [])
        monkeypatch.setattr(session, "_apply", lambda *features: None)
        yield


@pytest.mark.parametrize("line", wrong_lines.WRONG)
def test_wrong_line(line: str) -> None:
    """One message on stderr, by name and with a way out; nothing has been switched on."""
    code, text = wrong_lines.told(line)
    assert code == 2 and text.startswith("pretrain_gpt.py: error: ") and wrong_lines.WRONG[line] in text, text
    assert "usage:" not in text and "Traceback" not in text and not session._is_configured


@pytest.mark.parametrize("line", wrong_lines.RIGHT)
def test_right_line(line: str) -> None:
    assert wrong_lines.told(line) == (None, "")


def test_every_level_has_flags_that_a_lower_one_refuses() -> None:
    """Of every feature of levels 1 and 2 that has one, its switch one level too low."""
    for feature in (f for f in discovery.all_features() if f.level > 0 and f.flags):
        flag = feature.flags[0]
        if flag.megatron and not flag.adds:  # below the feature's level it is Megatron's
            continue
        values = [value for value in flag.adds or flag.choices or () if value != flag.default]
        value = values[0] if values else EXAMPLES.get(flag.name, 1)
        words = flag.name if flag.is_switch else f"{flag.name} {value}"
        code, text = wrong_lines.told(f"--optimization-level {feature.level - 1} {words}")
        name = words if flag.adds else flag.name
        assert code == 2 and f"{name} belongs to level {feature.level:d} (feature {feature.name})" in text, (
            text
        )
