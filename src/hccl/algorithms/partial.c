// SPDX-License-Identifier: Apache-2.0
/* One pass over memory for each function; data is read once and written once. */
#include "hc_partial.h"

#include "hc_kernel.h"

#define WIDEN_PARAMS (float *to, const void *from, size_t begin, size_t end)
#define NARROW_PARAMS (void *to, const float *from, size_t begin, size_t end)

/* X(HcclDataType without prefix, 16-bit type, load, store) */
#define FOR_HALVES(X)                                                                                        \
    X(FP16, hc_f16, vf_load_f16, vf_store_f16)                                                               \
    X(BFP16, hc_bf16, vf_load_bf16, vf_store_bf16)

#define DECLARE(type, ...)                                                                                   \
    HC_KERNEL(hccl_widen_##type, WIDEN_PARAMS)                                                               \
    HC_KERNEL(hccl_narrow_##type, NARROW_PARAMS)                                                             \
    HC_KERNEL(hccl_add_##type, WIDEN_PARAMS)                                                                 \
    HC_KERNEL(hccl_multiply_##type, WIDEN_PARAMS)
FOR_HALVES(DECLARE)

#ifdef HC_ISA
#include <string.h>

#include "simd.h"

/* Vectors are loaded whole, so a tail goes through a copy. */
#define DEFINE_WIDE(name, half, load, combine)                                                               \
    void HC_FN(name) WIDEN_PARAMS {                                                                          \
        const half *x = from;                                                                                \
        size_t at = begin;                                                                                   \
        for (; at + HC_VL <= end; at += HC_VL) vf_store(to + at, combine(vf_load(to + at), load(x + at)));   \
        half part[HC_VL] = {{0}};                                                                            \
        float values[HC_VL] = {0};                                                                           \
        memcpy(part, x + at, (end - at) * sizeof *x);                                                        \
        memcpy(values, to + at, (end - at) * sizeof *to);                                                    \
        vf_store(values, combine(vf_load(values), load(part)));                                              \
        memcpy(to + at, values, (end - at) * sizeof *to);                                                    \
    }
#define TAKE(a, b) (b)
#define ADD(a, b) ((a) + (b))
#define MULTIPLY(a, b) ((a) * (b))
#define DEFINE(type, half, load, store)                                                                      \
    DEFINE_WIDE(hccl_widen_##type, half, load, TAKE)                                                         \
    DEFINE_WIDE(hccl_add_##type, half, load, ADD)                                                            \
    DEFINE_WIDE(hccl_multiply_##type, half, load, MULTIPLY)                                                  \
    void HC_FN(hccl_narrow_##type) NARROW_PARAMS {                                                           \
        half *y = to;                                                                                        \
        size_t at = begin;                                                                                   \
        for (; at + HC_VL <= end; at += HC_VL) store(y + at, vf_load(from + at));                            \
        half part[HC_VL];                                                                                    \
        float values[HC_VL] = {0};                                                                           \
        memcpy(values, from + at, (end - at) * sizeof *from);                                                \
        store(part, vf_load(values));                                                                        \
        memcpy(y + at, part, (end - at) * sizeof *y);                                                        \
    }
FOR_HALVES(DEFINE)

#else
#include "hc_parallel.h"
#include "hc_rank_copy.h"
#include "hc_reduce.h"

enum { GRAIN = 1 << 16 };

typedef void widen_fn WIDEN_PARAMS;
typedef void narrow_fn NARROW_PARAMS;

struct job {
    widen_fn *widen;
    narrow_fn *narrow;
    void *to;
    const void *from;
};

static void run_part(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    if (j->widen != NULL) j->widen(j->to, j->from, begin, end);
    else j->narrow(j->to, j->from, begin, end);
}

static void run(struct job job, size_t count) {
    if (count <= GRAIN) run_part(&job, 0, count);
    else hc_parallel_for(count, GRAIN, run_part, &job);
}

static bool is_half(HcclDataType type) { return type == HCCL_DATA_TYPE_FP16 || type == HCCL_DATA_TYPE_BFP16; }

struct hc_partial hc_partial_of(const struct hc_op *op) {
    const bool rounds = op->reduce == HCCL_REDUCE_SUM || op->reduce == HCCL_REDUCE_PROD;
    if (!is_half(op->type) || !rounds) return (struct hc_partial){op->type, op->element, false};
    return (struct hc_partial){HCCL_DATA_TYPE_FP32, sizeof(float), true};
}

void hc_partial_load(const struct hc_op *op, char *partial, const char *data, size_t count) {
    if (!hc_partial_of(op).wide) {
        hc_copy(partial, data, count * op->element);
        return;
    }
    widen_fn *widen =
        op->type == HCCL_DATA_TYPE_FP16 ? HC_DISPATCH(hccl_widen_FP16) : HC_DISPATCH(hccl_widen_BFP16);
    run((struct job){.widen = widen, .to = partial, .from = data}, count);
}

void hc_partial_store(const struct hc_op *op, char *data, const char *partial, size_t count) {
    if (!hc_partial_of(op).wide) {
        hc_copy(data, partial, count * op->element);
        return;
    }
    narrow_fn *narrow =
        op->type == HCCL_DATA_TYPE_FP16 ? HC_DISPATCH(hccl_narrow_FP16) : HC_DISPATCH(hccl_narrow_BFP16);
    run((struct job){.narrow = narrow, .to = data, .from = partial}, count);
}

void hc_partial_add(const struct hc_op *op, char *partial, const char *data, size_t count) {
    if (!hc_partial_of(op).wide) {
        const char *const sources[] = {partial, data};
        hc_reduce(op->type, op->reduce, &partial, 1, sources, 2, count);
        return;
    }
    widen_fn *add;
    if (op->reduce == HCCL_REDUCE_SUM)
        add = op->type == HCCL_DATA_TYPE_FP16 ? HC_DISPATCH(hccl_add_FP16) : HC_DISPATCH(hccl_add_BFP16);
    else
        add = op->type == HCCL_DATA_TYPE_FP16 ? HC_DISPATCH(hccl_multiply_FP16)
                                              : HC_DISPATCH(hccl_multiply_BFP16);
    run((struct job){.widen = add, .to = partial, .from = data}, count);
}

void hc_partial_finish(const struct hc_op *op, char *to, char *partial, const char *data, size_t count) {
    const char *const sources[] = {partial, data};
    if (!hc_partial_of(op).wide) {
        hc_reduce(op->type, op->reduce, &to, 1, sources, 2, count);
        return;
    }
    hc_partial_add(op, partial, data, count);
    hc_partial_store(op, to, partial, count);
}

void hc_partial_merge(const struct hc_op *op, char *into, const char *low, const char *high, size_t count) {
    const char *const sources[] = {low, high};
    hc_reduce(hc_partial_of(op).type, op->reduce, &into, 1, sources, 2, count);
}
#endif
