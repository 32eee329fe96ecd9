// SPDX-License-Identifier: Apache-2.0
/* Arithmetic on numbers that somebody else chose: shapes, strides, offsets, counts, indices, what a file or a
 * message says.
 *
 * "Fits" functions store the result and say whether it is the mathematical one; where it is not, nothing is
 * stored. The "range" and "memory" functions ask without a sum that could overflow. Everything is a compare
 * or an instruction with its carry: no cost worth leaving one out for. */
#pragma once
#include "hc_util.h"

/* No object is larger: with it a pointer difference, and so any offset in it, fits into ptrdiff_t. */
#define HC_MAX_BYTES ((size_t)PTRDIFF_MAX)

static inline bool hc_add_fits(size_t a, size_t b, size_t *sum) {
    size_t r;
    if (HC_UNLIKELY(__builtin_add_overflow(a, b, &r))) return false;
    *sum = r;
    return true;
}
static inline bool hc_mul_fits(size_t a, size_t b, size_t *product) {
    size_t r;
    if (HC_UNLIKELY(__builtin_mul_overflow(a, b, &r))) return false;
    *product = r;
    return true;
}
static inline bool hc_add_i64_fits(int64_t a, int64_t b, int64_t *sum) {
    int64_t r;
    if (HC_UNLIKELY(__builtin_add_overflow(a, b, &r))) return false;
    *sum = r;
    return true;
}
static inline bool hc_sub_i64_fits(int64_t a, int64_t b, int64_t *difference) {
    int64_t r;
    if (HC_UNLIKELY(__builtin_sub_overflow(a, b, &r))) return false;
    *difference = r;
    return true;
}
static inline bool hc_mul_i64_fits(int64_t a, int64_t b, int64_t *product) {
    int64_t r;
    if (HC_UNLIKELY(__builtin_mul_overflow(a, b, &r))) return false;
    *product = r;
    return true;
}

/* `count` items of `item` bytes, as the size of something in memory. */
static inline bool hc_bytes_fit(size_t count, size_t item, size_t *bytes) {
    size_t r;
    if (HC_UNLIKELY(__builtin_mul_overflow(count, item, &r) || r > HC_MAX_BYTES)) return false;
    *bytes = r;
    return true;
}
/* The same behind a header. */
static inline bool hc_bytes_behind_fit(size_t header, size_t count, size_t item, size_t *bytes) {
    size_t r;
    if (HC_UNLIKELY(!hc_bytes_fit(count, item, &r) || header > HC_MAX_BYTES - r)) return false;
    *bytes = header + r;
    return true;
}
/* hc_align_up; `to` is a power of two. */
static inline bool hc_align_up_fits(size_t a, size_t to, size_t *aligned) {
    if (HC_UNLIKELY(a > SIZE_MAX - (to - 1))) return false;
    *aligned = hc_align_up(a, to);
    return true;
}

/* For what is compared or shown only: the largest number stands for all above it. */
static inline size_t hc_add_saturated(size_t a, size_t b) {
    size_t r;
    return __builtin_add_overflow(a, b, &r) ? SIZE_MAX : r;
}
static inline size_t hc_mul_saturated(size_t a, size_t b) {
    size_t r;
    return __builtin_mul_overflow(a, b, &r) ? SIZE_MAX : r;
}
static inline int64_t hc_add_i64_saturated(int64_t a, int64_t b) {
    int64_t r;
    return __builtin_add_overflow(a, b, &r) ? (a < 0 ? INT64_MIN : INT64_MAX) : r;
}

/* Whether [first, first + length) lies in [0, bound). `length` and `bound` are not negative. */
static inline bool hc_range_inside(int64_t first, int64_t length, int64_t bound) {
    return first >= 0 && length <= bound && first <= bound - length;
}
static inline bool hc_span_inside(size_t first, size_t length, size_t bound) {
    return length <= bound && first <= bound - length;
}

/* Whether an object of `bytes` can be at `start`: it ends before the address space does. */
static inline bool hc_memory_possible(const void *start, size_t bytes) {
    return bytes <= HC_MAX_BYTES && (uintptr_t)start <= UINTPTR_MAX - bytes;
}
/* Whether [part, part + bytes) lies in [whole, whole + whole_bytes), any of which may be impossible. */
static inline bool hc_memory_inside(const void *part, size_t bytes, const void *whole, size_t whole_bytes) {
    return (uintptr_t)part >= (uintptr_t)whole &&
           hc_span_inside((uintptr_t)part - (uintptr_t)whole, bytes, whole_bytes);
}
/* Whether two pieces of memory share a byte. */
static inline bool hc_memory_overlaps(const void *a, size_t a_bytes, const void *b, size_t b_bytes) {
    if (a_bytes == 0 || b_bytes == 0) return false;
    return (uintptr_t)a <= (uintptr_t)b ? (uintptr_t)b - (uintptr_t)a < a_bytes
                                        : (uintptr_t)a - (uintptr_t)b < b_bytes;
}
