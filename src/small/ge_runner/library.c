// SPDX-License-Identifier: Apache-2.0
/* torch_npu is linked against this library but uses nothing of it (the graph engine). */
#include "hc_util.h"

HC_SHARED extern const char hc_library_ge_runner[];
const char hc_library_ge_runner[] = "libge_runner of the host implementation";
