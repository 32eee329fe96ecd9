# SPDX-License-Identifier: Apache-2.0
"""Features of other projects: a base class to derive from, and the manager that drives them.

The features of this package itself are no classes, with few exceptions: their flags switch them on. Asking for another class of
the original MindSpeed raises an ImportError that names the flag.
"""

from __future__ import annotations

import importlib
from typing import Any

from mindspeed import absent
from mindspeed.features_manager.feature import MindSpeedFeature
from mindspeed.features_manager.features_manager import MindSpeedFeaturesManager

__all__ = ["FEATURES_LIST", "MindSpeedFeature", "MindSpeedFeaturesManager", "create_features_list"]

FEATURES_LIST = MindSpeedFeaturesManager.FEATURES_LIST


def create_features_list() -> list[MindSpeedFeature]:
    """The features that are objects: those that projects wrote. A new list."""
    return list(FEATURES_LIST)


# Classes of the original and the flag that switches the feature on; without one it is always on there.
CLASSES = {
    "AdaptiveContextParallelFeature": "--context-parallel-algo",
    "AffinityFeature": "",
    "AlibiFeature": "--position-embedding-type",
    "AnsCompressTensorFeature": "--compress-dense",
    "AsyncLogAllreduceFeature": "--async-log-allreduce",
    "AutoSettingsFeature": "--auto-settings",
    "BalancedMoEFeature": "--balanced-moe-experts",
    "BufferPadFeature": "--param-and-grad-buffer-pad",
    "BuildTokenizerFeature": "--tokenizer-type",
    "CkptAccelerationFeature": "--ckpt-acceleration",
    "CoCFeature": "--use-ascend-coc",
    "CompressActivationFeature": "--compress-activation",
    "CompressOptimizerFeature": "--compress-optimizer",
    "ContextParallelFeature": "--context-parallel-size",
    "ContextParallelKvCacheFeature": "--context-parallel-kv-cache-policy",
    "CustomFSDPFeature": "--use-custom-fsdp",
    "DeepSeekSparseAttention": "--experimental-attention-variant",
    "DisableGlooGroupFeature": "--disable-gloo-group",
    "DistTrainFeature": "--dist-train",
    "DualpipeVFeature": "--schedules-method",
    "EnableRecomputeLayersPerPPRank": "--enable-recompute-layers-per-pp-rank",
    "ExpertsPlacementFeature": "--enable-expert-placement",
    "FusedEmaAdamwFeature": "--optimizer-selection",
    "FusedMoEPermuteFeature": "--moe-permute-fusion",
    "FusedRoPEFeature": "--use-fused-rotary-pos-emb",
    "FusedSoftmaxFeature": "",
    "FusedSwigluFeature": "--use-fused-swiglu",
    "FusionAttentionFeature": "--use-flash-attn",
    "FusionAttentionV2Feature": "--use-fusion-attn-v2",
    "GenerateMaskFeature": "",
    "GroupedMatmulFeature": "",
    "HcclBufferAdaptiveFeature": "--hccl-group-buffer-adaptive",
    "HcclBufferSetFeature": "--hccl-group-buffer",
    "HcclOpModeSetFeature": "--hccl-op-mode",
    "LayerZeroFeature": "--layerzero",
    "LlavaModel": "",
    "LowPrecisionOptimizerFeature": "--quant-states",
    "MC2Feature": "--use-ascend-mc2",
    "MLAFeature": "--multi-latent-attention",
    "MegatronBasicFeature": "",
    "MegatronMcoreRearrangeFeature": "",
    "MindSporePatchFeature": "--ai-framework",
    "MoEAllGatherOverLapFeature": "--moe-allgather-overlap-comm",
    "MoEAlltoAllMC2Feature": "--moe-alltoall-mc2",
    "MoEAlltoAllOverLapFeature": "--moe-alltoall-overlap-comm",
    "MoEFixRouterFeature": "--fix-router",
    "MoEFwdBwdOverlapFeature": "--moe-fb-overlap",
    "MoEGmmFeature": "--moe-grouped-gemm",
    "MoESharedExpertsFeature": "--n-shared-experts",
    "MoETpExtendEpFeature": "--moe-tp-extend-ep",
    "MoEZeroMemoryFeature": "--moe-zero-memory",
    "MultiParameterFeature": "--use-multiparameter-pipeline-model-parallel",
    "MuonOptimizerFeature": "--optimizer",
    "NPUDataDumpFeature": "--npu-datadump",
    "NPUDeterministicFeature": "--npu-deterministic",
    "NoopLayersFeature": "--noop-layers",
    "OptimizeP2PCommFeature": "",
    "OptimizeSendRecvCommFeature": "--optimize-send-recv-comm",
    "PipelineModelParallelLayoutFeature": "--pipeline-model-parallel-layout",
    "ProfileFeature": "--profile",
    "ProfilerDefaultFeature": "",
    "QADQuantEngineFeature": "--qad-enable",
    "QATQuantEngineFeature": "--qat-scheme",
    "QosFeature": "--aiqos",
    "RecomputeActivationFeature": "--recompute-activation-function",
    "RecomputeMethodFeature": "--recompute-method",
    "RecomputeNormFeature": "--recompute-norm",
    "ReplaceIndexPutFeature": "",
    "RequirementsBasicFeature": "",
    "ResetAttentionMaskFeature": "--reset-attention-mask",
    "ResetBucketGroupOrderFeature": "--reset-bucket-group-order",
    "RiPipeSchedulesAdvanceFeature": "--recompute-in-advance",
    "RiPipeSchedulesBubbleFeature": "--recompute-in-bubble",
    "SmartSwapFeature": "--smart-swap",
    "SwapAttentionFeature": "--swap-attention",
    "SwapLayerInputFeature": "--swap-layer-input",
    "SwapOptimizerFeature": "--swap-optimizer",
    "TP2dFeature": "--tp-2d",
    "TTPFeature": "--ttp-enabled",
    "TflopsCalculateFeature": "--op-cal-tflops",
    "TorchFullyShardedDataParallelFeature": "--use-torch-fsdp2",
    "TransformerEngineBasicFeature": "",
    "UlyssesContextParallelFeature": "--context-parallel-algo",
    "UnalignedLinearFeature": "--unaligned-linear",
    "UnalignedPipelineFeature": "--pipeline-num-transformer-layers",
    "VariableSequenceLengthFeature": "--variable-seq-lengths",
    "VirtualOptimizerFeature": "--virtual-optimizer",
}


# Flags of Megatron: what they do is Megatron's own, unless a feature has them.
OF_MEGATRON = frozenset(
    "--context-parallel-size --moe-grouped-gemm --moe-permute-fusion --multi-latent-attention --optimizer --profile "
    "--recompute-method --reset-attention-mask --tokenizer-type --use-custom-fsdp --use-flash-attn --use-torch-fsdp2 "
    "--variable-seq-lengths".split()
)


def _why(name: str) -> str | None:
    """What a class of the original is here, as of now."""
    flag = CLASSES.get(name)
    if flag is None:
        return None
    if not flag:
        return "what it does for an NPU is part of a level of this package, without a flag"
    from mindspeed.adaptor.discovery import all_features

    for feature in all_features():
        if any(option.name == flag for option in feature.flags):
            return f"feature {feature.name} of this package does it, {flag} or repatch() switches it on"
    return (
        f"Megatron's own {flag} is used"
        if flag in OF_MEGATRON
        else f"this package has no feature for {flag} yet"
    )


# Classes that are there, and their modules.
_THERE = {"ReuseFP32Param": "memory.reuse_fp32_param"}
_of_the_others = absent.attributes(__name__, _why)


def __getattr__(name: str) -> Any:
    if name in _THERE:
        return getattr(importlib.import_module(f"{__name__}.{_THERE[name]}"), name)
    return _of_the_others(name)
