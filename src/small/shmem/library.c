// SPDX-License-Identifier: Apache-2.0
/* Looked up for symmetric memory: what is not here is reported by torch_npu as not found. */
#include "hc_util.h"

HC_SHARED extern const char hc_library_shmem[];
const char hc_library_shmem[] = "libshmem of the host implementation";
