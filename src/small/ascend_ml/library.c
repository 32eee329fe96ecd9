// SPDX-License-Identifier: Apache-2.0
/* Looked up for hardware stress tests: what is not here is reported by torch_npu as not supported. */
#include "hc_util.h"

HC_SHARED extern const char hc_library_ascend_ml[];
const char hc_library_ascend_ml[] = "libascend_ml of the host implementation";
