// SPDX-License-Identifier: Apache-2.0
/* Looked up for the LCCL backend: what is not here is reported by torch_npu as not found. HCCL is
 * implemented. */
#include "hc_util.h"

HC_SHARED extern const char hc_library_lcal[];
const char hc_library_lcal[] = "liblcal of the host implementation";
