// SPDX-License-Identifier: Apache-2.0
/* Looked up for the vendor's tracing interface: torch_npu goes on without it. See MINDSPEED_TRACE. */
#include "hc_util.h"

HC_SHARED extern const char hc_library_mspti[];
const char hc_library_mspti[] = "libmspti of the host implementation";
