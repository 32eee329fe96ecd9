// SPDX-License-Identifier: Apache-2.0
/* The only header that an operator file includes (with simd.h and a skeleton where it uses them).
 *
 * A file with kernels has two halves. `#ifdef HC_ISA` is compiled once per instruction set and defines
 * functions HC_FN(name); `#else` is compiled once and defines the interface functions (hc_kernel.h). */
#pragma once
#include "aclnnop/aclnn_ops.h"
#include "hc_checked.h"
#include "hc_error.h"
#include "hc_executor.h"
#include "hc_isa.h"
#include "hc_kernel.h"
#include "hc_parallel.h"
#include "hc_tensor.h"
#include "simd_half.h"
