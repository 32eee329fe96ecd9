// SPDX-License-Identifier: Apache-2.0
/* torch_npu is linked against this library but uses nothing of it (data channels between host and device). */
#include "hc_library.h"

HC_LIBRARY(acl_tdt_channel)
