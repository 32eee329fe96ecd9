// SPDX-License-Identifier: Apache-2.0
/* torch_npu is linked against this library but uses nothing of it (the graph engine). */
#include "hc_library.h"

HC_LIBRARY(ge_runner)
