# SPDX-License-Identifier: Apache-2.0
"""Names that other projects import from mindspeed: there as they use them, or refused with what replaces them."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import random
import subprocess
import sys
from argparse import Namespace

import pytest
import torch
from mindspeed import absent, args_utils, megatron_adaptor, utils
from mindspeed.adaptor import ConfigurationError, session
from mindspeed.adaptor.discovery import all_features
from mindspeed.features_manager import CLASSES, MindSpeedFeature, MindSpeedFeaturesManager
from mindspeed.fsdp.utils.log import log_warning_once, print_rank, set_log_level
from mindspeed.fsdp.utils.random import set_seed
from mindspeed.fsdp.utils.str_match import module_name_match, replace_first_segment_numbers
from mindspeed.patch_utils import MindSpeedPatchesManager
from small_megatron import small_megatron
from test_adaptor_arguments import FEATURES

# As the projects write them: (where, line). What imports Megatron is in features/test_names_over_megatron.py.
IMPORTS = [
    ("verl", "from mindspeed.megatron_adaptor import repatch"),
    ("verl", "import mindspeed.megatron_adaptor"),
    ("verl", "from mindspeed.patch_utils import MindSpeedPatchesManager"),
    ("verl", "from mindspeed.core.context_parallel.get_batch_utils import set_actual_seq_len"),
    ("verl", "from mindspeed.utils import set_position_ids"),
    ("ms-swift", "import mindspeed.megatron_adaptor"),
    ("ms-swift", "from mindspeed.megatron_adaptor import repatch"),
    ("ms-swift", "from mindspeed.patch_utils import MindSpeedPatchesManager"),
    ("ms-swift", "from mindspeed.args_utils import get_full_args"),
    ("mcore-bridge", "from mindspeed.features_manager import FEATURES_LIST, create_features_list"),
    ("mcore-bridge", "from mindspeed.arguments import process_args"),
    ("RL", "from mindspeed import megatron_adaptor"),
    ("RL", "from mindspeed.core.context_parallel.get_batch_utils import get_actual_seq_len, set_actual_seq_len"),
    ("MM", "from mindspeed.args_utils import get_mindspeed_args"),
    ("MM", "from mindspeed.megatron_adaptor import get_mindspeed_args"),
    ("MM", "from mindspeed.arguments import parse_args_wrapper, validate_args_wrapper"),
    ("MM", "from mindspeed.core.fusions.fused_rms_norm import RMSNorm"),
    ("MM", "from mindspeed.core.megatron_basic.megatron_basic import PTNorm"),
    ("MM", "from mindspeed.fsdp.distributed.dist_ops import all_to_all"),
    ("MM", "from mindspeed.fsdp.parallel_engine_config import EPPlanConfig"),
    ("MM", "from mindspeed.fsdp.utils.log import print_rank, set_log_level"),
    ("MM", "from mindspeed.fsdp.utils.random import set_seed"),
    ("MM", "from mindspeed.fsdp.utils.str_match import module_name_match"),
    ("MM", "from mindspeed.model.transformer import get_attention_mask"),
    ("MM", "from mindspeed.utils import get_actual_seq_len, set_actual_seq_len, get_position_ids, batch_index, _get_dtype"),
    ("MM", "from mindspeed.core.context_parallel.model_parallel_utils import "
           "get_context_parallel_group_for_hybrid_ulysses, get_context_parallel_group_for_hybrid_ring, "
           "get_context_parallel_for_hybrid_ring_world_size, get_context_parallel_for_hybrid_ring_rank, "
           "get_context_parallel_for_hybrid_ring_global_ranks, get_context_parallel_for_hybrid_ulysses_world_size"),
    ("LLM", "from mindspeed.fsdp.utils.torch_patch import apply_hccl_premul_sum_patch"),
    ("LLM", "from mindspeed.deprecate import AutoExecuteFunction"),
    ("LLM", "from mindspeed.features_manager.feature import MindSpeedFeature"),
    ("LLM", "from mindspeed.features_manager.features_manager import MindSpeedFeaturesManager"),
    ("LLM", "from mindspeed.patch_utils import MindSpeedPatchesManager as aspm, Patch, is_megatron_training_available"),
    ("LLM", "from mindspeed.core.optimizer.adamw import AdamW, FusedTorchAdamW"),
    ("LLM", "from mindspeed.core import parallel_state"),
    ("LLM", "from mindspeed.core.parallel_state import get_context_parallel_group_for_hybrid_ulysses"),
    ("LLM", "from mindspeed.core.context_parallel.get_batch_utils import _broadcast, broadcast_dynamic, get_ring_degree, "
            "get_batch_on_this_cp_rank, _get_batch_on_this_cp_rank_in_megatron_cp"),
    ("LLM", "from mindspeed.model.transformer import set_attention_mask"),
    ("LLM", "from mindspeed.core.transformer.flash_attention.generate_mask.generate_mask import get_attention_mask"),
    ("LLM", "from mindspeed.core.context_parallel.ulysses_context_parallel.ulysses_context_parallel import "
            "UlyssesContextAttention"),
    ("MM", "from mindspeed.core.context_parallel.ulysses_context_parallel.unaligned_cp.mapping import "
           "all_to_all, cal_split_sizes, gather_forward_split_backward, split_forward_gather_backward"),
    ("LLM", "from mindspeed.core.context_parallel.utils import sbh_to_tnd, tnd_to_sbh"),
    ("LLM", "from mindspeed.core.context_parallel.ring_context_parallel.context_parallel_kv_cache import get_cache_policy"),
    ("LLM", "from mindspeed.core.context_parallel.ring_context_parallel.ring_context_parallel import "
            "ringattn_context_parallel"),
    ("LLM", "from mindspeed.core.context_parallel.model_parallel_utils import get_ring_ranks_for_intra_window, "
            "get_ring_ranks_for_inter_window_kv, get_ring_ranks_for_inter_window_dkv, get_ring_group_for_intra_window, "
            "get_ring_group_for_intra_window_send_recv_overlap"),
    ("LLM", "from mindspeed.core.pipeline_parallel.noop_layers.adaptor import NoopTransformerLayer, mindspeed_calc_flop"),
    ("LLM", "from mindspeed.features_manager import ReuseFP32Param"),
    ("RL", "from mindspeed.features_manager.memory.reuse_fp32_param import ReuseFP32Param"),
    ("RL", "from mindspeed.core.tensor_parallel.ascend_turbo.initialize import initialize_cfg_from_args"),
    ("the original's tests", "from mindspeed.core.context_parallel.utils import forward_update"),
    ("the original's tests", "from mindspeed.core.optimizer.fused_ema_adamw.fused_ema_adamw import "
                             "FusedEmaAdamW, fused_ema_adamw"),
    ("the original's tests", "from mindspeed.core.transformer.moe.moe_utils import get_mean"),
    ("the original's tests", "from mindspeed.functional.npu_deterministic.npu_deterministic import "
                             "extend_seed_all, npu_deterministic_wrapper"),
    ("the original's tests", "from mindspeed.fsdp.quantization.config import ScalingGranularity, ScalingGranularityEnum, "
                             "ScalingStrategyEnum, QuantRecipe"),
    ("the original's tests", "from mindspeed.fsdp.quantization.core.pre_quant_weight import PreQuantWeight"),
    ("the original's tests", "from mindspeed.fsdp.quantization.module.linear_mxfp8 import process_quant_result_fn, "
                             "weight_quant, matmul_with_hp_or_lp_weight, mx_quant_linear, MXLinear"),
    ("the original's tests", "from mindspeed.core.transformer.transformer_block import _get_layer_offset"),
    ("the original's tests", "from mindspeed.functional.tflops_calculate.tflops_utils import get_flops_counter"),
    ("the original's tests", "from mindspeed.core.optimizer.low_precision.quant_adamw import AdamW as QuantAdamW"),
    ("the original's tests", "from mindspeed.core.parallel_state import get_data_parallel_group_gloo_replace, "
                             "get_data_modulo_expert_parallel_group_gloo_replace"),
    ("the original's tests", "from mindspeed.core.pipeline_parallel.variable_seq_length.adaptor import "
                             "mindspeed_communicate, mindspeed_commuticate_shapes"),
    ("the original's tests", "from mindspeed.core.pipeline_parallel.variable_seq_length.communicate import "
                             "communicate_impl, communicate_shapes_impl"),
    ("the original's tests", "from mindspeed.core.tensor_parallel.comm_autograd_function import "
                             "auto_grad_scatter_along_first_dim, auto_grad_scatter_along_last_dim, "
                             "auto_grad_sync_gather_along_first_dim, auto_grad_sync_gather_along_last_dim"),
    ("the original's tests", "from mindspeed.core.tensor_parallel.comm_utils import sync_reduce_scatter_along_first_dim"),
    ("the original's tests", "from mindspeed.core.tensor_parallel.tp_2d.group_api_2d import TPXCollectiveComm, TPYCollectiveComm"),
    ("the original's tests", "from mindspeed.core.tensor_parallel.tp_2d.layernorm_2d import LayerNorm2D"),
    ("the original's tests", "from mindspeed.core.tensor_parallel.tp_2d.rms_norm_2d import RMSNorm2D"),
    ("the original's tests", "from mindspeed.optimizer.distrib_optimizer import get_parameter_state_dp_zero_hccl, "
                             "load_parameter_state_from_dp_zero_hccl"),
    ("the original's tests", "from mindspeed.utils import _scatter_hccl, _gather_hccl, "
                             "check_param_hashes_across_dp_replicas_hccl"),
    ("LLM", "from mindspeed.utils import compute_qkv_index, broadcast_dynamic"),
]  # fmt: skip

# What is not here, and words of the sentence that says so.
REFUSED = {
    "from mindspeed.auto_settings.auto_settings import AutoSettings": "mindspeed plan",
    "from mindspeed.core.context_parallel.ring_context_parallel.ring_context_parallel import AttentionWithCp": "no parts",
    "import mindspeed.core.context_parallel.adaptive_context_parallel.adaptive_context_parallel": "--context-parallel-size",
    "from mindspeed.core.context_parallel.adaptor import MindSpeedCPDotProductAttention": "context-parallel",
    "from mindspeed.core.context_parallel.model_parallel_utils import initialize_context_parallel_group_for_double_ring": "initialize_model_parallel",
    "from mindspeed.core.distill.teacher_model_manager import TeacherModelManager": "--qad-enable",
    "from mindspeed.core.distributed.custom_fsdp.param_and_grad_buffer import gradient_reduce_preprocessing": "FSDP",
    "from mindspeed.core.memory.reuse_param.adaptor import reuse_fp32_param_init_wrapper": "repatch",
    "from mindspeed.core.megatron_basic.megatron_basic import get_device_wrapper": "nothing to register",
    "import mindspeed.core.optimizer.low_precision.finalize_model_grads": "mindspeed.core.optimizer.adamw",
    "from mindspeed.core.parallel_state import initialize_ndmm_parallel_group": "--tp-2d",
    "import mindspeed.core.ssm.chunk_gated_delta_rule": "gated delta nets",
    "from mindspeed.core.tensor_parallel.comm_group_api import TPXOverlapCollectiveComm": "TPXCollectiveComm",
    "from mindspeed.core.tensor_parallel.tp_2d.parallel_linear_2d import ParallelLinear2D": "--tp-2d",
    "from mindspeed.core.transformer.moe.moe_feature import MoELayer": "Megatron's own transformer layers",
    "from mindspeed.features_manager.moe.tp_extend_ep import MoETpExtendEpFeature": "repatch",
    "from mindspeed.fsdp.memory.swap_optimizer import AdamWSwap": "--swap-optimizer",
    "from mindspeed.lite.mindspeed_lite import MindSpeedLite": "MindSpeedParallelEngine",
    "from mindspeed.mindspore.core.utils import cached_modules": "MindSpore itself",
    "from mindspeed.model.transformer import should_recompute_norm": "by flags",
    "from mindspeed.moe.utils import MoEAuxLossAutoScaler": "mixture of experts",
    "from mindspeed.op_builder import AlgorithmOpBuilder": "mindspeed.ops",
    "from mindspeed.ops.triton.l2norm import l2norm_fwd": "Triton",
    "from mindspeed.arguments import _add_auto_settings_args": "not part",
}


@pytest.fixture
def megatron(tmp_path, monkeypatch):
    """The small Megatron, where nothing is registered."""
    with small_megatron(tmp_path, monkeypatch, FEATURES):
        yield lambda name: importlib.import_module(f"megatron.core.{name}")
        MindSpeedFeaturesManager.FEATURES_LIST.clear()
        MindSpeedPatchesManager.remove_patches()
        MindSpeedPatchesManager.patches_info.clear()


@pytest.mark.parametrize(("project", "line"), IMPORTS)
def test_a_name_that_a_project_imports_is_there(project, line):
    exec(line, {})


@pytest.mark.parametrize("line", REFUSED)
def test_a_name_that_is_not_here_says_what_replaces_it(line):
    with pytest.raises(ImportError) as error:
        exec(line, {})
    asked = line.split()[1]
    named = str(error.value).split(":")[0].removeprefix("there is no ")
    assert asked.startswith(named) or named.startswith(asked), error.value
    assert REFUSED[line] in str(error.value) and absent.MIGRATING in str(error.value)


def test_probes_for_what_is_not_here_see_that_there_is_nothing():
    assert not hasattr(utils, "something") and not hasattr(importlib.import_module("mindspeed.core"), "qat")
    with pytest.raises(ModuleNotFoundError) as error:
        importlib.util.find_spec("mindspeed.core.qat.qat")
    assert error.value.name == "mindspeed.core.qat"
    assert importlib.util.find_spec("mindspeed.nothing_of_the_kind") is None
    with pytest.raises(ImportError, match="No module named 'mindspeed.nothing_of_the_kind'"):
        exec("import mindspeed.nothing_of_the_kind", {})


def test_sentences_are_about_modules_that_do_not_exist_or_are_packages():
    """A plain module of the name would make its sentence dead text. Found, not imported: that may need the stand-ins."""
    for name in absent.SENTENCES:
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError as error:
            assert str(error).startswith("there is no ")
        else:
            assert spec is not None and spec.submodule_search_locations is not None, name


def test_the_import_of_the_package_imports_nothing_else():
    program = (
        "import sys; known = set(sys.modules); import mindspeed; print(*sorted(set(sys.modules) - known))"
    )
    found = subprocess.run([sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path}; {program}"],
                           capture_output=True, text=True, check=True)  # fmt: skip
    assert found.stdout.split() == ["__future__", "mindspeed", "mindspeed.absent"]


@pytest.mark.parametrize("name", CLASSES)
def test_a_feature_class_of_the_original_names_the_feature(name):
    with pytest.raises(ImportError) as error:
        exec(f"from mindspeed.features_manager import {name}", {})
    flag = CLASSES[name]
    ours = [feature for feature in all_features() if any(option.name == flag for option in feature.flags)]
    if ours:
        assert f"feature {ours[0].name} of this package" in str(error.value) and flag in str(error.value)
    else:
        assert flag in str(error.value)


def test_flags_and_their_defaults_are_asked_for_as_mcore_bridge_does():
    from argparse import ArgumentParser

    from mindspeed import features_manager
    from mindspeed.arguments import process_args

    before = list(features_manager.FEATURES_LIST)
    every = features_manager.create_features_list()
    features_manager.FEATURES_LIST.clear()
    features_manager.FEATURES_LIST.extend(every)
    parser = ArgumentParser()
    process_args(parser)
    defaults = vars(parser.parse_known_args([])[0])
    assert before == features_manager.FEATURES_LIST
    assert (
        defaults["optimization_level"] == 2
        and defaults["swap_attention"] is False
        and "use_flash_attn" in defaults
    )


# Patches by name.


def half_as_much(x):
    return x / 4


def triple(x):
    return 3 * x


def plus_one_wrapper(function):
    return lambda x: function(x) + 1


def minus_decorator(function):
    return lambda x: -function(x)


def register(*args, **kwargs):
    MindSpeedPatchesManager.register_patch(*args, **kwargs)


def apply():
    MindSpeedPatchesManager.apply_patches()


def state(*modules):
    return [dict(vars(module)) for module in modules]


def test_a_replacement_reaches_all_names_and_goes_without_a_trace(megatron):
    math, user = megatron("math"), megatron("user")
    before, original = state(math, user), math.double
    register("megatron.core.math.double", triple)
    assert user.use(5) == 10
    apply()
    record = MindSpeedPatchesManager.patches_info["megatron.core.math.double"]
    assert (math.double, user.twice, user.use(5)) == (triple, triple, 15)
    assert (record.orig_func, record.patch_func, record.orig_module, record.is_applied) == (
        original,
        triple,
        math,
        True,
    )
    assert (record.orig_module_name, record.orig_func_name) == ("megatron.core.math", "double")
    assert record.final_patch_func is triple
    exec("from megatron.core.math import double", vars(user))
    MindSpeedPatchesManager.remove_patches()
    assert user.double is original and not record.is_applied
    del user.double
    assert state(math, user) == before


def test_wrappers_lie_around_features_in_order_and_only_once(megatron):
    math = megatron("math")
    megatron_adaptor.repatch({"use_triple": True})
    for function in (plus_one_wrapper, minus_decorator, plus_one_wrapper):
        register("megatron.core.math.double", function)
    apply()
    apply()
    assert math.double(5) == -16
    megatron_adaptor.repatch({"use_triple": False})
    assert math.double(5) == -11
    MindSpeedPatchesManager.remove_wrappers("megatron.core.math.double", "plus_one_wrapper")
    apply()
    assert math.double(5) == -10
    with pytest.raises(RuntimeError, match="no wrapper named plus_one_wrapper"):
        MindSpeedPatchesManager.remove_wrappers("megatron.core.math.double", ["plus_one_wrapper"])
    MindSpeedPatchesManager.remove_wrappers(
        "megatron.core.math.double", "plus_one_wrapper", remove_check=False
    )
    MindSpeedPatchesManager.remove_wrappers("megatron.core.math.double", None)
    apply()
    assert math.double(5) == 10
    with pytest.raises(ValueError, match="megatron.core.math.half"):
        MindSpeedPatchesManager.remove_wrappers("megatron.core.math.half", None)


def test_a_second_replacement_needs_force(megatron):
    math = megatron("math")
    register("megatron.core.math.half", half_as_much)
    register("megatron.core.math.half", half_as_much)
    with pytest.raises(RuntimeError) as error:
        register("megatron.core.math.half", triple)
    for word in (
        "megatron.core.math.half",
        "test_names.half_as_much",
        "test_names.triple",
        "force_patch=True",
    ):
        assert word in str(error.value)
    apply()
    assert math.half(8) == 2
    register("megatron.core.math.half", triple, force_patch=True)
    assert math.half(8) == 2
    apply()
    assert math.half(8) == 24


def test_a_feature_s_replacement_gives_way_to_force_only(megatron):
    math = megatron("math")
    megatron_adaptor.repatch({"reuse": True})
    register("megatron.core.math.half", half_as_much)
    with pytest.raises(RuntimeError) as error:
        apply()
    for word in ("megatron.core.math:half", "'reuse'", "test_names.half_as_much", "test_adaptor_arguments"):
        assert word in str(error.value)
    assert math.half(8) == "reused"
    register("megatron.core.math.half", half_as_much, force_patch=True)
    apply()
    assert math.half(8) == 2
    MindSpeedPatchesManager.remove_patches()
    assert math.half(8) == "reused"
    megatron_adaptor.repatch({"reuse": False})
    assert math.half(8) == 4


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("megatron.core.math.missing", "megatron.core.math has no attribute 'missing'"),
        ("megatron.core.math.Missing.method", "megatron.core.math has no attribute 'Missing'"),
        ("megatron.core.missing.double", "megatron.core has no attribute 'missing'"),
        ("nothing_of_the_kind.double", "there is no module nothing_of_the_kind"),
        ("mindspeed.core.qat.qat.double", "mindspeed.core has no attribute 'qat'"),
    ],
)
def test_a_target_that_does_not_exist_is_an_error_and_changes_nothing(megatron, target, words):
    before = state(megatron("math"), megatron("user"))
    register("megatron.core.math.double", triple)
    register(target, half_as_much)
    with pytest.raises(RuntimeError) as error:
        apply()
    assert words in str(error.value) and target.rpartition(".")[2] in str(error.value)
    assert state(megatron("math"), megatron("user")) == before


def test_placeholders_are_made_and_taken_away_again(megatron):
    math = megatron("math")
    before = state(math)
    register("megatron.core.math.extra", triple, create_dummy=True)
    register("megatron.core.math.nothing", create_dummy=True)
    register("not_installed.deep.inside.function", triple, create_dummy=True)
    register("not_installed.deep.other", create_dummy=True)
    register("not_installed_kernels", create_dummy=True)
    register("json.not_there.at_all", triple, create_dummy=True)
    for _ in range(2):
        apply()
        inside = importlib.import_module("not_installed.deep.inside")
        assert (inside.function(2), math.extra(2)) == (6, 6)
        assert sys.modules["not_installed"].deep.inside is inside
        assert importlib.import_module("not_installed_kernels").__path__ == []
        assert importlib.import_module("json.not_there").at_all is triple
    with pytest.raises(RuntimeError, match="not_installed.deep.other does not exist"):
        inside = sys.modules["not_installed.deep"].other()
    with pytest.raises(RuntimeError, match="megatron.core.math.nothing does not exist"):
        math.nothing(1)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("not_installed.deep.elsewhere")
    MindSpeedPatchesManager.remove_patches()
    assert state(math) == before and not hasattr(importlib.import_module("json"), "not_there")
    assert not [name for name in sys.modules if name.startswith(("not_installed", "json.not_there"))]


def test_a_placeholder_for_what_exists_is_not_made(megatron):
    json = importlib.import_module("json")
    register("json", create_dummy=True)
    register("json.decoder.scanstring", plus_one_wrapper, create_dummy=True)
    apply()
    assert importlib.import_module("json") is json and "__stands_in__" not in vars(json)
    assert json.decoder.scanstring is not json.scanner.make_scanner


def test_methods_and_modules_of_other_packages(megatron):
    calls = []

    def post_init_wrapper(method):
        def post_init(self):
            method(self)
            calls.append(self.checked)

        return post_init

    config = megatron("transformer.transformer_config").TransformerConfig
    register(
        "megatron.core.transformer.transformer_config.TransformerConfig.__post_init__", post_init_wrapper
    )
    register("mindspeed.fsdp.utils.str_match.module_name_match", lambda pattern, name: "patched")
    apply()
    config()
    assert calls == [True]
    assert importlib.import_module("mindspeed.fsdp.utils.str_match").module_name_match("a", "b") == "patched"
    MindSpeedPatchesManager.remove_patches()
    config()
    assert calls == [True] and module_name_match("a", "a") is True
    assert importlib.import_module("mindspeed.fsdp.utils.str_match").module_name_match is module_name_match


def test_modules_that_are_not_loaded_are_imported_by_apply(megatron):
    register("megatron.core.math.double", triple)
    assert "megatron.core.math" not in sys.modules
    apply()
    record = MindSpeedPatchesManager.patches_info["megatron.core.math.double"]
    assert sys.modules["megatron.core.math"].double is triple and record.orig_func(5) == 10


def test_a_wrapper_that_fails_leaves_everything_as_it_was(megatron):
    def broken_wrapper(function):
        raise KeyError("broken")

    math = megatron("math")
    register("megatron.core.math.double", triple)
    apply()
    register("megatron.core.math.half", half_as_much)
    register("megatron.core.math.double", broken_wrapper)
    with pytest.raises(KeyError):
        apply()
    assert (math.double(5), math.half(8)) == (15, 4)


def test_what_keeps_the_old_object_elsewhere_is_told(megatron, caplog, tmp_path):
    text = "from megatron.core.math import double\ndef use(x, function=double): return function(x)\n"
    (tmp_path / "megatron/core/greedy.py").write_text(text)
    megatron("greedy")
    register("megatron.core.math.double", triple)
    with caplog.at_level(logging.WARNING, "mindspeed.adaptor"):
        apply()
    assert "megatron.core.greedy.use (default argument)" in caplog.text and megatron("math").double(1) == 3


def test_records_of_a_project_s_own_work_beside_the_manager(megatron):
    from mindspeed.patch_utils import Patch

    math = megatron("math")
    mine = Patch("megatron.core.math.half", half_as_much, False)
    register("megatron.core.math.double", triple)
    mine.apply_patch()
    assert (math.double(5), math.half(8)) == (10, 2)
    apply()
    assert (math.double(5), math.half(8)) == (15, 2)
    mine.remove_patch()
    assert (math.double(5), math.half(8), mine.is_applied) == (15, 4, False)


def test_revert_undoes_registered_patches(megatron):
    math = megatron("math")
    register("megatron.core.math.double", triple)
    apply()
    session.revert()
    record = MindSpeedPatchesManager.patches_info["megatron.core.math.double"]
    assert math.double(5) == 10 and not record.is_applied
    apply()
    assert math.double(5) == 15 and record.is_applied
    session.start()
    assert math.double(5) == 15


# What projects do one after the other.


def test_verl_takes_torch_compile_back_for_a_while(megatron):
    before = torch.compile
    register("torch.compile", half_as_much)
    apply()
    patch = next(
        patch
        for patch in MindSpeedPatchesManager.patches_info.values()
        if patch.orig_module_name == "torch" and patch.orig_func_name == "compile"
    )
    assert patch.is_applied and torch.compile is half_as_much
    patch.remove_patch()
    assert torch.compile is before
    apply()
    assert torch.compile is before
    patch.apply_patch()
    assert torch.compile is half_as_much
    MindSpeedPatchesManager.remove_patches()
    assert torch.compile is before


def test_verl_repatches_before_megatron_knows_any_argument(megatron):
    """vars(get_full_args()).pop("", None), then repatch with what the user overrides; workers do it once each."""
    live = args_utils.get_full_args()
    vars(live)[""] = "left over"
    vars(live)["mine"] = 3
    vars(args_utils.get_full_args()).pop("", None)
    repatch_config = {"swap": True, "use_distributed_optimizer": True, "recompute_method": "uniform"}
    repatch_config.setdefault("use_triple", True)
    megatron_adaptor.repatch(repatch_config)
    assert megatron("math").half(4) == "swapped" and megatron("math").double(5) == 15
    assert args_utils.get_full_args() is live is megatron_adaptor.get_mindspeed_args()
    assert "" not in vars(live) and (live.mine, live.swap, live.recompute_method) == (3, True, "uniform")
    megatron_adaptor.repatch({"swap": False, "context_parallel_size": 2})
    assert megatron("math").half(4) == 2 and live.context_parallel_size == 2 and live.swap is False
    with pytest.raises(ConfigurationError):
        megatron_adaptor.repatch({"use_triple": "perhaps"})
    assert args_utils.get_full_args() is live and live.use_triple is True


def test_what_is_changed_by_hand_counts_for_the_next_repatch(megatron):
    live = args_utils.get_mindspeed_args()
    megatron_adaptor.repatch({})
    assert live.use_triple is True and megatron("math").double(5) == 15
    live.use_triple = False
    megatron_adaptor.repatch({"num_layers": 3})
    assert megatron("math").double(5) == 10 and live.num_layers == 3
    megatron_adaptor.repatch({"use_triple": None, "optimization_level": 0})
    assert live.use_triple is False
    megatron_adaptor.repatch({"optimization_level": 2})
    assert live.use_triple is True and megatron("math").double(5) == 15


def test_megatron_s_arguments_are_the_live_ones_once_it_has_them(megatron, monkeypatch):
    early = args_utils.get_full_args()
    variables = type(sys)("megatron.training.global_vars")
    variables._GLOBAL_ARGS = None
    monkeypatch.setitem(sys.modules, variables.__name__, variables)
    assert args_utils.get_full_args() is early
    args = Namespace(num_layers=2)
    session.configure(args)
    variables._GLOBAL_ARGS = args
    assert args_utils.get_full_args() is args is megatron_adaptor.get_mindspeed_args()
    megatron_adaptor.repatch({"num_layers": 5})
    assert args.num_layers == 5 and args_utils.get_mindspeed_args(get_defaults=True).optimization_level == 2


def test_swift_registers_after_repatch_and_repatches_again(megatron):
    math = megatron("math")
    target = "megatron.core.math.half"
    megatron_adaptor.repatch({"reuse": True})
    assert MindSpeedPatchesManager.patches_info.get(target) is None
    register(target, half_as_much, force_patch=True)
    apply()
    megatron_adaptor.repatch({"reuse": True, "mode": "a"})
    assert math.half(8) == 2
    original = MindSpeedPatchesManager.patches_info.get(target).orig_func
    assert original.__module__ == "megatron.core.math"
    register(target, original, force_patch=True)
    apply()
    assert math.half(8) == 4 and math.half is original


def test_swift_puts_a_module_of_its_own_where_there_is_none(monkeypatch):
    module = type(sys)("mindspeed.core.ssm.chunk_gated_delta_rule")
    module.chunk_gated_delta_rule = triple
    monkeypatch.setitem(sys.modules, module.__name__, module)
    found = {}
    exec("from mindspeed.core.ssm.chunk_gated_delta_rule import chunk_gated_delta_rule", found)
    assert found["chunk_gated_delta_rule"] is triple


# Features of other projects.


class Scale(MindSpeedFeature):
    """As projects write them."""

    def __init__(self):
        super().__init__("use-scale", optimization_level=2)
        self.calls = []

    def register_args(self, parser):
        group = parser.add_argument_group(title=self.feature_name)
        group.add_argument("--use-scale", action="store_true")
        group.add_argument("--scale-by", type=int, default=10)
        self.add_parser_argument_choices_value(parser, "--mode", "c")

    def pre_validate_args(self, args):
        self.calls.append("pre")
        self.layers, args.num_layers = args.num_layers, 1

    def post_validate_args(self, args):
        self.calls.append("post")
        args.num_layers = self.layers

    def validate_args(self, args):
        self.calls.append("validate")
        self.incompatible_check(args, "reuse")
        self.dependency_check(args, "num_layers")

    def pre_register_patches(self, patch_manager, args):
        patch_manager.register_patch("not_installed.scale", triple, create_dummy=True)

    def register_patches(self, patch_manager, args):
        import not_installed

        assert not_installed.scale is triple
        patch_manager.register_patch("megatron.core.math.half", lambda x: args.scale_by * x)


def test_a_feature_of_another_project_goes_the_way_of_ours(megatron, monkeypatch):
    feature = Scale()
    MindSpeedFeaturesManager.set_features_list([feature])
    parser = importlib.import_module("megatron.training.arguments")
    monkeypatch.setattr(sys, "argv", ["pretrain.py", "--use-scale", "--scale-by", "7", "--num-layers", "0"])
    args = parser.parse_args()
    with pytest.raises(AssertionError, match="--use-scale needs --num-layers"):
        parser.validate_args(args)
    args.num_layers = 4
    feature.calls.clear()
    parser.validate_args(args)
    assert feature.calls == ["pre", "post", "validate"] and (args.num_layers, args.scale_by) == (4, 7)
    MindSpeedFeaturesManager.apply_features_pre_patches(args)
    MindSpeedFeaturesManager.apply_features_patches(args)
    assert megatron("math").half(2) == 14
    args.reuse = True
    with pytest.raises(AssertionError, match="--use-scale and --reuse exclude each other"):
        MindSpeedFeaturesManager.validate_features_args(args)


def test_repatch_drives_features_of_another_project(megatron):
    live = args_utils.get_full_args()
    MindSpeedFeaturesManager.set_features_list([Scale()])
    assert live.scale_by == 10 and live.use_scale is False
    megatron_adaptor.repatch({"use_scale": True, "scale_by": 5})
    assert megatron("math").half(2) == 10
    megatron_adaptor.repatch({"scale_by": 6})
    assert megatron("math").half(2) == 12
    megatron_adaptor.repatch({"optimization_level": 1})
    assert megatron("math").half(2) == 1 and "not_installed" not in sys.modules
    MindSpeedFeaturesManager.remove_patches()
    assert session.registered() is None or not session.registered().patches


def test_wrappers_of_arguments_can_be_registered_again(megatron, monkeypatch):
    from mindspeed.arguments import parse_args_wrapper, validate_args_wrapper

    register("megatron.training.arguments.parse_args", parse_args_wrapper)
    register("megatron.training.arguments.validate_args", validate_args_wrapper)
    apply()
    monkeypatch.setattr(sys, "argv", ["pretrain.py", "--reuse"])
    module = importlib.import_module("megatron.training.arguments")
    args = module.parse_args()
    module.validate_args(args)
    assert args.reuse is True and megatron("math").half(1) == "reused"


# Small functions.


def test_lengths_and_positions_are_one_state(monkeypatch):
    from mindspeed.core.context_parallel import get_batch_utils

    monkeypatch.setattr(utils, "_ends", None)
    get_batch_utils.set_actual_seq_len([3, 8])
    assert utils.get_actual_seq_len() == get_batch_utils.get_actual_seq_len() == [3, 8]
    positions = torch.tensor([0, 1, 2, 0, 1, 0, 1, 2])
    assert utils.compute_actual_seq_len(positions) == [3, 5, 8]
    assert utils.batch_index([3, 8, 10, 16, 20, 24], 8) == [[3, 8], [2, 8], [4, 8]]


def test_halves_of_packed_sequences(monkeypatch):
    args = Namespace(context_parallel_size=2)
    monkeypatch.setattr(utils, "get_full_args", lambda: args)
    queries, keys = utils.compute_qkv_index([4, 10])
    assert (queries.tolist(), keys.tolist()) == (
        [2, 3, 7, 8, 9],
        [0, 1, 4, 5, 6],
    ) and queries.device.type == "npu"
    args.attention_mask_type = "general"
    assert utils.compute_qkv_index([4, 10]) == (None, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [("None", None), ("true", True), ("bf16", torch.bfloat16), ("12", 12), ("1.5", 1.5), ("[1, 2]", [1, 2]),
     ("some text", "some text"), ("007", "007")],
)  # fmt: skip
def test_texts_of_a_configuration(text, value):
    config = {}
    utils.convert_str_dict_to_real_types(config, "key", text)
    assert config["key"] == value and type(config["key"]) is type(value)


def test_an_unknown_data_type_is_refused():
    assert utils._get_dtype("int8") is torch.int8
    with pytest.raises(ValueError, match="'fp4': wanted one of fp16"):
        utils._get_dtype("fp4")


def test_the_causal_mask_is_made_once(monkeypatch):
    from mindspeed.model import transformer

    monkeypatch.setattr(transformer, "_mask", None)
    args = Namespace(attention_mask_type="general")
    monkeypatch.setattr(transformer, "get_full_args", lambda: args)
    assert transformer.get_attention_mask() is None
    args.attention_mask_type, args.attention_mask_on_cpu = "causal", True
    mask = transformer.get_attention_mask()
    assert mask.shape == (2048, 2048) and mask.dtype == torch.bool and mask[0, 1] and not mask[1, 1]
    assert transformer.get_attention_mask() is mask
    transformer.set_attention_mask("mine")
    assert transformer.get_attention_mask() == "mine"


def test_norms_and_optimizers_are_the_operators(monkeypatch):
    from mindspeed.core.fusions.fused_rms_norm import RMSNorm
    from mindspeed.core.optimizer.adamw import AdamW, FusedTorchAdamW

    x = torch.randn(3, 8)
    norm = RMSNorm(8, sequence_parallel=True)
    assert norm.weight.sequence_parallel is True
    expected = norm(x)
    torch.testing.assert_close(norm.to("npu")(x.to("npu")).cpu(), expected)
    plain = RMSNorm(8, config=Namespace(use_fused_rmsnorm=False)).to("npu")
    torch.testing.assert_close(plain(x.to("npu")).cpu(), expected)
    ends = []
    for optimizer in (AdamW, FusedTorchAdamW, torch.optim.AdamW):
        weight = torch.nn.Parameter(
            torch.arange(4.0).to("npu" if optimizer is not torch.optim.AdamW else "cpu")
        )
        weight.grad = torch.ones_like(weight)
        made = optimizer([weight], lr=0.1)
        made.step()
        ends.append(weight.detach().cpu())
    torch.testing.assert_close(ends[0], ends[2])
    torch.testing.assert_close(ends[1], ends[2])
    with pytest.raises(ValueError, match="FusedTorchAdamW"):
        AdamW([weight], amsgrad=True)


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("model.layers.{0-3}.mlp", "model.layers.2.mlp", True),
        ("model.layers.{0-3}.mlp", "model.layers.12.mlp", False),
        ("model.layers.{*}.mlp", "model.layers.12.mlp", True),
        ("model.layers.{*}.mlp", "model.layers.x.mlp", False),
        ("*.mlp", "a.b.mlp", True),
        ("*.mlp", "a.b.mlpx", False),
        ("a?c", "abc", True),
        ("a.c", "abc", False),
        ("x.{1-2}.y.{*}", "x.2.y.7", True),
    ],
)
def test_patterns_of_module_names(pattern, name, fits):
    assert module_name_match(pattern, name) is fits


@pytest.mark.parametrize("pattern", ["a.{3-1}", "a.{x}", "a.{1-2-3}", "a.{}"])
def test_a_wrong_pattern_is_refused(pattern):
    with pytest.raises(ValueError, match="neither"):
        module_name_match(pattern, "a.1")


def test_numbers_of_the_first_segment():
    assert replace_first_segment_numbers("model.layer.10.experts.3") == "model.layer.*.experts.3"
    assert (
        replace_first_segment_numbers("layer1x2.w") == "layer*x*.w"
        and replace_first_segment_numbers("a.b") == "a.b"
    )


def test_ranks_that_speak(monkeypatch, caplog):
    said = []
    monkeypatch.delenv("RANK", raising=False)
    print_rank(said.append, "alone", 3)
    monkeypatch.setenv("RANK", "3")
    print_rank(said.append, "zero only")
    print_rank(said.append, "three too", [0, 3])
    assert said == ["alone", "three too"]
    logger = logging.getLogger("mindspeed.test")
    for _ in range(2):
        log_warning_once(logger, "said once")
    assert caplog.text.count("said once") == 1


def test_a_log_level_for_all(monkeypatch, capsys):
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    root.handlers[:] = []
    monkeypatch.setenv("RANK", "5")
    try:
        set_log_level("INFO")
        logging.getLogger("any").info("hello")
        logging.getLogger("any").debug("not this")
    finally:
        root.handlers[:] = kept
        root.setLevel(level)
    assert capsys.readouterr().out.startswith("[Rank 5 | Local Rank 0]")


def test_seeds_repeat(monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    drawn = []
    for _ in range(2):
        set_seed(7)
        drawn.append((random.random(), torch.rand(2).tolist(), torch.rand(2, device="npu").tolist()))
    assert drawn[0] == drawn[1]
    utils.extend_seed_all(11)
    first = torch.rand(2, device="npu").tolist()
    utils.extend_seed_all(11)
    assert torch.rand(2, device="npu").tolist() == first and torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
