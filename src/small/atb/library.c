// SPDX-License-Identifier: Apache-2.0
/* torch_npu is linked against this library but uses nothing of it at load (the vendor's transformer library).
 */
#include "hc_library.h"

HC_LIBRARY(atb)
