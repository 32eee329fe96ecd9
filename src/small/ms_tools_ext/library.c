// SPDX-License-Identifier: Apache-2.0
/* Looked up for markers of the vendor's tools: torch_npu goes on without them. */
#include "hc_util.h"

HC_SHARED extern const char hc_library_ms_tools_ext[];
const char hc_library_ms_tools_ext[] = "libms_tools_ext of the host implementation";
