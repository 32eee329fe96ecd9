// SPDX-License-Identifier: Apache-2.0
/* One pass over all sources and destinations: each element is loaded once from every rank, combined in a
 * register, and stored once to every rank, which is the least traffic there can be. */
#include "hc_reduce.h"

#include "hc_kernel.h"

/* Pointers to the first element of the stretch; `n` elements. */
#define REDUCE_PARAMS                                                                                        \
    (char *const *dst, size_t num_dst, const char *const *src, size_t num_src, size_t begin, size_t end)

/* X(HcclDataType without prefix, storage, arithmetic) */
#define FOR_TYPES(X)                                                                                         \
    X(FP32, float, float)                                                                                    \
    X(FP64, double, double)                                                                                  \
    X(INT8, int8_t, uint8_t)                                                                                 \
    X(INT16, int16_t, uint16_t)                                                                              \
    X(INT32, int32_t, uint32_t)                                                                              \
    X(INT64, int64_t, uint64_t)                                                                              \
    X(UINT8, uint8_t, uint8_t)                                                                               \
    X(UINT16, uint16_t, uint16_t)                                                                            \
    X(UINT32, uint32_t, uint32_t)                                                                            \
    X(UINT64, uint64_t, uint64_t)
#define FOR_OPS(X, ...) X(SUM, __VA_ARGS__) X(PROD, __VA_ARGS__) X(MAX, __VA_ARGS__) X(MIN, __VA_ARGS__)

#define DECLARE(op, type) HC_KERNEL(hccl_reduce_##type##_##op, REDUCE_PARAMS)
#define DECLARE_TYPE(type, storage, arithmetic) FOR_OPS(DECLARE, type)
FOR_TYPES(DECLARE_TYPE)
FOR_OPS(DECLARE, FP16)
FOR_OPS(DECLARE, BFP16)

#ifdef HC_ISA
#include <string.h>

#include "simd.h"

/* Combine one block at a time: the accumulators of a block stay in registers and in the first-level cache
 * while all sources pass. */
enum { BLOCK = 256 };

/* a is the accumulator. Unsigned arithmetic, so that integers wrap as the interface's devices do; comparisons
 * in the type itself. A NaN compares false: it is kept if it is in a, and taken if it is in b. */
#define OP_SUM(storage, arithmetic, a, b) ((storage)((arithmetic)(a) + (arithmetic)(b)))
#define OP_PROD(storage, arithmetic, a, b) ((storage)((arithmetic)(a) * (arithmetic)(b)))
#define OP_MAX(storage, arithmetic, a, b) ((a) >= (b) || (a) != (a) ? (a) : (b))
#define OP_MIN(storage, arithmetic, a, b) ((a) <= (b) || (a) != (a) ? (a) : (b))

#define DEFINE(op, type, storage, arithmetic)                                                                \
    void HC_FN(hccl_reduce_##type##_##op) REDUCE_PARAMS {                                                    \
        for (size_t at = begin; at < end; at += BLOCK) {                                                     \
            const size_t n = hc_min_size(BLOCK, end - at);                                                   \
            storage acc[BLOCK];                                                                              \
            memcpy(acc, (const storage *)(const void *)src[0] + at, n * sizeof *acc);                        \
            for (size_t s = 1; s < num_src; s++) {                                                           \
                const storage *x = (const storage *)(const void *)src[s] + at;                               \
                for (size_t i = 0; i < n; i++) acc[i] = OP_##op(storage, arithmetic, acc[i], x[i]);          \
            }                                                                                                \
            for (size_t d = 0; d < num_dst; d++)                                                             \
                memcpy((storage *)(void *)dst[d] + at, acc, n * sizeof *acc);                                \
        }                                                                                                    \
    }
#define DEFINE_TYPE(type, storage, arithmetic) FOR_OPS(DEFINE, type, storage, arithmetic)
FOR_TYPES(DEFINE_TYPE)

/* The first n elements of a block in 16 bits, as floats, and back: whole vectors in the main, so a tail goes
 * through a copy. */
#define DEFINE_HALF(op, type, half, load, store)                                                             \
    void HC_FN(hccl_reduce_##type##_##op) REDUCE_PARAMS {                                                    \
        for (size_t at = begin; at < end; at += HC_VL) {                                                     \
            const size_t n = hc_min_size(HC_VL, end - at);                                                   \
            half tail[HC_VL] = {{0}};                                                                        \
            vf acc = vf_zero();                                                                              \
            for (size_t s = 0; s < num_src; s++) {                                                           \
                const half *x = (const half *)(const void *)src[s] + at;                                     \
                if (n < HC_VL) {                                                                             \
                    memcpy(tail, x, n * sizeof *x);                                                          \
                    x = tail;                                                                                \
                }                                                                                            \
                const vf value = load(x);                                                                    \
                acc = s == 0 ? value : VF_##op(acc, value);                                                  \
            }                                                                                                \
            store(tail, acc);                                                                                \
            for (size_t d = 0; d < num_dst; d++)                                                             \
                memcpy((half *)(void *)dst[d] + at, tail, n * sizeof *tail);                                 \
        }                                                                                                    \
    }
#define VF_SUM(a, b) ((a) + (b))
#define VF_PROD(a, b) ((a) * (b))
#define VF_MAX(a, b) vf_select((a >= b) | (a != a), a, b)
#define VF_MIN(a, b) vf_select((a <= b) | (a != a), a, b)
FOR_OPS(DEFINE_HALF, FP16, hc_f16, vf_load_f16, vf_store_f16)
FOR_OPS(DEFINE_HALF, BFP16, hc_bf16, vf_load_bf16, vf_store_bf16)

#else
#include "hc_names.h"
#include "hc_parallel.h"

enum { GRAIN_BYTES = 1 << 18 };

typedef void reduce_fn REDUCE_PARAMS;

/* The kernel for this CPU, NULL for a type that is only moved. */
static reduce_fn *find(HcclDataType type, HcclReduceOp op) {
#define CASE(o, t)                                                                                           \
    case HCCL_REDUCE_##o: return HC_DISPATCH(hccl_reduce_##t##_##o);
#define CASE_TYPE(t, ...)                                                                                    \
    case HCCL_DATA_TYPE_##t:                                                                                 \
        switch (op) {                                                                                        \
            FOR_OPS(CASE, t)                                                                                 \
        default: return NULL;                                                                                \
        }
    switch (type) {
        FOR_TYPES(CASE_TYPE)
        CASE_TYPE(FP16)
        CASE_TYPE(BFP16)
    default: return NULL;
    }
}

bool hc_can_reduce(HcclDataType type, HcclReduceOp op) { return find(type, op) != NULL; }

struct job {
    reduce_fn *kernel;
    char *const *dst;
    const char *const *src;
    size_t num_dst, num_src;
};

static void run_part(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    j->kernel(j->dst, j->num_dst, j->src, j->num_src, begin, end);
}

void hc_reduce(HcclDataType type, HcclReduceOp op, char *const *dst, size_t num_dst, const char *const *src,
               size_t num_src, size_t count) {
    struct job job = {find(type, op), dst, src, num_dst, num_src};
    const size_t grain = GRAIN_BYTES / hc_hccl_type_size(type);
    if (count <= grain) run_part(&job, 0, count);
    else hc_parallel_for(count, grain, run_part, &job);
}
#endif
