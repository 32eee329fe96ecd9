// SPDX-License-Identifier: Apache-2.0
/* Skeleton of every operator that folds an input along dimensions: sum, max, norm, variance, argmax.
 *
 * An operator supplies, per block type, how to fold values into a state, how two states join, and how a state
 * becomes the output. The skeleton knows dimensions, strides, dtypes and threads. It cuts the work into units
 * (a tile of outputs, a chunk of what is folded) by shapes alone; states of chunks are joined in order, so a
 * result does not depend on the number of threads. States are wider than values (double for float), which
 * keeps the error of a sum of millions of floats below one unit in the last place of the result. */
#pragma once
#include "convert.h"

/* Most outputs of one tile, and most bytes of a state. */
enum { HC_REDUCE_TILE = 512, HC_REDUCE_MAX_STATE = 32, HC_REDUCE_MAX_ARGS = 64 };

/* Fold x[0..n) into *state; x[0] is element `index` of what is folded. */
typedef void hc_reduce_row(size_t n, void *state, const void *x, size_t index, const void *args);
/* Fold x[r * pitch + c] into state[c], for r < rows, c < cols. */
typedef void hc_reduce_col(size_t rows, size_t cols, void *state, const void *x, size_t pitch,
                           const void *args);
/* state[i] = state[i] joined with other[i], which was folded from later elements. */
typedef void hc_reduce_join(size_t n, void *state, const void *other);
/* out[k][i] from state[i]; count values were folded into each. */
typedef void hc_reduce_finish(size_t n, void *const *out, const void *state, size_t count, const void *args);

struct hc_reduce_kernels {
    /* Tables per instruction set. col may be NULL: then columns are gathered and folded by row. */
    hc_reduce_row *const *row;
    hc_reduce_col *const *col;
    hc_reduce_join *const *join;
    hc_reduce_finish *const *finish;
    const void *identity; /* the state of no values */
    size_t state_size;
    enum hc_block out[2]; /* what finish writes */
    /* The same for bfloat16 where it lies, beside kernels of float; NULL: it is converted first. */
    hc_reduce_row *const *bf16_row;
    hc_reduce_col *const *bf16_col;
};

struct hc_reduce {
    const char *name;
    bool needs_elements; /* there is no result for no values (max) */
    /* By the block type in which values are folded; NULL: not supported. */
    const struct hc_reduce_kernels *kernels[HC_BLOCK_COUNT];
};

/* Which dimensions, as callers of operators give them; none means all. */
struct hc_dims {
    const int64_t *data;
    size_t size;
    bool keep;
};
static inline struct hc_dims hc_dims(const aclIntArray *dims, bool keep) {
    return (struct hc_dims){dims ? dims->data : NULL, dims ? dims->size : 0, keep};
}

/* Plan it. out1 is NULL for an operator with one output. args: copied, may be NULL if 0 bytes. */
aclnnStatus hc_reduce_plan(const struct hc_reduce *op, enum hc_block compute, const aclTensor *self,
                           struct hc_dims dims, const aclTensor *out0, const aclTensor *out1,
                           const void *args, size_t args_size, uint64_t *workspaceSize,
                           aclOpExecutor **executor);
/* Run at once; bit d of mask: dimension d is folded. Outputs have self's rank with 1 there, or lack them. */
aclnnStatus hc_reduce_run(const struct hc_reduce *op, enum hc_block compute, const aclTensor *self,
                          uint32_t mask, const aclTensor *out0, const aclTensor *out1, const void *args);
/* Dimensions as a mask, checked against the rank: in range, none twice. */
aclnnStatus hc_dims_mask(const char *name, const aclTensor *self, struct hc_dims dims, uint32_t *mask);
/* Whether out is self without the dimensions of the mask, or with 1 there if keep. out is tensor k among the
 * operator's arguments, which a message names. */
aclnnStatus hc_reduce_check_out(const char *name, const aclTensor *self, uint32_t mask, bool keep,
                                const aclTensor *out, int k);

/* Sum, or mean, over the dimensions of the mask, at once; computed as the type of `self` is. */
aclnnStatus hc_reduce_sum(const aclTensor *self, uint32_t mask, bool mean, const aclTensor *out);

/* Declares the kernels of an operator; _col only with HC_REDUCE_DECLARE. */
#define HC_REDUCE_DECLARE_ROW(name)                                                                          \
    HC_KERNEL(name##_row, (size_t n, void *state, const void *x, size_t index, const void *args))            \
    HC_KERNEL(name##_join, (size_t n, void *state, const void *other))                                       \
    HC_KERNEL(name##_finish, (size_t n, void *const *out, const void *state, size_t count, const void *args))
#define HC_REDUCE_DECLARE(name)                                                                              \
    HC_REDUCE_DECLARE_ROW(name)                                                                              \
    HC_KERNEL(name##_col,                                                                                    \
              (size_t rows, size_t cols, void *state, const void *x, size_t pitch, const void *args))

/* What a struct hc_reduce_kernels consists of. */
#define HC_REDUCE_FIELDS(name, finisher, state_type, out_block, ...)                                         \
    .row = name##_row_table, .col = name##_col_table, .join = name##_join_table,                             \
    .finish = finisher##_finish_table, .identity = &(const state_type){__VA_ARGS__},                         \
    .state_size = sizeof(state_type), .out = {out_block, out_block}
/* One whose state is one value of `state_type`; last its identity. */
#define HC_REDUCE_KERNELS(name, state_type, out_block, ...)                                                  \
    {HC_REDUCE_FIELDS(name, name, state_type, out_block, __VA_ARGS__)}

#ifdef HC_ISA
/* Rows are asked for so far ahead: the hardware's own prefetching ends with each page of 4 KiB, and a sum
 * read from memory then takes a third longer. */
enum { HC_REDUCE_AHEAD = 2048 };
/* Kernels of states that are one value: fold(state, x, args) and join(state, state) are inline functions.
 * Rows are folded into LANES states side by side, which vectorises, and joined by halves. */
#define HC_REDUCE_BODY(name, type, state_type, lanes, identity_value, fold, join)                            \
    void HC_FN(name##_row)(size_t n, void *state, const void *x, size_t index, const void *args) {           \
        const type *v = x;                                                                                   \
        state_type lane[lanes];                                                                              \
        (void)index;                                                                                         \
        (void)args;                                                                                          \
        for (size_t j = 0; j < lanes; j++) lane[j] = identity_value;                                         \
        size_t i = 0;                                                                                        \
        for (; i + lanes <= n; i += lanes) {                                                                 \
            for (size_t b = 0; b < lanes * sizeof(type); b += HC_CACHE_LINE)                                 \
                __builtin_prefetch((const char *)(v + i) + HC_REDUCE_AHEAD + b);                             \
            for (size_t j = 0; j < lanes; j++) lane[j] = fold(lane[j], v[i + j], args);                      \
        }                                                                                                    \
        for (size_t j = 0; i + j < n; j++) lane[j] = fold(lane[j], v[i + j], args);                          \
        for (size_t half = lanes / 2; half > 0; half /= 2) {                                                 \
            for (size_t j = 0; j < half; j++) lane[j] = join(lane[j], lane[j + half]);                       \
        }                                                                                                    \
        *(state_type *)state = join(*(state_type *)state, lane[0]);                                          \
    }                                                                                                        \
    void HC_FN(name##_col)(size_t rows, size_t cols, void *state, const void *x, size_t pitch,               \
                           const void *args) {                                                               \
        const type *v = x;                                                                                   \
        state_type *s = state;                                                                               \
        (void)args;                                                                                          \
        size_t r = 0;                                                                                        \
        for (; r + 4 <= rows; r += 4, v += 4 * pitch) {                                                      \
            const type *v1 = v + pitch, *v2 = v1 + pitch, *v3 = v2 + pitch;                                  \
            _Pragma("GCC ivdep") for (size_t c = 0; c < cols; c++) {                                         \
                s[c] = fold(fold(fold(fold(s[c], v[c], args), v1[c], args), v2[c], args), v3[c], args);      \
            }                                                                                                \
        }                                                                                                    \
        for (; r < rows; r++, v += pitch) {                                                                  \
            _Pragma("GCC ivdep") for (size_t c = 0; c < cols; c++) s[c] = fold(s[c], v[c], args);            \
        }                                                                                                    \
    }                                                                                                        \
    void HC_FN(name##_join)(size_t n, void *state, const void *other) {                                      \
        state_type *s = state;                                                                               \
        const state_type *o = other;                                                                         \
        for (size_t i = 0; i < n; i++) s[i] = join(s[i], o[i]);                                              \
    }
/* finish(state, count, args) gives the output value. */
#define HC_REDUCE_FINISH(name, state_type, out_type, finish)                                                 \
    void HC_FN(name##_finish)(size_t n, void *const *out, const void *state, size_t count,                   \
                              const void *args) {                                                            \
        const state_type *s = state;                                                                         \
        out_type *y = out[0];                                                                                \
        (void)count;                                                                                         \
        (void)args;                                                                                          \
        for (size_t i = 0; i < n; i++) y[i] = finish(s[i], count, args);                                     \
    }
/* The output is the state, narrowed. */
#define HC_REDUCE_FINISH_CAST(name, state_type, out_type)                                                    \
    static inline out_type name##_cast(state_type s) { return (out_type)s; }                                 \
    void HC_FN(name##_finish)(size_t n, void *const *out, const void *state, size_t count,                   \
                              const void *args) {                                                            \
        const state_type *s = state;                                                                         \
        out_type *y = out[0];                                                                                \
        (void)count;                                                                                         \
        (void)args;                                                                                          \
        for (size_t i = 0; i < n; i++) y[i] = name##_cast(s[i]);                                             \
    }
#endif
