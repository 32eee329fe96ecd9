// SPDX-License-Identifier: Apache-2.0
/* Looked up for markers of the vendor's tools: torch_npu goes on without them. */
#include "hc_library.h"

HC_LIBRARY(ms_tools_ext)
