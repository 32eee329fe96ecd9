// SPDX-License-Identifier: Apache-2.0
/* Skeleton of every operator that computes element i of its outputs from element i of its (broadcast) inputs.
 *
 * An operator supplies kernels over contiguous blocks of at most HC_EW_BLOCK elements (or more, when no
 * operand needs conversion), one per block type it supports. The skeleton broadcasts, merges dimensions, runs
 * in parallel, gathers strided runs, converts dtypes block by block in the cache, and copies inputs that the
 * output partly overlaps. So each operator has every dtype and every stride. */
#pragma once
#include "convert.h"
#include "result_type.h"

/* A block of float32 is 4 KiB: three operands stay in the first-level cache, and the call per block is a
 * small part of its time. */
enum { HC_EW_BLOCK = 1024, HC_EW_MAX_OPERANDS = 8 };

/* out[k][i] = f(in[0][i], in[1][i], ...) for i < n; an output may be the very memory of an input. */
typedef void hc_ew_kernel(size_t n, void *const *out, const void *const *in, const void *args);

/* Beside the block types: a kernel over bfloat16 memory, used instead of F32 where every operand is a run of
 * it. */
enum { HC_EW_BF16 = HC_BLOCK_COUNT, HC_EW_KERNELS };

struct hc_ew {
    const char *name;
    /* Table of kernels per instruction set (`name_table` of HC_KERNEL) by block type; NULL: not supported. */
    hc_ew_kernel *const *kernel[HC_EW_KERNELS];
    /* Bit k: operand k (outputs first, then inputs) is a block of truth values (B8) whatever the others are.
     */
    unsigned truth;
    /* Lowest class of the result: HC_CLASS_FLOAT makes integer inputs float (sqrt, true division). With flags
     * of enum hc_ew_result. */
    unsigned result;
};

/* Beside the class, in hc_ew.result. */
enum hc_ew_result {
    HC_EW_CLASS = 7,
    HC_EW_NO_BOOL = 8,   /* PyTorch has no such operation where the result's type would be bool */
    HC_EW_IS_MINUS = 16, /* refuses every bool operand, and tells what to use instead */
    HC_EW_CASTS = 32,    /* a result of any class goes into any output */
    HC_EW_BOOL_OUT = 64, /* outputs that are truth values must be bool tensors */
    HC_EW_ALPHA = 128,   /* the scalar multiplies an operand, and must not be of a class above the result's */
    HC_EW_ANY_BYTE = 256, /* kernels take bytes of bool memory as they are: any but 0 is true */
};

/* Declares the kernels of an operator: HC_EW_KERNEL(add_f32). */
#define HC_EW_KERNEL(name)                                                                                   \
    HC_KERNEL(name, (size_t n, void *const *out, const void *const *in, const void *args))

/* Declarations and tables by the block types an operator `op` has kernels for, named op_F32, op_F64, ...:
 * FLOAT real floats, REAL also integers, MATH floats and complex, ALL everything. */
#define HC_EW_KERNELS_FLOAT(op) HC_EW_KERNEL(op##_F32) HC_EW_KERNEL(op##_F64)
#define HC_EW_KERNELS_REAL(op) HC_EW_KERNELS_FLOAT(op) HC_EW_KERNEL(op##_I64)
#define HC_EW_KERNELS_MATH(op) HC_EW_KERNELS_FLOAT(op) HC_EW_KERNEL(op##_C128)
#define HC_EW_KERNELS_ALL(op) HC_EW_KERNELS_REAL(op) HC_EW_KERNEL(op##_C128)
#define HC_EW_ROWS_FLOAT(op) [HC_F32] = op##_F32_table, [HC_F64] = op##_F64_table
#define HC_EW_TABLE_FLOAT(op) {HC_EW_ROWS_FLOAT(op)}
#define HC_EW_TABLE_FLOAT_BF16(op) {HC_EW_ROWS_FLOAT(op), [HC_EW_BF16] = op##_BF16_table}
#define HC_EW_TABLE_REAL(op) {HC_EW_ROWS_FLOAT(op), [HC_I64] = op##_I64_table}
#define HC_EW_TABLE_MATH(op) {HC_EW_ROWS_FLOAT(op), [HC_C128] = op##_C128_table}
#define HC_EW_TABLE_ALL(op) {HC_EW_ROWS_FLOAT(op), [HC_I64] = op##_I64_table, [HC_C128] = op##_C128_table}
#define HC_EW_TABLE_MATH_BF16(op)                                                                            \
    {HC_EW_ROWS_FLOAT(op), [HC_C128] = op##_C128_table, [HC_EW_BF16] = op##_BF16_table}
#define HC_EW_TABLE_REAL_BF16(op)                                                                            \
    {HC_EW_ROWS_FLOAT(op), [HC_I64] = op##_I64_table, [HC_EW_BF16] = op##_BF16_table}
#define HC_EW_TABLE_ALL_BF16(op)                                                                             \
    {HC_EW_ROWS_FLOAT(op), [HC_I64] = op##_I64_table, [HC_C128] = op##_C128_table,                           \
     [HC_EW_BF16] = op##_BF16_table}

/* Plan it: outputs have the broadcast shape of all inputs. scalar: the highest class of the operator's scalar
 * arguments that count for the result's type; HC_CLASS_BOOL where there is none. args: copied, args_size
 * bytes, may be NULL if 0. Checks null, shapes, supported dtypes, and whether outputs can hold the result
 * (result_type.h); messages name op->name. */
aclnnStatus hc_ew_plan(const struct hc_ew *op, enum hc_dtype_class scalar, const aclTensor *const *outs,
                       int num_outs, const aclTensor *const *ins, int num_ins, const void *args,
                       size_t args_size, uint64_t *workspaceSize, aclOpExecutor **executor);

/* The same under another name: variants of an operator (in-place, scalar) share its kernels. */
aclnnStatus hc_ew_plan_as(const char *name, const struct hc_ew *op, enum hc_dtype_class scalar,
                          const aclTensor *const *outs, int num_outs, const aclTensor *const *ins,
                          int num_ins, const void *args, size_t args_size, uint64_t *workspaceSize,
                          aclOpExecutor **executor);

/* Run at once, in the calling thread and the pool: for operators built of several steps. compute: the block
 * type, or -1 for what hc_ew_plan would derive without scalars; any output is taken. */
aclnnStatus hc_ew_run(const struct hc_ew *op, int compute, const aclTensor *const *outs, int num_outs,
                      const aclTensor *const *ins, int num_ins, const void *args);
/* The checks of hc_ew_plan that depend on types, for operators that run the loop as one of several steps. */
aclnnStatus hc_ew_check_types(const char *name, const struct hc_ew *op, enum hc_dtype_class scalar,
                              const aclTensor *const *outs, int num_outs, const aclTensor *const *ins,
                              int num_ins);
/* The block type hc_ew_plan would derive, without scalars. */
enum hc_block hc_ew_compute(const struct hc_ew *op, const aclTensor *const *outs, int num_outs,
                            const aclTensor *const *ins, int num_ins);

/* Copy with conversion, any strides; src is broadcast to dst. Used by many operators. */
aclnnStatus hc_copy(const aclTensor *dst, const aclTensor *src);

/* A scalar argument in each block type, for kernels: *(const float *)... is `HC_EW_SCALAR(args, F32)`. */
struct hc_ew_scalar {
    float F32;
    double F64;
    int64_t I64;
    hc_c128 C128;
};
static inline struct hc_ew_scalar hc_ew_scalar(const aclScalar *s) {
    const double f = hc_scalar_f64(s);
    return (struct hc_ew_scalar){(float)f, f, hc_scalar_i64(s), hc_scalar_c128(s)};
}

#ifdef HC_ISA
/* Bodies: the loops that instantiate an inline function over a block. */
#define HC_EW_BODY1(name, out_type, in_type, fn)                                                             \
    void HC_FN(name)(size_t n, void *const *out, const void *const *in, const void *args) {                  \
        out_type *y = out[0];                                                                                \
        const in_type *x = in[0];                                                                            \
        (void)args;                                                                                          \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = fn(x[i]);                                 \
    }
#define HC_EW_BODY2(name, out_type, in_type, fn)                                                             \
    void HC_FN(name)(size_t n, void *const *out, const void *const *in, const void *args) {                  \
        out_type *y = out[0];                                                                                \
        const in_type *a = in[0], *b = in[1];                                                                \
        (void)args;                                                                                          \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = fn(a[i], b[i]);                           \
    }
/* With arguments: fn(x, args) where args_type is the struct the plan copied. */
#define HC_EW_BODY1_ARGS(name, out_type, in_type, args_type, fn)                                             \
    void HC_FN(name)(size_t n, void *const *out, const void *const *in, const void *args) {                  \
        out_type *y = out[0];                                                                                \
        const in_type *x = in[0];                                                                            \
        const args_type a = *(const args_type *)args;                                                        \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = fn(x[i], &a);                             \
    }
#define HC_EW_BODY2_ARGS(name, out_type, in_type, args_type, fn)                                             \
    void HC_FN(name)(size_t n, void *const *out, const void *const *in, const void *args) {                  \
        out_type *y = out[0];                                                                                \
        const in_type *x1 = in[0], *x2 = in[1];                                                              \
        const args_type a = *(const args_type *)args;                                                        \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = fn(x1[i], x2[i], &a);                     \
    }
/* Float vectors: fn(vf) -> vf, the tail through a padded vector. */
#define HC_EW_BODY1_VF(name, fn)                                                                             \
    void HC_FN(name)(size_t n, void *const *out, const void *const *in, const void *args) {                  \
        float *y = out[0];                                                                                   \
        const float *x = in[0];                                                                              \
        (void)args;                                                                                          \
        size_t i = 0;                                                                                        \
        for (; i + HC_VL <= n; i += HC_VL) vf_store(y + i, fn(vf_load(x + i)));                              \
        if (i < n) vf_store_part(y + i, fn(vf_load_part(x + i, n - i)), n - i);                              \
    }
#define HC_EW_BODY2_VF(name, fn)                                                                             \
    void HC_FN(name)(size_t n, void *const *out, const void *const *in, const void *args) {                  \
        float *y = out[0];                                                                                   \
        const float *a = in[0], *b = in[1];                                                                  \
        (void)args;                                                                                          \
        size_t i = 0;                                                                                        \
        for (; i + HC_VL <= n; i += HC_VL) vf_store(y + i, fn(vf_load(a + i), vf_load(b + i)));              \
        if (i < n) vf_store_part(y + i, fn(vf_load_part(a + i, n - i), vf_load_part(b + i, n - i)), n - i);  \
    }
#endif
