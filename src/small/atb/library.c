// SPDX-License-Identifier: Apache-2.0
/* torch_npu is linked against this library but uses nothing of it at load (the vendor's transformer library).
 */
#include "hc_util.h"

HC_SHARED extern const char hc_library_atb[];
const char hc_library_atb[] = "libatb of the host implementation";
