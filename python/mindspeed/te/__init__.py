# SPDX-License-Identifier: Apache-2.0
"""The original's layers in the form of Transformer Engine: the names, over Megatron's own layers and the stand-ins.

Megatron's layers need the stand-ins, which the adaptor puts in place.
"""

import mindspeed.megatron_adaptor  # noqa: F401
