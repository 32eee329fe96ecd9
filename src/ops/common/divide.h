// SPDX-License-Identifier: Apache-2.0
/* Rounded division and remainders with PyTorch's rules, for kernels.
 *
 * Integers: division by zero has no value; we return quotient and remainder 0 rather than raise SIGFPE. The
 * lowest integer by -1 wraps. */
#pragma once
#include <math.h>
#include <stdint.h>

static inline int64_t hc_div_trunc_i64(int64_t a, int64_t b) {
    if (b == 0) return 0;
    return b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b;
}
static inline int64_t hc_fmod_i64(int64_t a, int64_t b) { return b == 0 || b == -1 ? 0 : a % b; }
static inline int64_t hc_div_floor_i64(int64_t a, int64_t b) {
    return hc_div_trunc_i64(a, b) - (hc_fmod_i64(a, b) != 0 && (a < 0) != (b < 0));
}
/* The sign of the divisor, unlike fmod. */
static inline int64_t hc_remainder_i64(int64_t a, int64_t b) {
    const int64_t r = hc_fmod_i64(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

/* floor(a / b) as if the quotient were exact: from the remainder, rounded to the nearest integer at the end.
 */
#define HC_DEFINE_DIVIDE(type, suffix)                                                                       \
    static inline type hc_div_trunc_##suffix(type a, type b) { return trunc##suffix(a / b); }                \
    static inline type hc_div_floor_##suffix(type a, type b) {                                               \
        if (b == 0) return a / b;                                                                            \
        const type mod = fmod##suffix(a, b);                                                                 \
        type div = (a - mod) / b;                                                                            \
        if (mod != 0 && (b < 0) != (mod < 0)) div -= 1;                                                      \
        if (div == 0) return copysign##suffix(0, a / b);                                                     \
        const type low = floor##suffix(div);                                                                 \
        return div - low > (type)0.5 ? low + 1 : low;                                                        \
    }                                                                                                        \
    static inline type hc_remainder_##suffix(type a, type b) {                                               \
        const type mod = fmod##suffix(a, b);                                                                 \
        return mod != 0 && (b < 0) != (mod < 0) ? mod + b : mod;                                             \
    }
#define truncd trunc
#define fmodd fmod
#define floord floor
#define copysignd copysign
HC_DEFINE_DIVIDE(float, f)
HC_DEFINE_DIVIDE(double, d)
