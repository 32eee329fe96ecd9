// SPDX-License-Identifier: Apache-2.0
/* Vectors of the instruction set that a kernel pass is compiled for (HC_ISA): vf floats, vi 32-bit integers.
 *
 * GCC vector types carry + - * / and comparisons (which give a vi mask of 0 and -1); what they cannot say is
 * one static inline function here. The only file with intrinsics. */
#pragma once
#include <math.h>
#include <string.h>

#include "hc_util.h"
#include "simd_half.h"

#if defined(HC_ISA_avx512) || defined(HC_ISA_avx2)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#elif defined(__x86_64__)
#include <emmintrin.h>
#endif

#if defined(HC_ISA_avx512)
#define HC_VBYTES 64
#elif defined(HC_ISA_avx2)
#define HC_VBYTES 32
#else
#define HC_VBYTES 16
#endif
/* Lanes of a vf. */
#define HC_VL (HC_VBYTES / 4)

typedef float vf __attribute__((vector_size(HC_VBYTES)));
typedef int32_t vi __attribute__((vector_size(HC_VBYTES)));
typedef uint32_t vu __attribute__((vector_size(HC_VBYTES)));
typedef double vd __attribute__((vector_size(HC_VBYTES)));
typedef float vf_unaligned __attribute__((vector_size(HC_VBYTES), aligned(4), may_alias));
typedef int32_t vi_unaligned __attribute__((vector_size(HC_VBYTES), aligned(4), may_alias));
typedef uint16_t vh __attribute__((vector_size(HC_VBYTES / 2)));
typedef uint16_t vh_unaligned __attribute__((vector_size(HC_VBYTES / 2), aligned(2), may_alias));

/* Any alignment: on the CPUs in question an unaligned load costs nothing unless it crosses a cache line. */
static inline vf vf_load(const float *p) { return *(const vf_unaligned *)p; }
static inline void vf_store(float *p, vf x) { *(vf_unaligned *)p = x; }
/* To an address that is a multiple of HC_VBYTES, without bringing its line into the caches. Such stores are
 * seen by others in order only after v_fence_past_caches. */
static inline void vf_store_past_caches(float *p, vf x) {
#if defined(HC_ISA_avx512)
    _mm512_stream_ps(p, x);
#elif defined(HC_ISA_avx2)
    _mm256_stream_ps(p, x);
#elif defined(__x86_64__)
    _mm_stream_ps(p, (__m128)x);
#else
    vf_store(p, x); /* the compiler has no name for it; the hardware notices long runs itself */
#endif
}
static inline void v_fence_past_caches(void) {
#if defined(__x86_64__)
    _mm_sfence();
#endif
}
static inline vf vf_set(float x) { return x - (vf){0}; }
static inline vi vi_set(int32_t x) { return x - (vi){0}; }
static inline vf vf_zero(void) { return (vf){0}; }
/* The first n lanes, the rest zero; n < HC_VL. Nothing beyond them is touched. */
static inline vf vf_load_part(const float *p, size_t n) {
#if defined(HC_ISA_avx512)
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#elif defined(HC_ISA_avx2)
    return _mm256_maskload_ps(p, (__m256i)((vi){0, 1, 2, 3, 4, 5, 6, 7} < (int32_t)n));
#else
    vf x = {0};
    for (size_t i = 0; i < n; i++) x[i] = p[i];
    return x;
#endif
}
static inline void vf_store_part(float *p, vf x, size_t n) {
#if defined(HC_ISA_avx512)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), x);
#elif defined(HC_ISA_avx2)
    _mm256_maskstore_ps(p, (__m256i)((vi){0, 1, 2, 3, 4, 5, 6, 7} < (int32_t)n), x);
#else
    for (size_t i = 0; i < n; i++) p[i] = x[i];
#endif
}
/* The same bits as the other type; no instruction. */
static inline vi vf_bits(vf x) { return (vi)x; }
static inline vf vi_float(vi x) { return (vf)x; }
static inline vf vf_from_int(vi x) { return __builtin_convertvector(x, vf); }
/* Truncates; lanes out of range of int32 are unspecified. */
static inline vi vf_to_int(vf x) { return __builtin_convertvector(x, vi); }
/* mask ? a : b, mask lanes 0 or -1. */
static inline vf vf_select(vi mask, vf a, vf b) {
#if defined(HC_ISA_avx2)
    return _mm256_blendv_ps(b, a, (vf)mask);
#else
    return (vf)(((vi)a & mask) | ((vi)b & ~mask));
#endif
}
/* mask ? 0 : x. */
static inline vf vf_zero_where(vi mask, vf x) { return (vf)((vi)x & ~mask); }
/* Whether any lane of a mask is set. */
static inline bool vi_any(vi mask) {
#if defined(HC_ISA_avx512)
    return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif defined(HC_ISA_avx2)
    return _mm256_movemask_ps((__m256)mask) != 0;
#elif defined(__aarch64__)
    return vmaxvq_u32((uint32x4_t)mask) != 0;
#else
    return _mm_movemask_ps((__m128)mask) != 0;
#endif
}
static inline vf vf_abs(vf x) { return (vf)((vi)x & 0x7fffffff); }

/* a * b + c, rounded once where the instruction set has it (all but scalar). */
static inline vf vf_fma(vf a, vf b, vf c) {
#if defined(HC_ISA_avx512)
    return _mm512_fmadd_ps(a, b, c);
#elif defined(HC_ISA_avx2)
    return _mm256_fmadd_ps(a, b, c);
#elif defined(__aarch64__)
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}
/* Correctly rounded in every set. */
static inline vf vf_sqrt(vf x) {
#if defined(HC_ISA_avx512)
    return _mm512_sqrt_ps(x);
#elif defined(HC_ISA_avx2)
    return _mm256_sqrt_ps(x);
#elif defined(__aarch64__)
    return (vf)vsqrtq_f32((float32x4_t)x);
#else
    return (vf)_mm_sqrt_ps((__m128)x);
#endif
}
/* To the nearest integer, ties to even; exact for |x| < 2^22 (what range reduction needs). */
static inline vf vf_round_small(vf x) {
    const vf magic = vf_set(0x1.8p23f);
    return (x + magic) - magic;
}
/* To a whole number, of any size: down, up, toward zero, to nearest with ties to even. NaN, infinities and
 * the sign of zero stay. */
#if defined(HC_ISA_avx512)
#define HC_VF_WHOLE(name, function, mode)                                                                    \
    static inline vf name(vf x) { return _mm512_roundscale_ps(x, (mode) | _MM_FROUND_NO_EXC); }
#elif defined(HC_ISA_avx2)
#define HC_VF_WHOLE(name, function, mode)                                                                    \
    static inline vf name(vf x) { return _mm256_round_ps(x, (mode) | _MM_FROUND_NO_EXC); }
#else
#define HC_VF_WHOLE(name, function, mode)                                                                    \
    static inline vf name(vf x) {                                                                            \
        vf y;                                                                                                \
        for (size_t i = 0; i < HC_VL; i++) y[i] = function(x[i]);                                            \
        return y;                                                                                            \
    }
#endif
HC_VF_WHOLE(vf_floor, floorf, _MM_FROUND_TO_NEG_INF)
HC_VF_WHOLE(vf_ceil, ceilf, _MM_FROUND_TO_POS_INF)
HC_VF_WHOLE(vf_trunc, truncf, _MM_FROUND_TO_ZERO)
HC_VF_WHOLE(vf_rint, rintf, _MM_FROUND_TO_NEAREST_INT)
/* If either lane is NaN the result is NaN (unlike the machine instructions, which give the second operand).
 */
static inline vf vf_max(vf a, vf b) {
#if defined(HC_ISA_avx2)
    return vf_select(a != a, a, _mm256_max_ps(a, b));
#else
    return vf_select((a > b) | (a != a), a, b);
#endif
}
static inline vf vf_min(vf a, vf b) {
#if defined(HC_ISA_avx2)
    return vf_select(a != a, a, _mm256_min_ps(a, b));
#else
    return vf_select((a < b) | (a != a), a, b);
#endif
}

/* The larger of x and m; m where x is NaN. One instruction where vf_max takes four. */
static inline vf vf_max_number(vf x, vf m) {
#if defined(HC_ISA_avx512)
    return _mm512_max_ps(x, m);
#elif defined(HC_ISA_avx2)
    return _mm256_max_ps(x, m);
#else
    return vf_select(x > m, x, m);
#endif
}

/* Sum and maximum of the lanes, in a fixed order: halves are folded. The compiler would do it in memory. */
static inline float vf_reduce_add(vf x) {
#if defined(HC_ISA_avx512)
    return _mm512_reduce_add_ps(x);
#else
    float lane[HC_VL];
    memcpy(lane, &x, sizeof lane);
    for (size_t half = HC_VL / 2; half > 0; half /= 2) {
        for (size_t i = 0; i < half; i++) lane[i] += lane[i + half];
    }
    return lane[0];
#endif
}
static inline float vf_reduce_max(vf x) {
    float lane[HC_VL];
    memcpy(lane, &x, sizeof lane);
    for (size_t half = HC_VL / 2; half > 0; half /= 2) {
        for (size_t i = 0; i < half; i++) {
            lane[i] = lane[i] > lane[i + half] || lane[i] != lane[i] ? lane[i] : lane[i + half];
        }
    }
    return lane[0];
}
/* A NaN among the lanes may be left out. */
static inline float vf_reduce_max_of_numbers(vf x) {
#if defined(HC_ISA_avx512)
    return _mm512_reduce_max_ps(x);
#else
    return vf_reduce_max(x);
#endif
}

/* HC_VL values of 16 bits, widened. */
static inline vf vf_load_bf16(const void *p) {
    /* GCC converts by halves and joins them: five instructions for two. */
#if defined(HC_ISA_avx512)
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16);
#elif defined(HC_ISA_avx2)
    return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16);
#else
    const vu wide = __builtin_convertvector(*(const vh_unaligned *)p, vu);
    return (vf)(wide << 16);
#endif
}
/* The high halves are x rounded to bfloat16 (to nearest even, NaN stays NaN), the low halves anything. */
static inline vu vf_round_bf16(vf x) {
#if defined(HC_ISA_avx512)
    const __m512i bits = (__m512i)x;
    const __mmask16 odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x10000));
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    __m512i y = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
    y = _mm512_mask_add_epi32(y, odd, y, _mm512_set1_epi32(1));
    return (vu)_mm512_mask_or_epi32(y, nan, bits, _mm512_set1_epi32(0x400000));
#else
    const vu bits = (vu)x, rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
    return (vu)vf_select(x != x, (vf)(bits | 0x400000u), (vf)rounded);
#endif
}
static inline void vf_store_bf16(void *p, vf x) {
#if defined(HC_ISA_avx2) /* GCC narrows by three shuffles of each half */
    const __m256i y = (__m256i)(vf_round_bf16(x) >> 16);
    _mm_storeu_si128(p, _mm_packus_epi32(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1)));
#else
    *(vh_unaligned *)p = __builtin_convertvector(vf_round_bf16(x) >> 16, vh);
#endif
}
/* Two vectors, side by side. */
static inline void vf_store_bf16_pair(void *p, vf x0, vf x1) {
#if defined(HC_ISA_avx512)
    static const uint16_t HIGH[32]
        __attribute__((aligned(64))) = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
                                        33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
    const __m512i both = _mm512_permutex2var_epi16((__m512i)vf_round_bf16(x0), _mm512_load_si512(HIGH),
                                                   (__m512i)vf_round_bf16(x1));
    _mm512_storeu_si512(p, both);
#elif defined(HC_ISA_avx2) /* packed by halves of a register, whose middle quarters are swapped then */
    const __m256i both =
        _mm256_packus_epi32((__m256i)(vf_round_bf16(x0) >> 16), (__m256i)(vf_round_bf16(x1) >> 16));
    _mm256_storeu_si256(p, _mm256_permute4x64_epi64(both, 0xd8));
#else
    vf_store_bf16(p, x0);
    vf_store_bf16((uint16_t *)p + HC_VL, x1);
#endif
}
/* 2 HC_VL values, those at even places and those at odd ones: an instruction each, where to widen or narrow
 * values in their order takes shuffles too. For what does not ask where in a vector a value is. */
static inline void vf_load_bf16_apart(const void *p, vf *even, vf *odd) {
    const vu both = (vu)(*(const vi_unaligned *)p);
    *even = (vf)(both << 16);
    *odd = (vf)(both & 0xffff0000u);
}
static inline void vf_store_bf16_apart(void *p, vf even, vf odd) {
    const vu low = vf_round_bf16(even) >> 16, high = vf_round_bf16(odd);
#if defined(HC_ISA_avx2)
    _mm256_storeu_si256(p, _mm256_blend_epi16((__m256i)low, (__m256i)high, 0xaa));
#else
    *(vi_unaligned *)p = (vi)(low | (high & 0xffff0000u));
#endif
}
/* The first n lanes, n < HC_VL; the rest is zero, or left alone in memory. */
static inline vf vf_load_bf16_part(const void *p, size_t n) {
#if defined(HC_ISA_avx512)
    const __m256i x = _mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), p);
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16);
#else
    uint16_t x[HC_VL] = {0};
    memcpy(x, p, n * sizeof *x);
    return vf_load_bf16(x);
#endif
}
static inline void vf_store_bf16_part(void *p, vf x, size_t n) {
    uint16_t y[HC_VL];
    vf_store_bf16(y, x);
    memcpy(p, y, n * sizeof *y);
}
/* HC_VL float16 values; round to nearest even, subnormals kept. */
static inline vf vf_load_f16(const void *p) {
#if defined(HC_ISA_avx512)
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
#elif defined(HC_ISA_avx2)
    return _mm256_cvtph_ps(_mm_loadu_si128(p));
#else
    vf x;
    for (size_t i = 0; i < HC_VL; i++) x[i] = hc_f16_to_f32(((const hc_f16 *)p)[i]);
    return x;
#endif
}
static inline void vf_store_f16(void *p, vf x) {
#if defined(HC_ISA_avx512)
    _mm256_storeu_si256(p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(HC_ISA_avx2)
    _mm_storeu_si128(p, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#else
    for (size_t i = 0; i < HC_VL; i++) ((hc_f16 *)p)[i] = hc_f32_to_f16(x[i]);
#endif
}
