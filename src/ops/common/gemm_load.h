// SPDX-License-Identifier: Apache-2.0
/* Vectors of float32, bfloat16 or float16 memory as float, the dtype known at compile time (kernel
 * passes only): the functions are inlined into one instance per dtype. */
#pragma once
#include "gemm_kernels.h"
#include "simd.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

ALWAYS_INLINE const char *element(const void *p, int64_t i, aclDataType dtype) {
    return (const char *)p + i * (dtype == ACL_FLOAT ? 4 : 2);
}
ALWAYS_INLINE float load_one(const void *p, aclDataType dtype) {
    if (dtype == ACL_FLOAT) return *(const float *)p;
    return dtype == ACL_BF16 ? hc_bf16_to_f32(*(const hc_bf16 *)p) : hc_f16_to_f32(*(const hc_f16 *)p);
}
ALWAYS_INLINE vf load_vector(const void *p, aclDataType dtype) {
    if (dtype == ACL_FLOAT) return vf_load(p);
    return dtype == ACL_BF16 ? vf_load_bf16(p) : vf_load_f16(p);
}
ALWAYS_INLINE vf load_some(const void *p, size_t n, aclDataType dtype) {
    if (n >= HC_VL) return load_vector(p, dtype);
    if (dtype == ACL_FLOAT) return vf_load_part(p, n);
#if defined(HC_ISA_avx512)
    const __m256i x = _mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), p);
    return load_vector(&x, dtype);
#else
    uint16_t x[HC_VL] = {0};
    for (size_t i = 0; i < n; i++) x[i] = ((const uint16_t *)p)[i];
    return load_vector(x, dtype);
#endif
}

static inline struct gemm_pack one_panel(const struct gemm_pack *p, size_t i) {
    struct gemm_pack one = *p;
    one.src = element(p->src, (int64_t)(i * p->width) * p->width_stride, p->dtype);
    one.dst = p->dst + i * p->pitch;
    one.valid = hc_min_size(p->valid - i * p->width, p->width);
    one.panels = 1;
    return one;
}
