// SPDX-License-Identifier: Apache-2.0
/* Looked up for the vendor's tracing interface: torch_npu goes on without it. See MINDSPEED_TRACE. */
#include "hc_library.h"

HC_LIBRARY(mspti)
