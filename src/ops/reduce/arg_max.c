// SPDX-License-Identifier: Apache-2.0
/* Largest or smallest value along a dimension and where it is: MaxDim, MinDim, ArgMax, ArgMin. The first of
 * equal values counts, NaN is larger and smaller than all.
 *
 * A block's extreme value is found first, without positions, which vectorises; only a block that beats the
 * state is searched for it. */
#include "reduce.h"

/* The `_at` variant gives the position only: ArgMax has no output for the value. */
#define DECLARE(name)                                                                                        \
    HC_REDUCE_DECLARE_ROW(name)                                                                              \
    HC_KERNEL(name##_at_finish,                                                                              \
              (size_t n, void *const *out, const void *state, size_t count, const void *args))
DECLARE(max_F32)
DECLARE(max_F64)
DECLARE(max_I64)
DECLARE(min_F32)
DECLARE(min_F64)
DECLARE(min_I64)

struct state_F32 {
    float value;
    int64_t at;
}; /* at < 0: nothing yet */
struct state_F64 {
    double value;
    int64_t at;
};
struct state_I64 {
    int64_t value;
    int64_t at;
};

#ifdef HC_ISA
/* Elements searched at a time: 4 KiB of float, read again from the first-level cache if the block has a
 * new extreme. */
enum { BLOCK = 1024 };
#define IS_NAN(x) ((x) != (x))
#define NEVER_NAN(x) (false & ((x) != 0))
#define GREATER(a, b) ((a) > (b))
#define LESS(a, b) ((a) < (b))

/* beats(a, b) of numbers; a NaN beats every number. */
#define DEFINE(name, type, block, lanes, beats, is_nan)                                                      \
    static inline bool name##_better(type a, type b) { return beats(a, b) || (is_nan(a) && !is_nan(b)); }    \
    static inline type name##_extreme(const type *x, size_t n) {                                             \
        type lane[lanes];                                                                                    \
        for (size_t j = 0; j < lanes; j++) lane[j] = x[j < n ? j : 0];                                       \
        size_t i = 0;                                                                                        \
        for (; i + lanes <= n; i += lanes) {                                                                 \
            for (size_t j = 0; j < lanes; j++) {                                                             \
                lane[j] = beats(x[i + j], lane[j]) | is_nan(x[i + j]) ? x[i + j] : lane[j];                  \
            }                                                                                                \
        }                                                                                                    \
        for (; i < n; i++) lane[0] = name##_better(x[i], lane[0]) ? x[i] : lane[0];                          \
        for (size_t j = 1; j < lanes; j++) lane[0] = name##_better(lane[j], lane[0]) ? lane[j] : lane[0];    \
        return lane[0];                                                                                      \
    }                                                                                                        \
    static inline size_t name##_find(const type *x, size_t n, type value) {                                  \
        size_t i = 0;                                                                                        \
        for (; i + lanes <= n; i += lanes) {                                                                 \
            int found = 0;                                                                                   \
            for (size_t j = 0; j < lanes; j++) found |= (x[i + j] == value) | is_nan(x[i + j]);              \
            if (found) break;                                                                                \
        }                                                                                                    \
        while (i + 1 < n && !(is_nan(value) ? is_nan(x[i]) : x[i] == value)) i++;                            \
        return i;                                                                                            \
    }                                                                                                        \
    void HC_FN(name##_row)(size_t n, void *state, const void *x, size_t index, const void *args) {           \
        struct state_##block *s = state;                                                                     \
        const type *v = x;                                                                                   \
        (void)args;                                                                                          \
        for (size_t i = 0; i < n; i += BLOCK) {                                                              \
            const size_t m = hc_min_size(BLOCK, n - i);                                                      \
            const type best = name##_extreme(v + i, m);                                                      \
            if (s->at >= 0 && !name##_better(best, s->value)) continue;                                      \
            *s = (struct state_##block){best, (int64_t)(index + i + name##_find(v + i, m, best))};           \
        }                                                                                                    \
    }                                                                                                        \
    void HC_FN(name##_join)(size_t n, void *state, const void *other) {                                      \
        struct state_##block *s = state;                                                                     \
        const struct state_##block *o = other;                                                               \
        for (size_t i = 0; i < n; i++) {                                                                     \
            if (o[i].at >= 0 && (s[i].at < 0 || name##_better(o[i].value, s[i].value))) s[i] = o[i];         \
        }                                                                                                    \
    }                                                                                                        \
    void HC_FN(name##_finish)(size_t n, void *const *out, const void *state, size_t count,                   \
                              const void *args) {                                                            \
        const struct state_##block *s = state;                                                               \
        (void)count;                                                                                         \
        (void)args;                                                                                          \
        for (size_t i = 0; i < n; i++) {                                                                     \
            ((type *)out[0])[i] = s[i].value;                                                                \
            ((int64_t *)out[1])[i] = s[i].at;                                                                \
        }                                                                                                    \
    }                                                                                                        \
    void HC_FN(name##_at_finish)(size_t n, void *const *out, const void *state, size_t count,                \
                                 const void *args) {                                                         \
        const struct state_##block *s = state;                                                               \
        (void)count;                                                                                         \
        (void)args;                                                                                          \
        for (size_t i = 0; i < n; i++) ((int64_t *)out[0])[i] = s[i].at;                                     \
    }
DEFINE(max_F32, float, F32, 64, GREATER, IS_NAN)
DEFINE(max_F64, double, F64, 32, GREATER, IS_NAN)
DEFINE(max_I64, int64_t, I64, 32, GREATER, NEVER_NAN)
DEFINE(min_F32, float, F32, 64, LESS, IS_NAN)
DEFINE(min_F64, double, F64, 32, LESS, IS_NAN)
DEFINE(min_I64, int64_t, I64, 32, LESS, NEVER_NAN)

#else
/* Rows only: states of two members do not make columns that vectorise, so columns are gathered. */
#define KERNELS(name, block, finish_table, result)                                                           \
    {                                                                                                        \
        .row = name##_##block##_row_table, .join = name##_##block##_join_table, .finish = finish_table,      \
        .identity = &(const struct state_##block){0, -1}, .state_size = sizeof(struct state_##block),        \
        .out = {result, HC_I64}                                                                              \
    }
#define BOTH(name, NAME, block)                                                                              \
    static const struct hc_reduce_kernels NAME##_##block =                                                   \
        KERNELS(name, block, name##_##block##_finish_table, HC_##block);                                     \
    static const struct hc_reduce_kernels NAME##_AT_##block =                                                \
        KERNELS(name, block, name##_##block##_at_finish_table, HC_I64);
BOTH(max, MAX, F32)
BOTH(max, MAX, F64)
BOTH(max, MAX, I64)
BOTH(min, MIN, F32)
BOTH(min, MIN, F64)
BOTH(min, MIN, I64)
#define TABLE(name) {[HC_F32] = &name##_F32, [HC_F64] = &name##_F64, [HC_I64] = &name##_I64}
/* Names differ, kernels do not: with two outputs both are written, with one the position alone. */
static const struct hc_reduce MAX_DIM = {"aclnnMaxDim", true, TABLE(MAX)},
                              MIN_DIM = {"aclnnMinDim", true, TABLE(MIN)};
static const struct hc_reduce ARG_MAX = {"aclnnArgMax", true, TABLE(MAX_AT)},
                              ARG_MIN = {"aclnnArgMin", true, TABLE(MIN_AT)};

/* dim is one: the extreme of several dimensions would have no single index. */
static aclnnStatus plan(const struct hc_reduce *op, const aclTensor *self, int64_t dim, bool keep,
                        const aclTensor *out, const aclTensor *indices, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    HC_CHECK(self != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: self is null", op->name);
    return hc_reduce_plan(op, hc_compute_block(self->dtype), self, (struct hc_dims){&dim, 1, keep}, out,
                          indices, NULL, 0, workspaceSize, executor);
}

/* Value and index, or the index alone. */
#define WITH_VALUES(api, op)                                                                                 \
    HC_API aclnnStatus api##GetWorkspaceSize(const aclTensor *self, int64_t dim, bool keepdim,               \
                                             aclTensor *out, aclTensor *indices, uint64_t *workspaceSize,    \
                                             aclOpExecutor **executor) {                                     \
        HC_CHECK(indices != NULL, ACLNN_ERR_PARAM_NULLPTR, #api ": indices is null");                        \
        return plan(&(op), self, dim, keepdim, out, indices, workspaceSize, executor);                       \
    }                                                                                                        \
    HC_OP_LAUNCH(api)
#define ONLY_INDICES(api, op)                                                                                \
    HC_API aclnnStatus api##GetWorkspaceSize(const aclTensor *self, int64_t dim, bool keepdim,               \
                                             aclTensor *out, uint64_t *workspaceSize,                        \
                                             aclOpExecutor **executor) {                                     \
        return plan(&(op), self, dim, keepdim, out, NULL, workspaceSize, executor);                          \
    }                                                                                                        \
    HC_OP_LAUNCH(api)
WITH_VALUES(aclnnMaxDim, MAX_DIM)
WITH_VALUES(aclnnMinDim, MIN_DIM)
ONLY_INDICES(aclnnArgMax, ARG_MAX)
ONLY_INDICES(aclnnArgMin, ARG_MIN)
#endif
