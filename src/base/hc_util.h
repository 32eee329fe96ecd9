// SPDX-License-Identifier: Apache-2.0
/* Small things every file may use: visibility, branch hints, min/max, alignment. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* HC_API: a function of the interface. HC_SHARED: internal, but used by another of our libraries. */
#ifndef HC_API
#define HC_API __attribute__((visibility("default")))
#endif
#define HC_SHARED __attribute__((visibility("default")))

#define HC_LIKELY(x) __builtin_expect(!!(x), 1)
#define HC_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define HC_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
/* Of an array only: for a pointer the compiler warns (-Wsizeof-pointer-div), and warnings are errors. */
#define HC_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define HC_PASTE_(a, b) a##b
#define HC_PASTE(a, b) HC_PASTE_(a, b)
#define HC_STRINGIFY_(a) #a
#define HC_STRINGIFY(a) HC_STRINGIFY_(a)

/* Bytes that the CPU fetches at once, on all that this runs on: for prefetches. */
enum { HC_CACHE_LINE = 64 };

static inline size_t hc_min_size(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t hc_max_size(size_t a, size_t b) { return a > b ? a : b; }
static inline int64_t hc_min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t hc_max_i64(int64_t a, int64_t b) { return a > b ? a : b; }
/* Right for any a: no sum that could overflow. */
static inline size_t hc_ceil_div(size_t a, size_t b) { return a / b + (a % b != 0); }
/* `to` is a power of two, and `a` the size of something that exists; otherwise hc_align_up_fits. */
static inline size_t hc_align_up(size_t a, size_t to) { return (a + to - 1) & ~(to - 1); }
