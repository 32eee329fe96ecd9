// SPDX-License-Identifier: Apache-2.0
/* Faults between ranks that share memory, with algorithms over messages. */
#include "hccl_faults.h"

#define PREPARE() setenv("MINDSPEED_HCCL_ALGO", "all_reduce=ring,broadcast=tree,barrier=dissemination", 1)
TEST_FAULTS()
