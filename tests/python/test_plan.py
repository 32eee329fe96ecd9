# SPDX-License-Identifier: Apache-2.0
"""`mindspeed plan`: commands taken apart, the plan of one, differences, and the estimate against real models."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from argparse import Namespace

import pytest
from mindspeed.adaptor import session
from mindspeed.cli.main import main
from mindspeed.planning import estimate, page, report
from mindspeed.planning.launch import CommandError, parse
from mindspeed.planning.mistakes import mistakes
from mindspeed.planning.shape import Shape
from small_megatron import no_megatron

MEGATRON = {
    "training/arguments.py": """
        import argparse
        def add_megatron_arguments(parser):
            for name, default in (("num-layers", 2), ("hidden-size", 64), ("num-attention-heads", 4), ("seq-length", 32),
                                  ("max-position-embeddings", 32), ("vocab-size", 1000), ("micro-batch-size", 1),
                                  ("tensor-model-parallel-size", 1)):
                parser.add_argument(f"--{name}", type=int, default=default)
            return parser
        def parse_args(extra_args_provider=None, ignore_unknown_args=False):
            raise AssertionError("the script is not run")
        def validate_args(args, defaults={}):
            print("Megatron says a lot here")
            assert args.num_layers > 0, "there is no layer"
            return args
    """,
    "training/yaml_arguments.py": "def validate_yaml(args, defaults={}): return args\n",
    "training/utils.py": "def get_device_arch_version(): return 8\n",
    "training/training.py": "def load_checkpoint(model): pass\n",
    "training/checkpointing.py": "def fix_fp8_params_lose_precision_when_loading_dist_ckpt(state): pass\n",
}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("python train.py --a 1", ("train.py", ("--a", "1"), 1)),
        ("torchrun --nproc_per_node 8 --nnodes=2 train.py", ("train.py", (), 16)),
        ("A=1 B=x torchrun --standalone --nproc-per-node=4 dir/train.py --b", ("dir/train.py", ("--b",), 4)),
        ("python -m torch.distributed.run --nnodes 1:4 --nproc-per-node 2 t.py", ("t.py", (), 8)),
        ("python -u -m torch.distributed.launch --nproc_per_node 2 t.py", ("t.py", (), 2)),
    ],
)
def test_commands(command, expected):
    launch = parse(command.split())
    assert (launch.script, launch.words, launch.ranks) == expected


def test_variables_of_a_command():
    assert parse("env A=1 B=x=y python t.py".split()).environment == {"A": "1", "B": "x=y"}


@pytest.mark.parametrize(
    "command", ["", "ls -l", "torchrun --nproc-per-node gpu t.py", "torchrun --nproc-per-node 0 t.py"]
)
def test_what_is_no_training_command(command, capsys):
    with pytest.raises(CommandError):
        parse(command.split())
    assert main(["plan", "--", *command.split()]) == 2
    assert "mindspeed: plan:" in capsys.readouterr().err


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """A checkout with a script that must not be run, beside a Megatron of a few lines."""
    folder = tmp_path_factory.mktemp("checkout")
    for name, text in MEGATRON.items():
        file = folder / "megatron" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    (folder / "pretrain.py").write_text("raise SystemExit('this was run')\n")
    return folder / "pretrain.py"


def planned(*words):
    return subprocess.run(
        [sys.executable, "-m", "mindspeed.cli.main", "plan", *words],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_plan(script, tmp_path):
    file = tmp_path / "a.json"
    words = ["torchrun", "--nproc-per-node", "2", str(script), "--num-layers", "4", "--mine", "3"]
    done = planned("--format", "json", "-o", str(file), "--optimization-level", "1", "--", *words)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    plan = json.loads(file.read_text())
    assert (plan["optimization_level"], plan["ranks"], plan["unknown_flags"]) == (1, 2, ["--mine"])
    assert {"flag": "--num-layers", "value": 4, "owner": "Megatron"} in plan["flags"]
    features = {feature["name"]: feature for feature in plan["features"]}
    assert features["arguments"]["on"] and features["arguments"]["reason"] == "part of level 0"
    assert all(not feature["on"] for feature in features.values() if feature["level"] == 2)
    assert {"arguments", "config-fields"} <= {patch["feature"] for patch in plan["patches"]}
    assert plan["estimate"]["parameters"] > 0

    text = report.text(plan)
    assert "level 1, 2 rank(s)" in text and "UNKNOWN  --mine" in text and "parameters in all" in text
    html = page.page(plan)
    assert html.startswith("<!doctype html>") and "--num-layers" in html and "<script" not in html

    other = json.loads(file.read_text()) | {"optimization_level": 0, "command": "<b>other</b>"}
    other["flags"] = [{"flag": "--num-layers", "value": 2, "owner": "Megatron"}]
    changes = report.difference(plan, other)
    assert "optimization_level: 1 -> 0" in changes and "flag --num-layers: 4 -> 2" in changes
    assert report.difference(plan, plan) == "The plans are equal."
    assert "<b>other" not in page.page(other)
    (tmp_path / "b.json").write_text(json.dumps(other))
    assert main(["plan", "--diff", str(file), str(tmp_path / "b.json")]) == 1
    assert main(["plan", "--diff", str(file), str(file)]) == 0


def test_a_command_that_megatron_refuses(script):
    done = planned("--", "python", str(script), "--num-layers", "0")
    assert done.returncode == 1
    assert "PROBLEM  Megatron refuses the arguments: there is no layer" in done.stdout


def test_more_ranks_than_devices(script):
    done = planned("--", "torchrun", "--nproc-per-node", "99", str(script))
    assert done.returncode == 1 and "--nproc-per-node 99 on a machine with 8 devices" in done.stdout


def found(**arguments):
    return list(mistakes(parse(["python", "t.py"]), Namespace(**arguments), None))


def test_missing_data(tmp_path):
    (tmp_path / "a.idx").touch()
    assert found(data_path=["0.3", str(tmp_path / "a")], vocab_file=str(tmp_path / "a.idx")) == []
    assert "there is no b.idx" in found(data_path=["0.3", "b"])[0]
    assert "--vocab-file v.json: there is no such file" in found(vocab_file="v.json")[0]
    assert found(tokenizer_model="gpt-4") == []  # a name of a hub, not a file


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ('{"pad_token": "</s>", "eos_token": {"content": "</s>"}}', "pads with its end of text ('</s>')"),
        ('{"pad_token": "<pad>", "eos_token": "</s>"}', ""),
        ('{"eos_token": "</s>"}', ""),
        ("{}", ""),
        ("{", "cannot be read"),
    ],
)
def test_a_tokenizer_whose_padding_is_its_end_of_text(config, expected, tmp_path):
    (tmp_path / "tokenizer_config.json").write_text(config)
    assert expected in " ".join(found(tokenizer_model=str(tmp_path))) and bool(
        found(tokenizer_name_or_path=str(tmp_path))
    ) is bool(expected)


def test_a_script_without_megatron(tmp_path, capsys):
    (tmp_path / "train.py").touch()
    done = planned("--", "python", str(tmp_path / "train.py"))
    assert done.returncode == 2 and "--megatron DIR" in done.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_what_is_no_plan(text, tmp_path, capsys):
    (tmp_path / "a.json").write_text(text)
    assert main(["plan", "--diff", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 2
    assert "is no plan" in capsys.readouterr().err


BASE = {
    "num_layers": 3, "hidden_size": 64, "num_attention_heads": 4, "seq_length": 16, "max_position_embeddings": 16,
    "padded_vocab_size": 128, "micro_batch_size": 1, "add_bias_linear": True, "normalization": "LayerNorm",
    "position_embedding_type": "learned_absolute",
}  # fmt: skip
MODELS = {
    "gpt": {},
    "no-bias": {"add_bias_linear": False, "add_qkv_bias": True},
    "llama": {
        "swiglu": True, "normalization": "RMSNorm", "add_bias_linear": False, "position_embedding_type": "rope",
        "group_query_attention": True, "num_query_groups": 2, "ffn_hidden_size": 96,
        "untie_embeddings_and_output_weights": True,
    },
    "wide-heads": {"kv_channels": 32, "qk_layernorm": True},
    "moe": {"num_experts": 4, "moe_ffn_hidden_size": 48, "moe_router_topk": 2, "swiglu": True, "add_bias_linear": False},
    "moe-shared": {
        "num_experts": 4, "moe_router_topk": 2, "moe_layer_freq": [0, 1, 1], "add_bias_linear": False,
        "moe_shared_expert_intermediate_size": 32,
    },
    "mtp": {"mtp_num_layers": 2, "position_embedding_type": "rope"},
}  # fmt: skip


@pytest.fixture(scope="module")
def own_megatron():
    """Loaded under the adaptor for these tests: another test may have loaded it, and have taken the adaptor back."""
    session.revert()
    with no_megatron():
        yield
        session.revert()


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_those_of_megatrons_model(own_megatron, name):
    """Counted against the model that Megatron builds, without memory for it."""
    import torch
    import torch.nn.functional as F
    from mindspeed import megatron_adaptor

    megatron_adaptor.activate()
    from megatron.core.models.gpt import GPTModel
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_decoder_block_spec, get_gpt_mtp_block_spec
    from megatron.core.transformer.transformer_config import TransformerConfig

    args = Namespace(**(BASE | MODELS[name]))
    has = vars(args).get
    config = TransformerConfig(
        num_layers=args.num_layers, hidden_size=args.hidden_size, num_attention_heads=args.num_attention_heads,
        ffn_hidden_size=has("ffn_hidden_size"), kv_channels=has("kv_channels"),
        num_query_groups=has("num_query_groups", args.num_attention_heads), add_bias_linear=args.add_bias_linear,
        add_qkv_bias=has("add_qkv_bias", False), normalization=args.normalization, qk_layernorm=has("qk_layernorm", False),
        gated_linear_unit=has("swiglu", False), activation_func=F.silu if has("swiglu") else F.gelu,
        num_moe_experts=has("num_experts"), moe_ffn_hidden_size=has("moe_ffn_hidden_size"),
        moe_router_topk=has("moe_router_topk", 2), moe_layer_freq=has("moe_layer_freq", 1),
        moe_shared_expert_intermediate_size=has("moe_shared_expert_intermediate_size"),
        use_cpu_initialization=True, perform_initialization=False, moe_router_load_balancing_type="none",
        mtp_num_layers=has("mtp_num_layers"),
    )  # fmt: skip
    with torch.device("meta"), one_rank():
        layers = get_gpt_decoder_block_spec(config, False, config.normalization)
        further = get_gpt_mtp_block_spec(config, layers, False) if config.mtp_num_layers else None
        model = GPTModel(
            config, layers, args.padded_vocab_size,
            args.max_position_embeddings, position_embedding_type=args.position_embedding_type,
            share_embeddings_and_output_weights=not has("untie_embeddings_and_output_weights", False),
            mtp_block_spec=further,
        )  # fmt: skip
    assert estimate.estimate(args).parameters == sum(p.numel() for p in model.parameters())


def one_rank():
    """Model parallel groups of one process."""
    from contextlib import contextmanager

    import torch.distributed as dist
    from megatron.core import parallel_state
    from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed

    @contextmanager
    def groups():
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        parallel_state.initialize_model_parallel()
        model_parallel_cuda_manual_seed(1)
        try:
            yield
        finally:
            parallel_state.destroy_model_parallel()
            dist.destroy_process_group()

    return groups()


def test_parallel_layouts_divide_what_they_hold():
    whole = estimate.estimate(Namespace(**BASE, world_size=1)).stages[0]
    halves = estimate.estimate(Namespace(**(BASE | {"num_layers": 4}), world_size=4, tensor_model_parallel_size=2,
        pipeline_model_parallel_size=2, use_distributed_optimizer=True, bf16=True))  # fmt: skip
    assert len(halves.stages) == 2
    assert whole.weights == 4 * whole.parameters and whole.optimizer == 8 * whole.parameters
    for stage in halves.stages:
        assert stage.weights == 2 * stage.parameters
        assert stage.optimizer == 12 * stage.parameters  # the one rank that shares it
        assert 0 < stage.activations < whole.activations


def stage_of(*features, **more):
    return estimate.estimate(Namespace(**(BASE | more), world_size=1), features).stages[0]


def test_memory_features_take_away_what_they_say():
    half = {"bf16": True, "use_distributed_optimizer": True}
    plain = stage_of(**half)
    assert plain.optimizer == 12 * plain.parameters
    assert stage_of("swap-optimizer", **half, swap_optimizer_times=4).optimizer == 0
    assert stage_of("reuse-fp32-param", **half).optimizer == 10 * plain.parameters
    assert stage_of("recompute-activation-function", **half).layer == plain.layer - 16 * 4 * 64 * 2
    assert stage_of("swap-attention", **half).layer < plain.layer
    full = stage_of(**half, recompute_granularity="full", recompute_method="uniform", recompute_num_layers=1)
    assert full.layer == 16 * 64 * 2 and full.peak < plain.peak


def test_norms_that_are_computed_again_are_not_kept():
    local = {"transformer_impl": "local", "attention_dropout": 0.0, "hidden_dropout": 0.0}
    plain = stage_of("flash-attention", **local)
    norms = 2 * (16 * 64 * 4 + 2 * 4 * 16)
    assert stage_of("flash-attention", "recompute-norm", **local).layer == plain.layer - norms
    one = stage_of("flash-attention", "recompute-norm", **local, recompute_norm_num_layers=1)
    assert one.layer == plain.layer and one.activations == plain.activations - norms
    assert (
        stage_of("recompute-norm").layer == stage_of().layer
    )  # Transformer Engine's: parts of the linear layers


PIPELINE = {
    "num_layers": 8, "pipeline_model_parallel_size": 2, "virtual_pipeline_model_parallel_size": 2, "global_batch_size": 8,
    "padded_vocab_size": 8, "hidden_dropout": 0.0,
}  # fmt: skip


def stages_of(*features, **more):
    return estimate.estimate(Namespace(**(BASE | PIPELINE | more), world_size=2), features).stages


def test_interleaved_pipelines_keep_passes_of_chunks():
    """The first of two stages has 2 + 2 passes before its first backward pass, of two layers each; the last has 2."""
    shape = Shape(Namespace(**(BASE | PIPELINE), world_size=2))
    assert [shape.passes(stage) for stage in range(2)] == [[0, 0, 1, 1, 0], [0, 0, 1]]
    assert [len(chunk) for chunk in shape.chunks(0)] == [2, 2]
    first, last = stages_of()
    assert (first.activations - last.activations) / first.layer == pytest.approx(4, rel=0.1)
    kept, same = stages_of("recompute-in-bubble")
    stream = 16 * 64 * 4
    assert first.activations - kept.activations == 2 * (first.layer - stream) and same == last
    assert [len(shape.chunks(stage)[1]) for stage in range(2)] == [2, 2]
    told = {"pipeline_num_transformer_layers": ((1, 3), (4, 0))}
    uneven = Shape(Namespace(**(BASE | PIPELINE | told), world_size=2), ["pipeline-num-transformer-layers"])
    assert [[len(chunk) for chunk in uneven.chunks(stage)] for stage in range(2)] == [[1, 3], [4, 0]]


def test_attention_that_is_written_out_keeps_its_scores():
    written_out = stage_of(transformer_impl="local", attention_dropout=0.0)
    flash = stage_of("flash-attention", transformer_impl="local", attention_dropout=0.0)
    assert written_out.buffers == 4 * 4 * 16 * 16 and flash.buffers == 0
    longer = {"transformer_impl": "local", "attention_dropout": 0.0, "seq_length": 512}
    assert stage_of(**longer).layer - stage_of("flash-attention", **longer).layer > 3 * 4 * 512 * 512
    assert "attention" in stage_of(**longer).moment


def test_layers_that_compute_nothing_have_nothing():
    assert stage_of(noop_layers=(0, 2)).parameters == stage_of(num_layers=1).parameters
    assert stage_of(noop_layers=(0, 2)).peak == stage_of(num_layers=1).peak
