// SPDX-License-Identifier: Apache-2.0
/* The loop of gather.h: runs with one index are moved whole (rows of an embedding), others element by
 * element. By the size of an element, whatever it means: five kernels serve all types. */
#include "gather.h"

#include "strided.h"

#define FOR_SIZES(X) X(1, uint8_t) X(2, uint16_t) X(4, uint32_t) X(8, uint64_t) X(16, struct wide)
#define PARAMS                                                                                               \
    (size_t n, char *const *data, const int64_t *stride, int64_t step, const struct hc_index_range *range,   \
     struct hc_index_bad *bad)
#define DECLARE(size, type) HC_KERNEL(hc_gather_##size, PARAMS)
FOR_SIZES(DECLARE)

#ifdef HC_ISA
struct wide {
    uint64_t low, high;
};

#define DEFINE(size, type)                                                                                   \
    void HC_FN(hc_gather_##size) PARAMS {                                                                    \
        const char *x = data[1];                                                                             \
        const int64_t across = stride[1];                                                                    \
        const uint64_t bound = hc_index_bound(range);                                                        \
        if (stride[0] == size && stride[2] == 8 && step == size && across == 0) {                            \
            type *y = (type *)data[0]; /* along the last dimension: a plain table look-up */                 \
            const type *table = (const type *)x;                                                             \
            for (size_t i = 0; i < n; i++) {                                                                 \
                int64_t at;                                                                                  \
                if (!hc_index_take(data[2] + i * 8, bound, range, &at, bad)) return;                         \
                y[i] = table[at];                                                                            \
            }                                                                                                \
            return;                                                                                          \
        }                                                                                                    \
        for (size_t i = 0; i < n; i++) {                                                                     \
            int64_t at;                                                                                      \
            if (!hc_index_take(data[2] + (int64_t)i * stride[2], bound, range, &at, bad)) return;            \
            *(type *)(data[0] + (int64_t)i * stride[0]) =                                                    \
                *(const type *)(x + at * step + (int64_t)i * across);                                        \
        }                                                                                                    \
    }
FOR_SIZES(DEFINE)
#else
/* Views are dst, src, index, in this order. */
typedef void gather_fn PARAMS;
struct job {
    gather_fn *gather;
    hc_move_fn *move;
    int64_t step;
    struct hc_index *checked;
};

/* An index of stride 0 along the run is one for all of it. */
static void run(const void *ctx, size_t n, char *const *data, const int64_t *stride) {
    const struct job *j = ctx;
    const struct hc_index_range *range = j->checked != NULL ? &j->checked->range : NULL;
    struct hc_index_bad bad = {0};
    int64_t at;
    if (stride[2] != 0) j->gather(n, data, stride, j->step, range, &bad);
    else if (hc_index_take(data[2], hc_index_bound(range), range, &at, &bad))
        j->move(n, data[0], stride[0], data[1] + at * j->step, stride[1]);
    if (HC_UNLIKELY(bad.at != NULL)) hc_index_report(j->checked, &bad);
}

/* By the size of an element: values are moved, never looked at. Random reads are what it costs, 64 bytes
 * of a line for each element that has no neighbour wanted. */
aclnnStatus hc_gather(const aclTensor *dst, const aclTensor *src, const aclTensor *index, int64_t step,
                      struct hc_index *checked) {
    static gather_fn *const *const TABLES[] = {hc_gather_1_table, hc_gather_2_table, hc_gather_4_table,
                                               hc_gather_8_table, hc_gather_16_table};
    if (dst->numel == 0) return 0;
    const size_t size = (size_t)dst->item_size;
    const struct job job = {TABLES[hc_size_index(size)][hc_isa()], hc_move_for(size), step, checked};
    struct hc_strided s;
    hc_strided_init(&s, (const aclTensor *[]){dst, src, index}, 3);
    hc_strided_for(&s, 2 * size, run, &job);
    return checked != NULL ? hc_index_status(checked) : 0;
}
#endif
