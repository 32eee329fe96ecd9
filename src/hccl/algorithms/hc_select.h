// SPDX-License-Identifier: Apache-2.0
/* Which algorithm carries out a collective. */
#pragma once
#include "hc_algo.h"

/* The algorithm for an operation, or the next one after `declined`; NULL with a text. */
const struct hc_algo *hc_select(const struct hc_op *op, const struct hc_algo *declined);
/* Fail unless MINDSPEED_HCCL_ALGO names collectives and algorithms that exist. */
HcclResult hc_select_check(const char *caller);
