// SPDX-License-Identifier: Apache-2.0
/* torch_npu is linked against this library but uses nothing of it (graph descriptions). */
#include "hc_util.h"

HC_SHARED extern const char hc_library_graph[];
const char hc_library_graph[] = "libgraph of the host implementation";
