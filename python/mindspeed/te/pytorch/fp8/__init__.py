# SPDX-License-Identifier: Apache-2.0
"""Low precision: the switches, which are those of Transformer Engine."""

from transformer_engine.pytorch.fp8 import fp8_autocast, fp8_model_init

from mindspeed import absent

__all__ = ["fp8_autocast", "fp8_model_init"]

__getattr__ = absent.attributes(
    __name__,
    dict.fromkeys(
        ("fp8_matmul", "fp8_matmul_add", "is_fp8_tensor", "is_fp8_tensor_2d", "MatmulKey"),
        absent.SENTENCES["mindspeed.te.pytorch.fp8"],
    ),
)
