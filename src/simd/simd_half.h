// SPDX-License-Identifier: Apache-2.0
/* bfloat16 and float16 as float, one element: round to nearest even, subnormals and NaN kept.
 * Blocks are converted by convert.c, which is compiled per instruction set. */
#pragma once
#include <string.h>

#include "hc_dtype.h"

static inline float hc_bits_f32(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}
static inline uint32_t hc_f32_bits(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static inline float hc_bf16_to_f32(hc_bf16 x) { return hc_bits_f32((uint32_t)x.bits << 16); }

/* A NaN whose payload is in the low half would round to infinity: it gets the quiet bit instead. */
static inline hc_bf16 hc_f32_to_bf16(float f) {
    const uint32_t bits = hc_f32_bits(f);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const uint32_t nan = (bits >> 16) | 0x40u;
    return (hc_bf16){(uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded)};
}

/* Branch-free by scaling: the exponent is re-based with a multiplication, which also makes subnormals right.
 */
static inline float hc_f16_to_f32(hc_f16 x) {
    const uint32_t w = (uint32_t)x.bits << 16, sign = w & 0x80000000u, two_w = w + w;
    const float normalized = hc_bits_f32((two_w >> 4) + (0xe0u << 23)) * 0x1.0p-112f;
    const float subnormal = hc_bits_f32((two_w >> 17) | (126u << 23)) - 0.5f;
    const uint32_t magnitude = two_w < (1u << 27) ? hc_f32_bits(subnormal) : hc_f32_bits(normalized);
    return hc_bits_f32(sign | magnitude);
}

/* Adding a power of two aligned to the target's last place makes the FPU do the rounding. */
static inline hc_f16 hc_f32_to_f16(float f) {
    const uint32_t w = hc_f32_bits(f), two_w = w + w, sign = w & 0x80000000u;
    float base = (hc_bits_f32(w & 0x7fffffffu) * 0x1.0p+112f) * 0x1.0p-110f;
    uint32_t bias = two_w & 0xff000000u;
    if (bias < 0x71000000u) bias = 0x71000000u;
    base = hc_bits_f32((bias >> 1) + 0x07800000u) + base;
    const uint32_t bits = hc_f32_bits(base);
    const uint32_t nonsign = ((bits >> 13) & 0x7c00u) + (bits & 0x0fffu);
    return (hc_f16){(uint16_t)((sign >> 16) | (two_w > 0xff000000u ? 0x7e00u : nonsign))};
}
