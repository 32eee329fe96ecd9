// SPDX-License-Identifier: Apache-2.0
/* Looked up for super kernels of captured graphs: what is not here is reported by torch_npu as not supported.
 */
#include "hc_library.h"

HC_LIBRARY(ascendsk)
