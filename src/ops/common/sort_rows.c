// SPDX-License-Identifier: Apache-2.0
/* The steps of sort_rows.h: insertion sort for short rows, merge sort for those whose histograms would cost
 * more than the sort, radix sort by bytes for others (bytes in which all keys agree are skipped, so small
 * integers take one or two passes), and selection by quickselect. */
#include "sort_rows.h"

#include <string.h>

/* Up to 24 pairs insertion wins; up to 1500 a merge sort does, as 256 counters per byte would cost more
 * than the sort. */
enum { SHORT = 24, MEDIUM = 1500 };

/* Unsigned order of the signed type: the sign bit is flipped. The functions below do it for each type;
 * NaN has the largest key of its width. */
static inline uint64_t order_int(int64_t x) { return (uint64_t)x ^ (1ull << 63); }
/* Order-preserving bits of a float: negative values are complemented, positive ones get the sign bit. */
static inline uint64_t order_f32(float x) {
    if (x != x) return UINT32_MAX;
    const uint32_t bits = hc_f32_bits(x == 0 ? 0.0f : x);
    return bits >> 31 ? (uint32_t)~bits : bits | 0x80000000u;
}
static inline uint64_t order_f64(double x) {
    if (x != x) return UINT64_MAX;
    uint64_t bits;
    x = x == 0 ? 0.0 : x;
    memcpy(&bits, &x, sizeof bits);
    return bits >> 63 ? ~bits : bits | (1ull << 63);
}
/* 16-bit floats are ordered as floats whose low half is zero. */
static inline uint64_t order_bf16(hc_bf16 x) { return order_f32(hc_bf16_to_f32(x)); }
static inline uint64_t order_f16(hc_f16 x) { return order_f32(hc_f16_to_f32(x)); }
static inline uint64_t order_i8(int8_t x) { return (uint8_t)(x ^ 0x80); }
static inline uint64_t order_i16(int16_t x) { return (uint16_t)(x ^ 0x8000); }
static inline uint64_t order_i32(int32_t x) { return (uint32_t)x ^ 0x80000000u; }
static inline uint64_t order_unsigned(uint64_t x) { return x; }

/* X(dtype, storage, order, bytes of the key) */
#define FOR_ORDERED(X)                                                                                       \
    X(ACL_FLOAT, float, order_f32, 4)                                                                        \
    X(ACL_DOUBLE, double, order_f64, 8)                                                                      \
    X(ACL_BF16, hc_bf16, order_bf16, 4)                                                                      \
    X(ACL_FLOAT16, hc_f16, order_f16, 4)                                                                     \
    X(ACL_INT8, int8_t, order_i8, 1)                                                                         \
    X(ACL_INT16, int16_t, order_i16, 2)                                                                      \
    X(ACL_INT32, int32_t, order_i32, 4)                                                                      \
    X(ACL_INT64, int64_t, order_int, 8)                                                                      \
    X(ACL_UINT8, uint8_t, order_unsigned, 1)                                                                 \
    X(ACL_UINT16, uint16_t, order_unsigned, 2)                                                               \
    X(ACL_UINT32, uint32_t, order_unsigned, 4)                                                               \
    X(ACL_UINT64, uint64_t, order_unsigned, 8)                                                               \
    X(ACL_BOOL, uint8_t, order_unsigned, 1)

/* One loop for each type. A pair is always written and only counted when wanted: no branch to mispredict.
 */
#define DEFINE(dtype, type, order, bytes)                                                                    \
    static size_t make_##dtype(size_t begin, size_t end, struct hc_pair *pairs, const void *data,            \
                               int64_t stride, bool descending, uint64_t limit) {                            \
        const type *x = data;                                                                                \
        const uint64_t flip = !descending ? 0 : bytes == 8 ? UINT64_MAX : (1ull << (8 * (bytes & 7))) - 1;   \
        size_t count = 0;                                                                                    \
        for (size_t i = begin; i < end; i++) {                                                               \
            const uint64_t key = order(x[(int64_t)i * stride]) ^ flip;                                       \
            pairs[count] = (struct hc_pair){key, i};                                                         \
            count += key <= limit;                                                                           \
        }                                                                                                    \
        return count;                                                                                        \
    }
FOR_ORDERED(DEFINE)

hc_make_pairs_fn *hc_make_pairs_for(aclDataType dtype) {
    switch (dtype) {
#define X(dtype, type, order, bytes)                                                                         \
    case dtype: return make_##dtype;
        FOR_ORDERED(X)
#undef X
    default: return NULL;
    }
}

size_t hc_key_bytes(aclDataType dtype) {
    switch (dtype) {
#define X(dtype, type, order, bytes)                                                                         \
    case dtype: return bytes;
        FOR_ORDERED(X)
#undef X
    default: return 0;
    }
}

/* Stable: equal keys are not moved past each other. */
static void insertion_sort(size_t n, struct hc_pair *pairs) {
    for (size_t i = 1; i < n; i++) {
        const struct hc_pair p = pairs[i];
        size_t j = i;
        for (; j > 0 && pairs[j - 1].key > p.key; j--) pairs[j] = pairs[j - 1];
        pairs[j] = p;
    }
}

/* Stable: of equal keys the one of `a` comes first. Without a branch in the loop. */
static void merge(const struct hc_pair *a, size_t num_a, const struct hc_pair *b, size_t num_b,
                  struct hc_pair *to) {
    const struct hc_pair *const end_a = a + num_a, *const end_b = b + num_b;
    while (a < end_a && b < end_b) {
        const bool second = b->key < a->key;
        *to++ = second ? *b : *a;
        b += second;
        a += !second;
    }
    memcpy(to, a < end_a ? a : b, (size_t)(a < end_a ? end_a - a : end_b - b) * sizeof *to);
}

/* Bottom up from runs of 24; returns where the result is. */
static struct hc_pair *merge_sort(size_t n, struct hc_pair *pairs, struct hc_pair *spare) {
    for (size_t i = 0; i < n; i += SHORT) insertion_sort(hc_min_size(SHORT, n - i), pairs + i);
    for (size_t width = SHORT; width < n; width *= 2) {
        for (size_t i = 0; i < n; i += 2 * width) {
            const size_t num_a = hc_min_size(width, n - i), num_b = hc_min_size(width, n - i - num_a);
            merge(pairs + i, num_a, pairs + i + num_a, num_b, spare + i);
        }
        struct hc_pair *const merged = spare;
        spare = pairs;
        pairs = merged;
    }
    return pairs;
}

/* One byte: a stable distribution to where each value of the byte begins. */
static void radix_pass(size_t n, const struct hc_pair *from, struct hc_pair *to, size_t shift,
                       const size_t *counts) {
    size_t next[256], sum = 0;
    for (size_t b = 0; b < 256; b++) {
        next[b] = sum;
        sum += counts[b];
    }
    for (size_t i = 0; i < n; i++) to[next[from[i].key >> shift & 255]++] = from[i];
}

/* Histograms of all bytes come from one pass, as they do not depend on the order. */
struct hc_pair *hc_sort_pairs(size_t n, struct hc_pair *pairs, struct hc_pair *spare, size_t key_bytes) {
    size_t counts[8][256];
    if (n <= SHORT) {
        insertion_sort(n, pairs);
        return pairs;
    }
    if (n <= MEDIUM) return merge_sort(n, pairs, spare);
    memset(counts, 0, key_bytes * sizeof counts[0]);
    for (size_t i = 0; i < n; i++) {
        for (size_t b = 0; b < key_bytes; b++) counts[b][pairs[i].key >> (8 * b) & 255]++;
    }
    for (size_t b = 0; b < key_bytes; b++) {
        if (counts[b][pairs[0].key >> (8 * b) & 255] == n) continue;
        radix_pass(n, pairs, spare, 8 * b, counts[b]);
        struct hc_pair *const sorted = spare;
        spare = pairs;
        pairs = sorted;
    }
    return pairs;
}

/* A total order, as positions differ: quickselect needs one, and the result is then that of a stable
 * sort. */
static inline bool before(struct hc_pair a, struct hc_pair b) {
    return a.key < b.key || (a.key == b.key && a.at < b.at);
}

/* The middle of three, so that sorted and reversed rows are split in halves. */
static struct hc_pair median(struct hc_pair a, struct hc_pair b, struct hc_pair c) {
    if (before(b, a)) {
        const struct hc_pair t = a;
        a = b;
        b = t;
    }
    return before(c, a) ? a : before(c, b) ? c : b;
}

/* Quickselect with the median of three, O(n) on average. Rows sorted already, the usual bad case, give
 * the best pivots. */
void hc_select_pairs(size_t n, struct hc_pair *pairs, size_t k) {
    size_t low = 0, high = n;
    while (k > low && k < high && high - low > 1) {
        const struct hc_pair pivot = median(pairs[low], pairs[low + (high - low) / 2], pairs[high - 1]);
        size_t i = low, j = high - 1;
        for (;;) { /* Hoare: all pairs differ by position, so neither scan runs off */
            while (before(pairs[i], pivot)) i++;
            while (before(pivot, pairs[j])) j--;
            if (i >= j) break;
            const struct hc_pair t = pairs[i];
            pairs[i++] = pairs[j];
            pairs[j--] = t;
        }
        /* Met at one pair: that is the pivot, in its final place. Passed each other: a swap moved both
         * inwards. */
        const size_t low_end = i, high_begin = i == j ? i + 1 : i;
        if (k <= low_end) high = low_end;
        else low = high_begin;
    }
}

/* By size: the bits of a value, so that NaN payloads and signs of zero survive. */
void hc_fetch_pairs(size_t n, const struct hc_pair *pairs, size_t item_size, const char *from,
                    int64_t from_stride, char *to, int64_t to_stride) {
#define FETCH(type)                                                                                          \
    case sizeof(type):                                                                                       \
        for (size_t i = 0; i < n; i++) {                                                                     \
            ((type *)to)[(int64_t)i * to_stride] = ((const type *)from)[(int64_t)pairs[i].at * from_stride]; \
        }                                                                                                    \
        break
    switch (item_size) {
        FETCH(uint8_t);
        FETCH(uint16_t);
        FETCH(uint32_t);
        FETCH(uint64_t);
    default: break;
    }
}
