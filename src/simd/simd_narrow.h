// SPDX-License-Identifier: Apache-2.0
/* Floats of a byte and less as float, one element: fp8 (e4m3fn, e5m2), hifloat8, e8m0 and fp4.
 *
 * Every function is free of branches, so that a loop over it becomes vectors. What is too large for a type
 * becomes what PyTorch's casts make of it since 2.13: the largest number of e4m3fn, infinity in e5m2.
 * Quantisers clamp. */
#pragma once
#include "simd_half.h"

/* ---- fp8 and fp4: sign, exponent, MANTISSA bits ---- */

/* |x| rounded to nearest even as exponent and mantissa of a format, not limited to its range. Below the
 * smallest normal number the FPU rounds: it adds a power of two whose last place is the format's smallest
 * step. */
static inline uint32_t hc_narrow_round(uint32_t magnitude, uint32_t mantissa, uint32_t bias) {
    const uint32_t drop = 23 - mantissa, step = 1u << drop;
    const uint32_t even = magnitude + step / 2 - 1 + ((magnitude >> drop) & 1u);
    const uint32_t normal = (even >> drop) - ((127 - bias) << mantissa);
    const uint32_t magic = (127 + 1 - bias + drop) << 23;
    const uint32_t small = hc_f32_bits(hc_bits_f32(magnitude) + hc_bits_f32(magic)) - magic;
    return magnitude < (127 + 1 - bias) << 23 ? small : normal;
}

/* No infinity: 0x7f is NaN, and 0x7e, which is 448, takes all that is larger. */
static inline hc_f8e4m3 hc_f32_to_f8e4m3(float f) {
    const uint32_t bits = hc_f32_bits(f), magnitude = bits & 0x7fffffffu,
                   r = hc_narrow_round(magnitude, 3, 7);
    const uint32_t beyond = magnitude > 0x7f800000u ? 0x7fu : 0x7eu;
    return (hc_f8e4m3){(uint8_t)((bits >> 24 & 0x80u) | (r > 0x7eu ? beyond : r))};
}
static inline float hc_f8e4m3_to_f32(hc_f8e4m3 x) {
    const uint32_t sign = (uint32_t)(x.bits & 0x80u) << 24, m = x.bits & 0x7fu;
    const uint32_t value = hc_f32_bits(hc_bits_f32(m << 20) * 0x1p120f);
    return hc_bits_f32(sign | (m == 0x7fu ? 0x7fc00000u : value));
}

/* The upper byte of a float16: 0x7c is infinity. */
static inline hc_f8e5m2 hc_f32_to_f8e5m2(float f) {
    const uint32_t bits = hc_f32_bits(f), magnitude = bits & 0x7fffffffu,
                   r = hc_narrow_round(magnitude, 2, 15);
    const uint32_t beyond = magnitude > 0x7f800000u ? 0x7fu : 0x7cu;
    return (hc_f8e5m2){(uint8_t)((bits >> 24 & 0x80u) | (r > 0x7bu ? beyond : r))};
}
static inline float hc_f8e5m2_to_f32(hc_f8e5m2 x) {
    const uint32_t sign = (uint32_t)(x.bits & 0x80u) << 24, m = x.bits & 0x7fu;
    const uint32_t value = hc_f32_bits(hc_bits_f32(m << 21) * 0x1p112f);
    return hc_bits_f32(sign | (m > 0x7bu ? 0x7f800000u | (m & 3u) << 21 : value));
}

/* What is too large is the largest, and NaN, which fp4 has not, is 0. */
static inline uint8_t hc_f4_code(float f, uint32_t mantissa) {
    const uint32_t bits = hc_f32_bits(f), magnitude = bits & 0x7fffffffu,
                   r = hc_narrow_round(magnitude, mantissa, 1);
    const uint32_t code = (bits >> 28 & 8u) | (r > 7u ? 7u : r);
    return (uint8_t)(magnitude > 0x7f800000u ? 0 : code);
}
/* e2m1: 0, 0.5, 1, 1.5, 2, 3, 4, 6. */
static inline uint8_t hc_f32_to_f4e2m1(float f) { return hc_f4_code(f, 1); }
static inline float hc_f4e2m1_to_f32(uint32_t x) {
    return hc_bits_f32((x & 8u) << 28 | hc_f32_bits(hc_bits_f32((x & 7u) << 22) * 0x1p126f));
}
/* e1m2: quarters, 0 to 1.75. */
static inline uint8_t hc_f32_to_f4e1m2(float f) { return hc_f4_code(f, 2); }
static inline float hc_f4e1m2_to_f32(uint32_t x) {
    return hc_bits_f32((x & 8u) << 28 | hc_f32_bits((float)(x & 7u) * 0.25f));
}

/* ---- e8m0: a power of two, the exponent of a float; 0xff is NaN. ---- */

/* Infinity is NaN, the sign is lost. A subnormal float rounds like a number of its own binade, half down. */
static inline hc_f8e8m0 hc_f32_to_f8e8m0(float f) {
    const uint32_t bits = hc_f32_bits(f) & 0x7fffffffu, exponent = bits >> 23, rest = bits & 0x7fffffu;
    const uint32_t up =
        (uint32_t)(rest > 0x400000u) | ((uint32_t)(rest == 0x400000u) & (uint32_t)(exponent > 0));
    return (hc_f8e8m0){(uint8_t)(exponent + (exponent < 0xffu ? up : 0))};
}
/* 2^-127 is a subnormal float. */
static inline float hc_f8e8m0_to_f32(hc_f8e8m0 x) {
    const uint32_t normal = x.bits == 0 ? 0x400000u : (uint32_t)x.bits << 23;
    return hc_bits_f32(x.bits == 0xffu ? 0x7fc00000u : normal);
}

/* ---- hifloat8 (arXiv 2409.16626) ----
 *
 * After the sign a prefix says how many bits of exponent follow: 11 four, 10 three, 01 two, 001 one, 0001
 * none; the rest is mantissa. The exponent is sign and magnitude, the magnitude's leading one left out. 0000
 * is a power of two from 2^-22 to 2^-16. 0x80 is NaN, 0x6f and 0xef are infinities, 2^15 is the largest
 * number. */

/* Mantissa bits of the numbers from 2^e on. */
static inline int32_t hc_hif8_mantissa(int32_t e) {
    const int32_t size = e < 0 ? -e : e;
    return 3 - (size > 3) - (size > 7) - (size > 15);
}

/* To nearest, ties away from zero, as the format's definition has it: the next binade may have fewer bits of
 * mantissa, and then its first number is the one that rounding up reaches. */
static inline hc_hif8 hc_f32_to_hif8(float f) {
    const uint32_t bits = hc_f32_bits(f), magnitude = bits & 0x7fffffffu;
    const int32_t first = (int32_t)(magnitude >> 23) - 127;
    /* Half of what is dropped is added: halves go away from zero. */
    const uint32_t drop = 23u - (uint32_t)hc_hif8_mantissa(first);
    const uint32_t rounded = magnitude + (1u << (drop - 1));
    const int32_t e = (int32_t)(rounded >> 23) - 127, size = e < 0 ? -e : e;
    const uint32_t mantissa = (rounded & 0x7fffffu) >> (23 - hc_hif8_mantissa(e));
    const uint32_t negative = e < 0, s = (uint32_t)size;
    uint32_t code = 0x08u | mantissa;
    code = s == 1 ? 0x10u | negative << 3 | mantissa : code;
    code = s >= 2 ? 0x20u | negative << 4 | (s & 1u) << 3 | mantissa : code;
    code = s >= 4 ? 0x40u | negative << 4 | (s & 3u) << 2 | mantissa : code;
    code = s >= 8 ? 0x60u | negative << 4 | (s & 7u) << 1 | mantissa : code;
    /* Below 2^-15 there is no mantissa, and the code counts exponents. */
    code = e <= -16 ? (uint32_t)(e + 23) : code;
    code = e < -22 ? (uint32_t)(first >= -23) : code; /* 2^-23 is half of the smallest */
    code = (e > 15) | ((e == 15) & (mantissa > 0)) ? 0x6fu : code;
    const uint32_t signed_code = code == 0 ? 0 : (bits >> 24 & 0x80u) | code; /* there is no negative zero */
    return (hc_hif8){(uint8_t)(magnitude > 0x7f800000u ? 0x80u : signed_code)};
}
static inline float hc_hif8_to_f32(hc_hif8 x) {
    const uint32_t c = x.bits & 0x7fu, sign = (uint32_t)(x.bits & 0x80u) << 24;
    int32_t size = 0, mantissa = 3;
    uint32_t negative = 0;
    size = c >= 0x10 ? 1 : size, negative = c >= 0x10 ? c >> 3 & 1u : negative;
    size = c >= 0x20 ? 2 | (int32_t)(c >> 3 & 1u) : size, negative = c >= 0x20 ? c >> 4 & 1u : negative;
    size = c >= 0x40 ? 4 | (int32_t)(c >> 2 & 3u) : size, mantissa = c >= 0x40 ? 2 : mantissa;
    size = c >= 0x60 ? 8 | (int32_t)(c >> 1 & 7u) : size, mantissa = c >= 0x60 ? 1 : mantissa;
    const uint32_t part = c & ((1u << mantissa) - 1);
    const int32_t e = c < 8 ? (int32_t)c - 23 : negative ? -size : size;
    const uint32_t number = (uint32_t)(e + 127) << 23 | (c < 8 ? 0 : part << (23 - mantissa));
    const uint32_t value = c == 0 ? 0 : c == 0x6fu ? 0x7f800000u : number;
    return hc_bits_f32(x.bits == 0x80u ? 0x7fc00000u : sign | value);
}
