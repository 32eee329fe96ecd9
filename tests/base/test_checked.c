// SPDX-License-Identifier: Apache-2.0
/* Checked arithmetic against arithmetic in 128 bits, at all pairs of numbers where something changes. */
#include "hc_checked.h"

#include "harness.h"

typedef __int128 wide;

static const int64_t SIGNED[] = {INT64_MIN,
                                 INT64_MIN + 1,
                                 -(INT64_MAX / 2) - 2,
                                 INT64_MIN / 2,
                                 INT32_MIN - 1ll,
                                 INT32_MIN,
                                 -3,
                                 -2,
                                 -1,
                                 0,
                                 1,
                                 2,
                                 3,
                                 7,
                                 INT32_MAX,
                                 1ll << 31,
                                 (1ll << 31) + 1,
                                 UINT32_MAX,
                                 1ll << 32,
                                 1ll << 61,
                                 1ll << 62,
                                 INT64_MAX / 2,
                                 INT64_MAX / 2 + 1,
                                 INT64_MAX - 1,
                                 INT64_MAX};

/* The same bits, read as sizes: they cover both ends and the middle. */
static size_t size_of(int64_t bits) { return (size_t)bits; }

#define EACH_PAIR(a, b)                                                                                      \
    for (size_t i_ = 0; i_ < HC_ARRAY_SIZE(SIGNED); i_++)                                                    \
        for (size_t k_ = 0; k_ < HC_ARRAY_SIZE(SIGNED); k_++)                                                \
            for (int64_t a = SIGNED[i_], b = SIGNED[k_], once_ = 1; once_; once_ = 0)

/* A result is stored exactly where it fits. */
#define SAME(fits, stored, untouched, exact, least, most)                                                    \
    do {                                                                                                     \
        const bool should_ = (exact) >= (wide)(least) && (exact) <= (wide)(most);                            \
        CHECK_MSG((fits) == should_, "%lld, %lld", (long long)a, (long long)b);                              \
        CHECK_MSG((wide)(stored) == (should_ ? (exact) : (wide)(untouched)), "%lld, %lld", (long long)a,     \
                  (long long)b);                                                                             \
    } while (0)

TEST(signed_numbers) {
    EACH_PAIR(a, b) {
        int64_t r = 42;
        bool fits = hc_add_i64_fits(a, b, &r);
        SAME(fits, r, 42, (wide)a + b, INT64_MIN, INT64_MAX);
        const wide sum = (wide)a + b;
        const int64_t saturated = sum > INT64_MAX ? INT64_MAX : sum < INT64_MIN ? INT64_MIN : (int64_t)sum;
        CHECK_EQ(hc_add_i64_saturated(a, b), saturated);
        r = 42;
        fits = hc_sub_i64_fits(a, b, &r);
        SAME(fits, r, 42, (wide)a - b, INT64_MIN, INT64_MAX);
        r = 42;
        fits = hc_mul_i64_fits(a, b, &r);
        SAME(fits, r, 42, (wide)a * b, INT64_MIN, INT64_MAX);
    }
}

TEST(sizes) {
    EACH_PAIR(a, b) {
        const size_t x = size_of(a), y = size_of(b);
        const unsigned __int128 product = (unsigned __int128)x * y;
        size_t r = 42;
        bool fits = hc_add_fits(x, y, &r);
        SAME(fits, r, 42, (wide)x + y, 0, SIZE_MAX);
        CHECK(hc_add_saturated(x, y) == (fits ? r : SIZE_MAX));
        r = 42;
        fits = hc_mul_fits(x, y, &r);
        CHECK(fits == (product <= SIZE_MAX) && r == (fits ? (size_t)product : 42));
        CHECK(hc_mul_saturated(x, y) == (fits ? r : SIZE_MAX));
        r = 42;
        fits = hc_bytes_fit(x, y, &r);
        CHECK(fits == (product <= HC_MAX_BYTES) && r == (fits ? (size_t)product : 42));
        r = 42;
        fits = hc_bytes_behind_fit(x, y, 3, &r);
        const unsigned __int128 behind = (unsigned __int128)y * 3 + x;
        CHECK(fits == (behind <= HC_MAX_BYTES) && r == (fits ? (size_t)behind : 42));
        if (y > 0) CHECK(hc_ceil_div(x, y) == (size_t)(((unsigned __int128)x + y - 1) / y));
    }
}

TEST(aligning) {
    for (size_t i = 0; i < HC_ARRAY_SIZE(SIGNED); i++) {
        const size_t a = size_of(SIGNED[i]);
        const unsigned __int128 exact = ((unsigned __int128)a + 4095) / 4096 * 4096;
        size_t r = 42;
        CHECK(hc_align_up_fits(a, 4096, &r) == (exact <= SIZE_MAX));
        CHECK(r == (exact <= SIZE_MAX ? (size_t)exact : 42));
    }
}

TEST(ranges) {
    EACH_PAIR(first, length) {
        for (size_t i = 0; i < HC_ARRAY_SIZE(SIGNED); i++) {
            const int64_t bound = SIGNED[i];
            const size_t f = size_of(first), l = size_of(length), n = size_of(bound);
            CHECK(hc_span_inside(f, l, n) == ((unsigned __int128)f + l <= n));
            if (length < 0 || bound < 0) continue;
            CHECK(hc_range_inside(first, length, bound) == (first >= 0 && (wide)first + length <= bound));
        }
    }
}

static bool overlap(size_t a, size_t n, size_t b, size_t m) {
    return n > 0 && m > 0 && (wide)a < (wide)b + m && (wide)b < (wide)a + n;
}

TEST(memory) {
    EACH_PAIR(first, length) {
        const size_t f = size_of(first), l = size_of(length);
        const void *p = (const void *)(uintptr_t)f;
        CHECK(hc_memory_possible(p, l) == (l <= HC_MAX_BYTES && (wide)f + l <= (wide)UINTPTR_MAX));
        EACH_PAIR(other, room) {
            const size_t o = size_of(other), n = size_of(room);
            const void *q = (const void *)(uintptr_t)o;
            CHECK(hc_memory_inside(p, l, q, n) == (f >= o && (wide)f + l <= (wide)o + n));
            CHECK(hc_memory_overlaps(p, l, q, n) == overlap(f, l, o, n));
        }
    }
}
