// SPDX-License-Identifier: Apache-2.0
/* Looked up for symmetric memory: what is not here is reported by torch_npu as not found. */
#include "hc_library.h"

HC_LIBRARY(shmem)
