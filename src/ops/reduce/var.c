// SPDX-License-Identifier: Apache-2.0
/* Variance, standard deviation, and both with the mean.
 *
 * Each block of values in the cache gives its mean and its sum of squared deviations; blocks are joined by
 * Chan's formula, in double. One pass over memory, and no cancellation when the mean is large. */
#include "reduce.h"

HC_REDUCE_DECLARE_ROW(var_F32)
HC_REDUCE_DECLARE_ROW(var_F64)

/* The divisor is count - correction, not below zero: a division by zero then gives inf or NaN, as in
 * PyTorch. */
struct args {
    int64_t correction;
    bool root; /* standard deviation */
};
struct state {
    double count, mean, squares;
};

#ifdef HC_ISA
#include <math.h>

/* A block is 4 or 8 KiB: small enough to be read again from the first-level cache, long enough that
 * Chan's formula, a division per block, costs nothing. */
enum { BLOCK = 1024, LANES = 32 };

/* Chan's formula: mean and squares of both parts together. Weights are fractions, not products of counts,
 * so that nothing overflows. */
static inline void join(struct state *s, double count, double mean, double squares) {
    const double total = s->count + count, delta = mean - s->mean;
    if (count == 0) return;
    s->mean += delta * (count / total);
    s->squares += squares + delta * delta * (s->count * count / total);
    s->count = total;
}

/* By halves, always in the same order. */
static inline double fold_lanes(const double *lane) {
    double sum[LANES];
    for (size_t j = 0; j < LANES; j++) sum[j] = lane[j];
    for (size_t half = LANES / 2; half > 0; half /= 2) {
        for (size_t j = 0; j < half; j++) sum[j] += sum[j + half];
    }
    return sum[0];
}

/* A block is read twice, the second time from the first-level cache: deviations from its own mean do not
 * cancel. */
#define DEFINE(block, type)                                                                                  \
    static void var_block_##block(size_t n, struct state *s, const type *x) {                                \
        double lane[LANES] = {0};                                                                            \
        size_t i = 0;                                                                                        \
        for (; i + LANES <= n; i += LANES) {                                                                 \
            for (size_t j = 0; j < LANES; j++) lane[j] += (double)x[i + j];                                  \
        }                                                                                                    \
        for (size_t j = 0; i + j < n; j++) lane[j] += (double)x[i + j];                                      \
        const double mean = fold_lanes(lane) / (double)n;                                                    \
        for (size_t j = 0; j < LANES; j++) lane[j] = 0;                                                      \
        for (i = 0; i + LANES <= n; i += LANES) {                                                            \
            for (size_t j = 0; j < LANES; j++) {                                                             \
                const double d = (double)x[i + j] - mean;                                                    \
                lane[j] += d * d;                                                                            \
            }                                                                                                \
        }                                                                                                    \
        for (size_t j = 0; i + j < n; j++) lane[j] += ((double)x[i + j] - mean) * ((double)x[i + j] - mean); \
        join(s, (double)n, mean, fold_lanes(lane));                                                          \
    }                                                                                                        \
    void HC_FN(var_##block##_row)(size_t n, void *state, const void *x, size_t index, const void *args) {    \
        (void)index;                                                                                         \
        (void)args;                                                                                          \
        for (size_t i = 0; i < n; i += BLOCK)                                                                \
            var_block_##block(hc_min_size(BLOCK, n - i), state, (const type *)x + i);                        \
    }                                                                                                        \
    void HC_FN(var_##block##_join)(size_t n, void *state, const void *other) {                               \
        struct state *s = state;                                                                             \
        const struct state *o = other;                                                                       \
        for (size_t i = 0; i < n; i++) join(&s[i], o[i].count, o[i].mean, o[i].squares);                     \
    }                                                                                                        \
    void HC_FN(var_##block##_finish)(size_t n, void *const *out, const void *state, size_t count,            \
                                     const void *args) {                                                     \
        const struct state *s = state;                                                                       \
        const struct args *a = args;                                                                         \
        const double divisor = fmax(0, (double)count - (double)a->correction);                               \
        for (size_t i = 0; i < n; i++) {                                                                     \
            const double var = s[i].squares / divisor;                                                       \
            ((type *)out[0])[i] = (type)(a->root ? sqrt(var) : var);                                         \
            ((type *)out[1])[i] = (type)(count > 0 ? s[i].mean : NAN);                                       \
        }                                                                                                    \
    }
DEFINE(F32, float)
DEFINE(F64, double)

#else
/* finish writes both outputs; one that nobody asked for goes to a buffer. */
#define KERNELS(block)                                                                                       \
    {                                                                                                        \
        .row = var_##block##_row_table, .join = var_##block##_join_table,                                    \
        .finish = var_##block##_finish_table, .identity = &(const struct state){0, 0, 0},                    \
        .state_size = sizeof(struct state), .out = {HC_##block, HC_##block}                                  \
    }
static const struct hc_reduce_kernels F32 = KERNELS(F32), F64 = KERNELS(F64);
#define TABLE {[HC_F32] = &F32, [HC_F64] = &F64}
static const struct hc_reduce VAR = {"aclnnVarCorrection", false, TABLE},
                              VAR_MEAN = {"aclnnVarMean", false, TABLE};
static const struct hc_reduce STD = {"aclnnStd", false, TABLE},
                              STD_MEAN = {"aclnnStdMeanCorrection", false, TABLE};

/* Without a mean output the second one is left out of the plan. */
static aclnnStatus plan(const struct hc_reduce *op, const aclTensor *self, struct hc_dims dims,
                        struct args args, const aclTensor *out, const aclTensor *mean,
                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: self is null", op->name);
    HC_CHECK(hc_dtype_is_float(self->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: self is %s, want a floating point type", op->name, HC_SHOW(self));
    return hc_reduce_plan(op, hc_compute_block(self->dtype), self, dims, out, mean, &args, sizeof args,
                          workspaceSize, executor);
}

/* torch.var_mean, std_mean, var and std with a correction: 1 gives the unbiased estimate, 0 the mean
 * square. */
#define WITH_MEAN(api, op, root)                                                                             \
    HC_API aclnnStatus api##GetWorkspaceSize(                                                                \
        const aclTensor *self, const aclIntArray *dim, int64_t correction, bool keepdim, aclTensor *out,     \
        aclTensor *meanOut, uint64_t *workspaceSize, aclOpExecutor **executor) {                             \
        HC_CHECK(meanOut != NULL, ACLNN_ERR_PARAM_NULLPTR, #api ": meanOut is null");                        \
        return plan(&(op), self, hc_dims(dim, keepdim), (struct args){correction, root}, out, meanOut,       \
                    workspaceSize, executor);                                                                \
    }                                                                                                        \
    HC_OP_LAUNCH(api)
#define ALONE(api, op, root)                                                                                 \
    HC_API aclnnStatus api##GetWorkspaceSize(const aclTensor *self, const aclIntArray *dim,                  \
                                             int64_t correction, bool keepdim, aclTensor *out,               \
                                             uint64_t *workspaceSize, aclOpExecutor **executor) {            \
        return plan(&(op), self, hc_dims(dim, keepdim), (struct args){correction, root}, out, NULL,          \
                    workspaceSize, executor);                                                                \
    }                                                                                                        \
    HC_OP_LAUNCH(api)
WITH_MEAN(aclnnVarMean, VAR_MEAN, false)
WITH_MEAN(aclnnStdMeanCorrection, STD_MEAN, true)
ALONE(aclnnVarCorrection, VAR, false)
ALONE(aclnnStd, STD, true)
#endif
