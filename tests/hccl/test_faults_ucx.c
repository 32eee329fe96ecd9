// SPDX-License-Identifier: Apache-2.0
/* Faults between ranks that UCX connects. */
#include "hccl_faults.h"
#include "hccl_ucx.h"

#define PREPARE() USE_UCX("tcp,self")
TEST_FAULTS()
