// SPDX-License-Identifier: Apache-2.0
/* Faults between ranks that share memory. */
#include "hccl_faults.h"

#define PREPARE() (void)0
TEST_FAULTS()
