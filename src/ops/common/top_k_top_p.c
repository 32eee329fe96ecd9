// SPDX-License-Identifier: Apache-2.0
/* The largest of a row: a selection leaves no order, so what is left is sorted by value and position. */
#include "top_k_top_p.h"

#ifdef HC_ISA
#include "simd_softmax.h"

/* In place: the sum is in double, every value a float. */
void HC_FN(top_row_softmax)(size_t n, float *value) { vf_row_softmax(value, value, n); }

#else

/* Slots C and D, as the callers have buffers of their own in A. */
bool hc_top_row_take(size_t n, struct hc_top_row *row) {
    row->pairs = hc_scratch(HC_SCRATCH_C, 2 * n * sizeof *row->pairs);
    row->value = hc_scratch(HC_SCRATCH_D, n * sizeof *row->value);
    row->spare = row->pairs + n;
    return row->pairs != NULL && row->value != NULL;
}

/* Behind the first k, those with the same key as the worst of them are moved up. */
static size_t add_equal(struct hc_pair *pairs, size_t n, size_t k) {
    uint64_t worst = 0;
    for (size_t i = 0; i < k; i++) worst = pairs[i].key > worst ? pairs[i].key : worst;
    size_t count = k;
    for (size_t i = k; i < n; i++) {
        if (pairs[i].key != worst) continue;
        const struct hc_pair t = pairs[i];
        pairs[i] = pairs[count];
        pairs[count++] = t;
    }
    return count;
}

struct hc_pair *hc_top_row_select(struct hc_top_row *row, const float *x, size_t n, size_t k, bool more,
                                  bool ascending, size_t *count) {
    struct hc_pair *pairs = row->pairs;
    hc_make_pairs_for(ACL_FLOAT)(0, n, pairs, x, 1, !(ascending && k == n), UINT64_MAX);
    *count = k;
    if (k == n) return hc_sort_pairs(n, pairs, row->spare, hc_key_bytes(ACL_FLOAT));
    hc_select_pairs(n, pairs, k);
    if (more) *count = add_equal(pairs, n, k);
    /* One key of value and position: 32 bits of a float, and as many of a position in a row. */
    for (size_t i = 0; i < *count; i++) {
        const uint64_t key = ascending ? UINT32_MAX - pairs[i].key : pairs[i].key;
        pairs[i].key = key << 32 | pairs[i].at;
    }
    return hc_sort_pairs(*count, pairs, row->spare, sizeof pairs->key);
}
#endif
