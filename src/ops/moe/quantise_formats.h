// SPDX-License-Identifier: Apache-2.0
/* Rows of tokens in floats of a byte or less, by the numbers of aclnnMoeInitRoutingV3's quantMode above 1.
 *
 *     2, 3     MX, float8_e5m2 or e4m3fn: scales of blocks of 32, the power of two above max / largest
 *     16, 17   the same, max being 1e-4 at least
 *     9        MX, float4_e2m1: scales by the exponent of max
 *     11, 12   float8_e5m2 or e4m3fn: a float32 max / largest for each 128 elements, an even number of them
 *     4, 5     the same with the power of two above it; any number
 *     14, 15   and max being 1e-4 at least
 *     6        hifloat8
 *     7        hifloat8 of x * scale
 *     8        hifloat8 of x / s with s = max / 32768 of the row, a float32
 *
 * 13 is int4, two in a byte, which no tensor here holds. */
#pragma once
#include "moe.h"

bool hc_moe_is_format(int64_t mode);
/* What rows become. */
aclDataType hc_moe_format_dtype(int64_t mode);
/* Phase one: x [T, H], scaleOptional and the output of scales for so many rows. */
aclnnStatus hc_moe_check_format(const char *name, int64_t mode, const aclTensor *x, const aclTensor *scale,
                                const aclTensor *scales, int64_t rows);
/* Whether the mode has an output of scales. */
bool hc_moe_format_tells(int64_t mode);
/* Phase two: x are the rows [N, H], contiguous; out as many, contiguous, of fp4 their bytes. */
aclnnStatus hc_moe_to_format(const char *name, int64_t mode, const aclTensor *x, const aclTensor *scale,
                             const aclTensor *out, const aclTensor *scales);
