// SPDX-License-Identifier: Apache-2.0
/* Largest and smallest value, of all elements or over dimensions. A NaN anywhere is the result.
 *
 * Values are compared in their own block type, not in a wider one as sums are: the result is one of the
 * inputs, so nothing is rounded, and int64 keeps its low bits. */
#include "reduce.h"

HC_REDUCE_DECLARE(amax_F32)
HC_REDUCE_DECLARE(amax_F64)
HC_REDUCE_DECLARE(amax_I64)
HC_REDUCE_DECLARE(amin_F32)
HC_REDUCE_DECLARE(amin_F64)
HC_REDUCE_DECLARE(amin_I64)
HC_KERNEL(amax_BF16_row, (size_t n, void *state, const void *x, size_t index, const void *args))
HC_KERNEL(amin_BF16_row, (size_t n, void *state, const void *x, size_t index, const void *args))

#ifdef HC_ISA
/* If s is NaN neither comparison holds and it stays. */
#define MAX(s, x) (((x) > (s)) | ((x) != (x)) ? (x) : (s))
#define MIN(s, x) (((x) < (s)) | ((x) != (x)) ? (x) : (s))
#define MAX_FOLD(s, x, args) MAX(s, x)
#define MIN_FOLD(s, x, args) MIN(s, x)
#define MAX_I64(s, x) ((x) > (s) ? (x) : (s))
#define MIN_I64(s, x) ((x) < (s) ? (x) : (s))
#define MAX_I64_FOLD(s, x, args) MAX_I64(s, x)
#define MIN_I64_FOLD(s, x, args) MIN_I64(s, x)
/* 64 floats or 32 wider values side by side: four vectors of the widest set, enough to hide the latency
 * of a comparison. */
#define BOTH(name, type, lanes, low, high, max_fold, max_join, min_fold, min_join)                           \
    HC_REDUCE_BODY(amax_##name, type, type, lanes, low, max_fold, max_join)                                  \
    HC_REDUCE_BODY(amin_##name, type, type, lanes, high, min_fold, min_join)                                 \
    HC_REDUCE_FINISH_CAST(amax_##name, type, type)                                                           \
    HC_REDUCE_FINISH_CAST(amin_##name, type, type)
BOTH(F32, float, 64, -__builtin_inff(), __builtin_inff(), MAX_FOLD, MAX, MIN_FOLD, MIN)
BOTH(F64, double, 32, -__builtin_inf(), __builtin_inf(), MAX_FOLD, MAX, MIN_FOLD, MIN)
BOTH(I64, int64_t, 32, INT64_MIN, INT64_MAX, MAX_I64_FOLD, MAX_I64, MIN_I64_FOLD, MIN_I64)

/* bfloat16 is compared where it lies, 32 to a vector, as integers: with the bits of negative numbers flipped
 * their order is that of the values. The largest magnitude tells of a NaN. */
enum { KEYS = 128, INF_BITS = 0x7f80 };
static inline int16_t key_of(uint16_t x) { return (int16_t)(x ^ ((int16_t)x >> 15 & 0x7fff)); }
static inline float of_key(int16_t key) {
    return hc_bits_f32((uint32_t)(uint16_t)(key ^ (key >> 15 & 0x7fff)) << 16);
}
#define BF16_FOLD(x, best, magnitude, better)                                                                \
    do {                                                                                                     \
        const int16_t key = key_of(x), size = (int16_t)((x) & 0x7fff);                                       \
        best = key better best ? key : best;                                                                 \
        magnitude = size > magnitude ? size : magnitude;                                                     \
    } while (0)
#define BF16_ROW(name, none, better, join)                                                                   \
    void HC_FN(name)(size_t n, void *state, const void *x, size_t index, const void *args) {                 \
        const uint16_t *v = x;                                                                               \
        int16_t best[KEYS], magnitude[KEYS] = {0};                                                           \
        float *s = state;                                                                                    \
        (void)index;                                                                                         \
        (void)args;                                                                                          \
        for (size_t j = 0; j < KEYS; j++) best[j] = none;                                                    \
        size_t i = 0;                                                                                        \
        for (; i + KEYS <= n; i += KEYS) {                                                                   \
            for (size_t j = 0; j < KEYS; j++) BF16_FOLD(v[i + j], best[j], magnitude[j], better);            \
        }                                                                                                    \
        for (size_t j = 0; i + j < n; j++) BF16_FOLD(v[i + j], best[j], magnitude[j], better);               \
        for (size_t half = KEYS / 2; half > 0; half /= 2) {                                                  \
            for (size_t j = 0; j < half; j++) {                                                              \
                best[j] = best[j + half] better best[j] ? best[j + half] : best[j];                          \
                magnitude[j] = magnitude[j + half] > magnitude[j] ? magnitude[j + half] : magnitude[j];      \
            }                                                                                                \
        }                                                                                                    \
        const float extreme = magnitude[0] > INF_BITS ? __builtin_nanf("") : of_key(best[0]);                \
        *s = join(*s, extreme);                                                                              \
    }
BF16_ROW(amax_BF16_row, INT16_MIN, >, MAX)
BF16_ROW(amin_BF16_row, INT16_MAX, <, MIN)

#else
#define INF __builtin_inf()
static const struct hc_reduce_kernels AMAX_F32 = {
    HC_REDUCE_FIELDS(amax_F32, amax_F32, float, HC_F32, -__builtin_inff()), .bf16_row = amax_BF16_row_table};
static const struct hc_reduce_kernels AMAX_F64 = HC_REDUCE_KERNELS(amax_F64, double, HC_F64, -INF);
static const struct hc_reduce_kernels AMAX_I64 = HC_REDUCE_KERNELS(amax_I64, int64_t, HC_I64, INT64_MIN);
static const struct hc_reduce_kernels AMIN_F32 = {
    HC_REDUCE_FIELDS(amin_F32, amin_F32, float, HC_F32, __builtin_inff()), .bf16_row = amin_BF16_row_table};
static const struct hc_reduce_kernels AMIN_F64 = HC_REDUCE_KERNELS(amin_F64, double, HC_F64, INF);
static const struct hc_reduce_kernels AMIN_I64 = HC_REDUCE_KERNELS(amin_I64, int64_t, HC_I64, INT64_MAX);
#define MAX_KERNELS {[HC_F32] = &AMAX_F32, [HC_F64] = &AMAX_F64, [HC_I64] = &AMAX_I64}
#define MIN_KERNELS {[HC_F32] = &AMIN_F32, [HC_F64] = &AMIN_F64, [HC_I64] = &AMIN_I64}
static const struct hc_reduce AMAX = {"aclnnAmax", true, MAX_KERNELS}, MAX = {"aclnnMax", true, MAX_KERNELS};
static const struct hc_reduce AMIN = {"aclnnAmin", true, MIN_KERNELS}, MIN = {"aclnnMin", true, MIN_KERNELS};

/* No elements have no largest one: an empty fold is refused by the skeleton (needs_elements). The result is
 * one of the inputs, and so of their type; PyTorch does not convert it. */
static aclnnStatus plan(const struct hc_reduce *op, const aclTensor *self, struct hc_dims dims,
                        const aclTensor *out, uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self && out, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", op->name, self ? "out" : "self");
    HC_CHECK(self->dtype == out->dtype, ACLNN_ERR_PARAM_INVALID, "%s: out is %s, wanted the type of self %s",
             op->name, HC_SHOW(out), HC_SHOW(self));
    return hc_reduce_plan(op, hc_compute_block(self->dtype), self, dims, out, NULL, NULL, 0, workspaceSize,
                          executor);
}

/* Over dimensions (none given: all), or over everything. */
#define OVER_DIMS(api, op)                                                                                   \
    HC_API aclnnStatus api##GetWorkspaceSize(const aclTensor *self, const aclIntArray *dim, bool keepDim,    \
                                             aclTensor *out, uint64_t *workspaceSize,                        \
                                             aclOpExecutor **executor) {                                     \
        return plan(&(op), self, hc_dims(dim, keepDim), out, workspaceSize, executor);                       \
    }                                                                                                        \
    HC_OP_LAUNCH(api)
#define OVER_ALL(api, op)                                                                                    \
    HC_API aclnnStatus api##GetWorkspaceSize(const aclTensor *self, aclTensor *out, uint64_t *workspaceSize, \
                                             aclOpExecutor **executor) {                                     \
        return plan(&(op), self, hc_dims(NULL, false), out, workspaceSize, executor);                        \
    }                                                                                                        \
    HC_OP_LAUNCH(api)
/* torch.amax and torch.amin over dimensions, torch.max and torch.min of everything. */
OVER_DIMS(aclnnAmax, AMAX)
OVER_DIMS(aclnnAmin, AMIN)
OVER_ALL(aclnnMax, MAX)
OVER_ALL(aclnnMin, MIN)
#endif
