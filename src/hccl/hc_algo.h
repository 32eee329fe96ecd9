// SPDX-License-Identifier: Apache-2.0
/* All algorithms, one per file of algo/; select.c says which serve which collective. */
#pragma once
#include "hc_op.h"

extern const struct hc_algo hc_local;
extern const struct hc_algo hc_direct_all_reduce, hc_direct_reduce, hc_direct_reduce_scatter,
    hc_direct_all_gather, hc_direct_all_to_all, hc_direct_from_root, hc_direct_barrier;
