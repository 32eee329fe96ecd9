// SPDX-License-Identifier: Apache-2.0
/* torch_npu is linked against this library but uses nothing of it (graph descriptions). */
#include "hc_library.h"

HC_LIBRARY(graph)
