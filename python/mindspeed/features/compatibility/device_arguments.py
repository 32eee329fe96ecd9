# SPDX-License-Identifier: Apache-2.0
"""Code that names CUDA devices gets NPUs: constructors, Tensor and Module methods, autocast, generators."""

from __future__ import annotations

from typing import Any

import torch
import torch.amp.autocast_mode
import torch.amp.grad_scaler
import torch_npu  # noqa: F401  (gives Tensor and Module their npu methods)
from torch.utils._device import _device_constructors

from mindspeed.adaptor import Feature, Level, Patch
from mindspeed.features.compatibility._devices import Function, anywhere, by_keyword, npu_device

# `with torch.device(...)` looks the called builtin up in this set, which torch fills at first use: now,
# before the names mean our wrappers.
_device_constructors()

CONSTRUCTORS = (
    "arange as_tensor asarray bartlett_window blackman_window empty empty_like empty_permuted "
    "empty_quantized empty_strided eye full full_like hamming_window hann_window kaiser_window linspace "
    "logspace normal ones ones_like rand rand_like randint randint_like randn randn_like randperm range "
    "scalar_tensor sparse_coo_tensor sparse_csr_tensor tensor tril_indices triu_indices zeros zeros_like"
).split()
TENSOR_CONSTRUCTORS = "new_empty new_empty_strided new_full new_ones new_tensor new_zeros".split()


def _type(original: Function) -> Function:
    """Tensor.type(): code for CUDA compares with 'torch.cuda.FloatTensor' and passes such names."""

    def type(self: torch.Tensor, dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
        if dtype is None:
            return original(self).replace("torch.npu.", "torch.cuda.")
        if isinstance(dtype, str):
            dtype = dtype.replace("torch.cuda.", "torch.npu.")
        return original(self, dtype, *args, **kwargs)

    return type


def _is_autocast_enabled(original: Function) -> Function:
    return lambda device_type="npu": original(npu_device(device_type))


def _set_autocast_enabled(original: Function) -> Function:
    def set_autocast_enabled(*args: Any, **kwargs: Any) -> None:
        device_type = kwargs.pop("device_type", None) or (args[0] if len(args) == 2 else "npu")
        enabled = kwargs["enabled"] if "enabled" in kwargs else args[-1]
        original(npu_device(device_type), enabled)

    return set_autocast_enabled


def _get_autocast_gpu_dtype() -> torch.dtype:
    return torch.get_autocast_dtype("npu")


def _set_autocast_gpu_dtype(dtype: torch.dtype) -> None:
    torch.set_autocast_dtype("npu", dtype)


def _grad_scaler_init(original: Function) -> Function:
    def __init__(self: Any, device: str = "npu", *args: Any, **kwargs: Any) -> None:
        original(self, npu_device(device), *args, **kwargs)

    return __init__


def _class_with_device(original: type) -> type:
    """The class with a constructor that translates devices; objects of the original are instances of it."""

    class Meta(type(original)):  # type: ignore[misc]
        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, original)

        def __subclasscheck__(cls, subclass: type) -> bool:
            return issubclass(subclass, original)

    class Translating(original, metaclass=Meta):
        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            if "device" in kwargs:
                kwargs["device"] = npu_device(kwargs["device"])
            return original(*map(npu_device, args), **kwargs)

    Translating.__name__ = Translating.__qualname__ = original.__name__
    return Translating


FEATURE = Feature(
    name="device-arguments",
    level=Level.COMPATIBILITY,
    patches=(
        *(Patch(f"torch:{name}", by_keyword, wraps=True) for name in CONSTRUCTORS),
        Patch("torch.fft:fftfreq", by_keyword, wraps=True),
        Patch("torch.fft:rfftfreq", by_keyword, wraps=True),
        Patch("torch:load", anywhere, wraps=True),
        Patch("torch:set_default_device", anywhere, wraps=True),
        Patch("torch:get_device_module", anywhere, wraps=True),
        Patch("torch:UntypedStorage.__new__", anywhere, wraps=True),
        Patch("torch:Generator", _class_with_device, wraps=True),
        Patch("torch.utils._device:DeviceContext.__init__", anywhere, wraps=True),
        *(Patch(f"torch:Tensor.{name}", by_keyword, wraps=True) for name in TENSOR_CONSTRUCTORS),
        Patch("torch:Tensor.to", anywhere, wraps=True),
        Patch("torch:Tensor.cuda", anywhere(torch.Tensor.npu)),
        Patch("torch:Tensor.is_cuda", torch.Tensor.is_npu),
        Patch("torch:Tensor.type", _type, wraps=True),
        Patch("torch:Tensor.pin_memory", anywhere, wraps=True),
        Patch("torch:Tensor.is_pinned", anywhere, wraps=True),
        Patch("torch.nn:Module.to", anywhere, wraps=True),
        Patch("torch.nn:Module.to_empty", anywhere, wraps=True),
        Patch("torch.nn:Module.cuda", anywhere(torch.nn.Module.npu)),
        Patch("torch.utils.data:DataLoader.__init__", anywhere, wraps=True),
        Patch("torch.amp.autocast_mode:autocast.__init__", anywhere, wraps=True),
        Patch("torch.amp.grad_scaler:GradScaler.__init__", _grad_scaler_init, wraps=True),
        Patch("torch.amp:custom_fwd", anywhere, wraps=True),
        Patch("torch.amp:custom_bwd", anywhere, wraps=True),
        Patch("torch:is_autocast_enabled", _is_autocast_enabled, wraps=True),
        Patch("torch:set_autocast_enabled", _set_autocast_enabled, wraps=True),
        Patch("torch:get_autocast_dtype", anywhere, wraps=True),
        Patch("torch:set_autocast_dtype", anywhere, wraps=True),
        Patch("torch:get_autocast_gpu_dtype", _get_autocast_gpu_dtype),
        Patch("torch:set_autocast_gpu_dtype", _set_autocast_gpu_dtype),
    ),
)
