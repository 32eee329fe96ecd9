# SPDX-License-Identifier: Apache-2.0
"""In processes that multiprocessing spawns (workers that save checkpoints), which know nothing of pytest's plugins: the two lines."""

import sys

if "--multiprocessing-fork" in sys.orig_argv:
    import mindspeed.megatron_adaptor  # noqa: F401
    import torch  # noqa: F401
