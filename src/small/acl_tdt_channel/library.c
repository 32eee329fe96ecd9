// SPDX-License-Identifier: Apache-2.0
/* torch_npu is linked against this library but uses nothing of it (data channels between host and device). */
#include "hc_util.h"

HC_SHARED extern const char hc_library_acl_tdt_channel[];
const char hc_library_acl_tdt_channel[] = "libacl_tdt_channel of the host implementation";
