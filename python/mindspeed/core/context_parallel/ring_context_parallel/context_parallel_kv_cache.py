# SPDX-License-Identifier: Apache-2.0
"""Which layers keep what a ring brought, under the name that other projects import."""

from mindspeed import absent
from mindspeed.features.sequence.context_parallel_kv_cache import policy_of

__all__ = ["get_cache_policy"]

get_cache_policy = policy_of

__getattr__ = absent.attributes(
    __name__, {"ContextParallelKVCache": "--context-parallel-kv-cache-policy says what a ring keeps"}
)
