// SPDX-License-Identifier: Apache-2.0
/* Looked up for the LCCL backend: what is not here is reported by torch_npu as not found. HCCL is
 * implemented. */
#include "hc_library.h"

HC_LIBRARY(lcal)
