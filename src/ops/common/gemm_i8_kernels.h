// SPDX-License-Identifier: Apache-2.0
/* The loops below hc_gemm_i8 (private to gemm_i8*.c): as in gemm_kernels.h, but a packed element is a word of
 * 32 bits that holds several steps of k.
 *
 * Everywhere: two int16, multiplied and added up by one instruction. With dot products of int8
 * (HC_KERNEL_VNNI): four int8 of B and four bytes of A without a sign, which are A + 128; what that adds to
 * the sums of a column, 128 times the column's own sum, comes with the panel and is taken off again. */
#pragma once
#include "gemm_kernels.h"

/* Rows of a panel of A, columns of one of B, and steps of k in a word. */
struct gemm_i8_geometry {
    size_t mr, nr, group;
};
HC_KERNEL(gemm_i8_geometry, (struct gemm_i8_geometry * g))
HC_KERNEL_VNNI(gemm_i8_geometry_VNNI, (struct gemm_i8_geometry * g))

/* A panel over k steps: dst[word * width + i], the first `valid` of i exist. Of B, `excess` gets what is to
 * be taken off a column's sums, added to what it holds; NULL for A. Up to a vector beyond the panel is
 * written. */
struct gemm_i8_pack {
    const int8_t *src;
    int64_t width_stride, k_stride;
    size_t width, valid, k;
    int32_t *dst, *excess;
};
HC_KERNEL(gemm_i8_pack, (const struct gemm_i8_pack *p))
HC_KERNEL_VNNI(gemm_i8_pack_VNNI, (const struct gemm_i8_pack *p))

/* Like the micro kernels of gemm_kernels.h; k counts words. */
HC_KERNEL(gemm_i8_micro, GEMM_MICRO_PARAMS)
HC_KERNEL_VNNI(gemm_i8_micro_VNNI, GEMM_MICRO_PARAMS)
