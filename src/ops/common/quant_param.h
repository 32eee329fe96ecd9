// SPDX-License-Identifier: Apache-2.0
/* The 64-bit number that holds a scale and an offset of quantised products, as the interface defines it for
 * clients that make it themselves:
 *
 *     bits 0..31   the scale, a float32 of which the lowest 13 bits are 0
 *     bits 37..45  the offset, an integer of 9 bits, signed
 *     bit  46      always 1 */
#pragma once
#include "op.h"

enum { HC_QUANT_PARAM_OFFSET = 37, HC_QUANT_PARAM_OFFSET_BITS = 9, HC_QUANT_PARAM_MARK = 46 };

/* `rounded`: to nearest, ties to even, else cut off. The offset is rounded and clipped. */
static inline uint64_t hc_quant_param(float scale, float offset, bool rounded) {
    enum { CUT = 13, LOWEST = -(1 << (HC_QUANT_PARAM_OFFSET_BITS - 1)), HIGHEST = -LOWEST - 1 };
    const uint32_t bits = hc_f32_bits(scale), odd = bits >> CUT & 1;
    const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
    const uint32_t kept =
        (rounded && finite ? bits + (1u << (CUT - 1)) - 1 + odd : bits) & ~((1u << CUT) - 1);
    const float inside = offset > HIGHEST ? (float)HIGHEST : offset < LOWEST ? (float)LOWEST : offset;
    const int32_t whole = offset == offset ? (int32_t)__builtin_rintf(inside) : 0;
    const uint64_t mask = (1u << HC_QUANT_PARAM_OFFSET_BITS) - 1;
    return kept | ((uint64_t)(uint32_t)whole & mask) << HC_QUANT_PARAM_OFFSET | 1ull << HC_QUANT_PARAM_MARK;
}
static inline float hc_quant_param_scale(uint64_t param) { return hc_bits_f32((uint32_t)param); }
static inline float hc_quant_param_offset(uint64_t param) {
    const int shift = 64 - HC_QUANT_PARAM_OFFSET - HC_QUANT_PARAM_OFFSET_BITS;
    return (float)((int64_t)(param << shift) >> (64 - HC_QUANT_PARAM_OFFSET_BITS));
}
