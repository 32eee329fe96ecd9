// SPDX-License-Identifier: Apache-2.0
/* Blocks: runs of elements in the type that kernels compute in, and their conversion from and to any dtype.
 */
#pragma once
#include "op.h"

/* X(block type, C type). Kernels see only these: 16-bit floats become float, integers int64, complex double.
 */
#define HC_FOR_BLOCKS(X) X(F32, float) X(F64, double) X(I64, int64_t) X(C128, hc_c128) X(B8, uint8_t)
enum hc_block {
#define X(id, type) HC_##id,
    HC_FOR_BLOCKS(X)
#undef X
        HC_BLOCK_COUNT
};
typedef float hc_block_F32;
typedef double hc_block_F64;
typedef int64_t hc_block_I64;
typedef hc_c128 hc_block_C128;
typedef uint8_t hc_block_B8; /* truth values, 0 or 1 */

/* dst[i] = src[i * stride] for i < n; dst is a block of the block type, src elements of the dtype. */
typedef void hc_load_fn(size_t n, void *dst, const void *src, int64_t stride);
/* dst[i * stride] = src[i] for i < n. Floats to integers truncate (NaN and out of range: lowest int64, then
 * wrapped); anything but 0 is true. */
typedef void hc_store_fn(size_t n, void *dst, int64_t stride, const void *src);

hc_load_fn *hc_load_for(aclDataType dtype, enum hc_block block);
hc_store_fn *hc_store_for(aclDataType dtype, enum hc_block block);
/* The block type with the same memory layout as the dtype, or -1: then runs of stride 1 need no conversion.
 */
int hc_block_of(aclDataType dtype);
/* The block type in which values of this dtype are computed with. */
enum hc_block hc_compute_block(aclDataType dtype);
/* float32, bfloat16 or float16: floats that a block of float32 holds, for operators whose tiles are float32.
 */
static inline bool hc_fits_f32(aclDataType dtype) {
    return hc_dtype_is_float(dtype) && hc_compute_block(dtype) == HC_F32;
}
size_t hc_block_size(enum hc_block block);
