// SPDX-License-Identifier: Apache-2.0
/* Sorting rows as pairs (key, position). A key is an unsigned integer in the order of the values: NaN is the
 * largest, zeros of both signs are equal. Descending order complements the key, so equal values keep their
 * order either way. Values themselves are fetched by position afterwards, so their bits survive. */
#pragma once
#include "convert.h"

struct hc_pair {
    uint64_t key;
    uint64_t at;
};

/* Pairs of elements [begin, end) of the row at `data` (stride in elements) whose key is at most `limit`;
 * returns how many. */
typedef size_t hc_make_pairs_fn(size_t begin, size_t end, struct hc_pair *pairs, const void *data,
                                int64_t stride, bool descending, uint64_t limit);
/* NULL if values of the dtype have no order (complex). */
hc_make_pairs_fn *hc_make_pairs_for(aclDataType dtype);
/* Significant bytes of a key. */
size_t hc_key_bytes(aclDataType dtype);

/* Stable ascending sort by key. `spare` has room for n pairs; returns where the result is, pairs or spare. */
struct hc_pair *hc_sort_pairs(size_t n, struct hc_pair *pairs, struct hc_pair *spare, size_t key_bytes);
/* Move the k smallest, by key and then position, to the front, in no order. */
void hc_select_pairs(size_t n, struct hc_pair *pairs, size_t k);
/* to[j * to_stride] = from[pairs[j].at * from_stride] for elements of item_size bytes, and the position. */
void hc_fetch_pairs(size_t n, const struct hc_pair *pairs, size_t item_size, const char *from,
                    int64_t from_stride, char *to, int64_t to_stride);
