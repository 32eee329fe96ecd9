// SPDX-License-Identifier: Apache-2.0
/* What ranks bring to a collective, and what must come out: a function of seed, rank and index, and a model
 * of the reductions that shares no code with the library.
 *
 * Values of VALUES_EXACT are chosen so that every sum and product of up to 16 ranks is exact in float: the
 * expected bits are those of one rounding, whatever the order of the ranks. VALUES_ANY are all values of the
 * type, VALUES_SPECIAL mixes NaN, infinities, zeros and denormals: both are combined in the order of ranks.
 */
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "harness.h"
#include "hccl/hccl.h"

enum values { VALUES_EXACT, VALUES_ANY, VALUES_SPECIAL };

/* X(type, bytes, class): S signed integer, U unsigned, F float, M moved only */
#define FOR_TEST_TYPES(X)                                                                                    \
    X(INT8, 1, 'S')                                                                                          \
    X(INT16, 2, 'S')                                                                                         \
    X(INT32, 4, 'S')                                                                                         \
    X(INT64, 8, 'S')                                                                                         \
    X(UINT8, 1, 'U')                                                                                         \
    X(UINT16, 2, 'U')                                                                                        \
    X(UINT32, 4, 'U')                                                                                        \
    X(UINT64, 8, 'U')                                                                                        \
    X(FP16, 2, 'F')                                                                                          \
    X(BFP16, 2, 'F')                                                                                         \
    X(FP32, 4, 'F')                                                                                          \
    X(FP64, 8, 'F')                                                                                          \
    X(INT128, 16, 'M')                                                                                       \
    X(HIF8, 1, 'M')                                                                                          \
    X(FP8E4M3, 1, 'M')                                                                                       \
    X(FP8E5M2, 1, 'M')                                                                                       \
    X(FP8E8M0, 1, 'M')

struct test_type {
    const char *name;
    HcclDataType type;
    size_t bytes;
    char kind;
};
static const struct test_type TEST_TYPES[] = {
#define X(name, bytes, kind) {#name, HCCL_DATA_TYPE_##name, bytes, kind},
    FOR_TEST_TYPES(X)
#undef X
};
enum { NUM_TEST_TYPES = sizeof TEST_TYPES / sizeof TEST_TYPES[0] };
static const char *const TEST_OPS[] = {"sum", "prod", "max", "min"}; /* in the order of HcclReduceOp */

static inline uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}
static inline uint64_t bits_of(uint64_t seed, uint32_t rank, uint64_t index) {
    return mix(mix(seed * 0x10001u + rank) ^ index);
}

/* 16-bit floats: `mantissa` bits below the point, the rest but one exponent. Rounds to nearest even. */
static inline double half_to_double(uint16_t bits, int mantissa) {
    const int width = 15 - mantissa, bias = (1 << (width - 1)) - 1;
    const int exponent = bits >> mantissa & ((1 << width) - 1), fraction = bits & ((1 << mantissa) - 1);
    double v;
    if (exponent == (1 << width) - 1) v = fraction != 0 ? NAN : INFINITY;
    else if (exponent == 0) v = ldexp(fraction, 1 - bias - mantissa);
    else v = ldexp(fraction + (1 << mantissa), exponent - bias - mantissa);
    return bits >> 15 ? -v : v;
}
static inline uint16_t double_to_half(double v, int mantissa) {
    const int width = 15 - mantissa, bias = (1 << (width - 1)) - 1;
    const uint16_t sign = signbit(v) ? 0x8000 : 0, infinity = (uint16_t)(((1 << width) - 1) << mantissa);
    if (isnan(v)) return (uint16_t)(infinity | 1 << (mantissa - 1));
    v = fabs(v);
    if (isinf(v)) return sign | infinity;
    int exponent = 0;
    frexp(v, &exponent);
    exponent = exponent - 1 < 1 - bias ? 1 - bias : exponent - 1; /* of the last place, before rounding */
    const double units = nearbyint(ldexp(v, mantissa - exponent));
    const double rounded = ldexp(units, exponent - mantissa);
    if (rounded >= ldexp(1, bias + 1)) return sign | infinity;
    if (units < 1 << mantissa) return (uint16_t)(sign | (uint16_t)units);
    if (units >= 2 << mantissa) return (uint16_t)(sign | (exponent + 1 + bias) << mantissa);
    return (uint16_t)(sign | (exponent + bias) << mantissa | ((uint16_t)units - (1 << mantissa)));
}

static inline double read_float(const struct test_type *t, const void *at) {
    uint16_t h;
    float f;
    double d;
    switch (t->type) {
    case HCCL_DATA_TYPE_FP16: memcpy(&h, at, 2); return half_to_double(h, 10);
    case HCCL_DATA_TYPE_BFP16: memcpy(&h, at, 2); return half_to_double(h, 7);
    case HCCL_DATA_TYPE_FP32: memcpy(&f, at, 4); return (double)f;
    default: memcpy(&d, at, 8); return d;
    }
}
static inline void write_float(const struct test_type *t, void *at, double v) {
    const uint16_t h = double_to_half(v, t->type == HCCL_DATA_TYPE_FP16 ? 10 : 7);
    const float f = (float)v;
    if (t->bytes == 2) memcpy(at, &h, 2);
    else if (t->bytes == 4) memcpy(at, &f, 4);
    else memcpy(at, &v, 8);
}

/* Exact: sums of 7, 10, 18 and 40 bits fit float or double however they are added, products are of few odd
 * factors. */
static inline double exact_value(const struct test_type *t, HcclReduceOp op, uint64_t h) {
    static const double FACTORS[] = {1, -1, 2, 0.5, 1.5, -1.5, 1, -0.5};
    if (op == HCCL_REDUCE_PROD) return FACTORS[h % 8];
    const int bits = t->bytes == 8 ? 40 : t->bytes == 4 ? 18 : t->type == HCCL_DATA_TYPE_FP16 ? 10 : 7;
    const double v = (double)(h >> 1 & ((1ull << bits) - 1));
    return ldexp(h & 1 ? -v : v, -4);
}

static inline double special_value(const struct test_type *t, uint64_t h) {
    const double tiny = t->type == HCCL_DATA_TYPE_FP16   ? 0x1p-24
                        : t->type == HCCL_DATA_TYPE_FP64 ? 0x1p-1074
                        : t->type == HCCL_DATA_TYPE_FP32 ? 0x1p-149
                                                         : 0x1p-133;
    const double huge = t->type == HCCL_DATA_TYPE_FP16   ? 65504
                        : t->type == HCCL_DATA_TYPE_FP64 ? 0x1p1023
                        : t->type == HCCL_DATA_TYPE_FP32 ? 0x1p127
                                                         : 0x1p127;
    const double all[] = {NAN, INFINITY, -INFINITY, 0, -0.0, tiny, -tiny, huge, -huge, 1, -1, 3};
    /* Mostly ordinary ranks, so that not every result is NaN. */
    return h % 3 == 0 ? all[(h >> 8) % (sizeof all / sizeof all[0])] : (double)((int)(h >> 8 & 15) - 8);
}

/* Write the element of `rank` at `index`. */
static inline void write_value(const struct test_type *t, HcclReduceOp op, enum values kind, uint64_t seed,
                               uint32_t rank, uint64_t index, void *at) {
    const uint64_t h[2] = {bits_of(seed, rank, index), bits_of(seed + 1, rank, index)};
    double v;
    if (t->kind != 'F') {
        memcpy(at, h, t->bytes);
        return;
    }
    if (kind == VALUES_EXACT) v = exact_value(t, op, h[0]);
    else if (kind == VALUES_SPECIAL) v = special_value(t, h[0]);
    else v = ldexp((double)(int64_t)h[0], -63 + (int)(h[1] % 8));
    write_float(t, at, v);
}
static inline void fill_values(const struct test_type *t, HcclReduceOp op, enum values kind, uint64_t seed,
                               uint32_t rank, uint64_t first, uint64_t count, char *at) {
    for (uint64_t i = 0; i < count; i++) write_value(t, op, kind, seed, rank, first + i, at + i * t->bytes);
}

static inline double combine_float(const struct test_type *t, HcclReduceOp op, double a, double b) {
    if (op == HCCL_REDUCE_MAX || op == HCCL_REDUCE_MIN) {
        if (isnan(a) || isnan(b)) return NAN;
        return op == HCCL_REDUCE_MAX ? fmax(a, b) : fmin(a, b);
    }
    const double exact = op == HCCL_REDUCE_SUM ? a + b : a * b;
    if (t->type == HCCL_DATA_TYPE_FP64) return exact;
    const float x = (float)a, y = (float)b; /* double would round twice */
    return (double)(op == HCCL_REDUCE_SUM ? x + y : x * y);
}
static inline int64_t sign_extend(uint64_t v, size_t bytes) {
    const int shift = 64 - 8 * (int)bytes;
    return (int64_t)(v << shift) >> shift;
}
static inline uint64_t combine_int(const struct test_type *t, HcclReduceOp op, uint64_t a, uint64_t b) {
    if (op == HCCL_REDUCE_SUM) return a + b;
    if (op == HCCL_REDUCE_PROD) return a * b;
    const bool less = t->kind == 'S' ? sign_extend(a, t->bytes) < sign_extend(b, t->bytes) : a < b;
    return (op == HCCL_REDUCE_MAX) == less ? b : a;
}

/* What `index` of all ranks reduces to. */
static inline void write_reduced(const struct test_type *t, HcclReduceOp op, enum values kind, uint64_t seed,
                                 uint32_t num_ranks, uint64_t index, void *at) {
    char one[16];
    double f = 0;
    uint64_t n = 0;
    for (uint32_t r = 0; r < num_ranks; r++) {
        uint64_t i = 0;
        write_value(t, op, kind, seed, r, index, one);
        if (t->kind == 'F') {
            f = r == 0 ? read_float(t, one) : combine_float(t, op, f, read_float(t, one));
            continue;
        }
        memcpy(&i, one, t->bytes <= 8 ? t->bytes : 8);
        n = r == 0 ? i : combine_int(t, op, n, i);
    }
    if (t->kind == 'F') write_float(t, at, f);
    else memcpy(at, &n, t->bytes);
}

/* The same bits, or both NaN, or both zero: NaN has many names, and a maximum of zeros either sign. */
static inline bool same_value(const struct test_type *t, const void *a, const void *b) {
    if (memcmp(a, b, t->bytes) == 0) return true;
    if (t->kind != 'F') return false;
    const double x = read_float(t, a), y = read_float(t, b);
    return (isnan(x) && isnan(y)) || (x == 0 && y == 0);
}
