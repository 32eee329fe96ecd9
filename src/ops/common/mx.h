// SPDX-License-Identifier: Apache-2.0
/* MX formats: blocks of 32 (or more) fp8 or fp4 that share a scale, a power of two (OCP Microscaling
 * Formats).
 *
 *     to the largest exponent    scale = 2^(floor(log2 max |x|) - emax)              what is too large is
 * clipped to the largest value       scale = 2^ceil(log2(max |x| / largest))             nothing is
 *
 * Scales lie in pairs: of block b along the axis, scale[..., b / 2, ..., b % 2]; an odd number is filled up
 * with 2^-127. A block of zeros has that scale; one with a NaN or an infinity has NaN for its scale, and fp8
 * that are NaN (fp4, which has none, are 0). */
#pragma once
#include "fp4.h"

enum hc_mx_rounding {
    HC_MX_NEAREST,
    HC_MX_FLOOR,
    HC_MX_AWAY
}; /* away: halves away from zero; fp8 is nearest */

struct hc_mx_format {
    aclDataType dtype; /* ACL_FLOAT8_E4M3FN, ACL_FLOAT8_E5M2, ACL_FLOAT4_E2M1 or ACL_FLOAT4_E1M2 */
    int32_t emax;
    float largest;
};
struct hc_mx {
    struct hc_mx_format format;
    enum hc_mx_rounding rounding;
    size_t block;
    float divisor;   /* 0: scales by the exponent; else max |x| / divisor is what the scale is not below */
    float low_bound; /* max |x| counts as this at least */
};

/* What an operator was asked for, checked: the rounding's word, dstType, block size, algorithm of scales (0
 * by exponent, 1 by value, 2 by value for fp4) and the value in place of the largest, 0 for none. */
aclnnStatus hc_mx_check(const char *name, const char *round_mode, int64_t dst_type, int64_t block,
                        int64_t scale_alg, double dst_type_max, struct hc_mx *mx);
/* y has x's shape in the format, scale is e8m0 in the layout above for `axis`. */
aclnnStatus hc_mx_check_outputs(const char *name, const struct hc_mx *mx, const aclTensor *x, int32_t axis,
                                const char *y_name, const aclTensor *y, const char *scale_name,
                                const aclTensor *scale);

/* Rows [0, n) of `inner` elements along an axis, which is quantised; x, y and scale contiguous. Several
 * stretches of one tensor: `outer` of them follow each other in all three. */
struct hc_mx_run {
    const struct hc_mx *mx;
    size_t outer, n, inner;
    const char *x;
    aclDataType dtype; /* of x: float32, bfloat16 or float16 */
    uint8_t *y, *scale;
};
aclnnStatus hc_mx_run(const char *name, const struct hc_mx_run *r);
/* The same for a contiguous x, with y and scale of any strides. */
aclnnStatus hc_mx_quantise(const char *name, const struct hc_mx *mx, const aclTensor *x, int32_t axis,
                           const aclTensor *y, const aclTensor *scale);
/* A matrix along the rows of each group, whose ends are in order: blocks begin anew at every group, and the
 * scales of group g begin at pair ends[g - 1] / 64 + g. Pairs between groups are 0, and so are rows of y
 * behind the last group. Everything is contiguous; y of fp4 is its bytes. */
aclnnStatus hc_mx_quantise_groups(const char *name, const struct hc_mx *mx, const aclTensor *x,
                                  const int64_t *ends, size_t groups, const aclTensor *y,
                                  const aclTensor *scale);
/* Squares of 32 by 32 of the last two dimensions share a scale: one y, with the scales of both axes. x is
 * contiguous. */
aclnnStatus hc_mx_square(const char *name, const struct hc_mx *mx, const aclTensor *x, const aclTensor *y,
                         const aclTensor *row_scale, const aclTensor *column_scale);
