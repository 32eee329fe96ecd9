// SPDX-License-Identifier: Apache-2.0
/* Skeleton of operators over lists of tensors: element i of tensor t of each output list is computed from
 * element i of tensor t of each input list.
 *
 * A list is one loop: its tensors are cut into chunks of fixed size that the pool shares, so that a list of
 * one large tensor and a list of hundreds of small ones both use every thread. Kernels are those of the
 * elementwise skeleton. Tensors whose operands do not have the same memory layout are worked on in contiguous
 * copies. */
#pragma once
#include "elementwise.h"

enum { HC_FOREACH_MAX_LISTS = 10 };

struct hc_foreach {
    const char *name;
    hc_ew_kernel *const *kernel[HC_BLOCK_COUNT]; /* as in hc_ew */
    bool casts;                                  /* a result of any class goes into any output (copies) */
};

/* Where a list's scalar comes from, one struct hc_ew_scalar for each tensor. */
enum hc_foreach_scalars { HC_FOREACH_NO_SCALAR, HC_FOREACH_ONE, HC_FOREACH_EACH };

/* Run at once. outs[k] and ins[k] point to the first of `count` descriptors. args: what kernels get,
 * args_stride bytes further for each tensor (0: the same for all). */
aclnnStatus hc_foreach_run(const struct hc_foreach *op, size_t count, const aclTensor *const *outs,
                           int num_outs, const aclTensor *const *ins, int num_ins, const void *args,
                           size_t args_stride);

/* Every list as long as the first, every tensor of the shape of its counterpart in the first; names op_name.
 */
aclnnStatus hc_foreach_check(const char *op_name, const aclTensorList *const *lists, const char *const *names,
                             int num);
/* Whether kernels exist for the tensors' dtypes; needs checked lists. */
aclnnStatus hc_foreach_check_dtypes(const struct hc_foreach *op, const aclTensorList *const *lists, int num);

/* Plan out = f(ins..., scalar). The scalar is a value (scalar), one per tensor (scalars), or memory read when
 * the operator runs (device_scalar: one element, or one per tensor with HC_FOREACH_EACH); at most one is
 * given. */
struct hc_foreach_args {
    const aclTensorList *ins[3];
    int num_ins;
    const aclTensorList *out;
    enum hc_foreach_scalars mode;
    const aclScalar *scalar;
    const aclScalarList *scalars;
    const aclTensor *device_scalar;
};
aclnnStatus hc_foreach_plan(const struct hc_foreach *op, const struct hc_foreach_args *args,
                            uint64_t *workspaceSize, aclOpExecutor **executor);
/* Dense in some order of dimensions: a run of numel elements, each of them one element of the tensor. */
bool hc_is_dense(const aclTensor *t);
/* One element of any dtype as every block type. */
struct hc_ew_scalar hc_foreach_read(const aclTensor *t, int64_t index);

/* The kernels of an operator: kernel_F32, kernel_F64 and so on, for float types, with integers, and all. */
#define HC_FOREACH_SPEC2(id, op_name, kernel_)                                                               \
    static const struct hc_foreach id = {                                                                    \
        op_name, {[HC_F32] = kernel_##_F32_table, [HC_F64] = kernel_##_F64_table}, false};
#define HC_FOREACH_SPEC3(id, op_name, kernel_)                                                               \
    static const struct hc_foreach id = {                                                                    \
        op_name,                                                                                             \
        {[HC_F32] = kernel_##_F32_table, [HC_F64] = kernel_##_F64_table, [HC_I64] = kernel_##_I64_table},    \
        false};
#define HC_FOREACH_SPEC4(id, op_name, kernel_)                                                               \
    static const struct hc_foreach id = {op_name,                                                            \
                                         {[HC_F32] = kernel_##_F32_table,                                    \
                                          [HC_F64] = kernel_##_F64_table,                                    \
                                          [HC_I64] = kernel_##_I64_table,                                    \
                                          [HC_C128] = kernel_##_C128_table},                                 \
                                         false};

/* Interface halves by argument list. */
#define HC_FOREACH_UNARY(op_name, spec)                                                                      \
    HC_API aclnnStatus op_name##GetWorkspaceSize(const aclTensorList *x, const aclTensorList *out,           \
                                                 uint64_t *workspaceSize, aclOpExecutor **executor) {        \
        const struct hc_foreach_args args = {.ins = {x}, .num_ins = 1, .out = out};                          \
        return hc_foreach_plan(&(spec), &args, workspaceSize, executor);                                     \
    }                                                                                                        \
    HC_OP_LAUNCH(op_name)
#define HC_FOREACH_BINARY(op_name, spec)                                                                     \
    HC_API aclnnStatus op_name##GetWorkspaceSize(const aclTensorList *x1, const aclTensorList *x2,           \
                                                 const aclTensorList *out, uint64_t *workspaceSize,          \
                                                 aclOpExecutor **executor) {                                 \
        const struct hc_foreach_args args = {.ins = {x1, x2}, .num_ins = 2, .out = out};                     \
        return hc_foreach_plan(&(spec), &args, workspaceSize, executor);                                     \
    }                                                                                                        \
    HC_OP_LAUNCH(op_name)
/* x and a scalar: kind is Tensor (in device memory), or Scalar. */
#define HC_FOREACH_FIELD_aclTensor device_scalar
#define HC_FOREACH_FIELD_aclScalar scalar
#define HC_FOREACH_SCALAR(op_name, spec, kind)                                                               \
    HC_API aclnnStatus op_name##GetWorkspaceSize(const aclTensorList *x, const kind *scalar,                 \
                                                 const aclTensorList *out, uint64_t *workspaceSize,          \
                                                 aclOpExecutor **executor) {                                 \
        const struct hc_foreach_args args = {.ins = {x},                                                     \
                                             .num_ins = 1,                                                   \
                                             .out = out,                                                     \
                                             .mode = HC_FOREACH_ONE,                                         \
                                             .HC_FOREACH_FIELD_##kind = scalar};                             \
        return hc_foreach_plan(&(spec), &args, workspaceSize, executor);                                     \
    }                                                                                                        \
    HC_OP_LAUNCH(op_name)
#define HC_FOREACH_SCALAR_LIST(op_name, spec)                                                                \
    HC_API aclnnStatus op_name##GetWorkspaceSize(const aclTensorList *x, const aclScalarList *scalars,       \
                                                 const aclTensorList *out, uint64_t *workspaceSize,          \
                                                 aclOpExecutor **executor) {                                 \
        const struct hc_foreach_args args = {                                                                \
            .ins = {x}, .num_ins = 1, .out = out, .mode = HC_FOREACH_EACH, .scalars = scalars};              \
        return hc_foreach_plan(&(spec), &args, workspaceSize, executor);                                     \
    }                                                                                                        \
    HC_OP_LAUNCH(op_name)
#define HC_FOREACH_BINARY_SCALAR(op_name, spec, kind)                                                        \
    HC_API aclnnStatus op_name##GetWorkspaceSize(const aclTensorList *x1, const aclTensorList *x2,           \
                                                 const kind *scalar, const aclTensorList *out,               \
                                                 uint64_t *workspaceSize, aclOpExecutor **executor) {        \
        const struct hc_foreach_args args = {.ins = {x1, x2},                                                \
                                             .num_ins = 2,                                                   \
                                             .out = out,                                                     \
                                             .mode = HC_FOREACH_ONE,                                         \
                                             .HC_FOREACH_FIELD_##kind = scalar};                             \
        return hc_foreach_plan(&(spec), &args, workspaceSize, executor);                                     \
    }                                                                                                        \
    HC_OP_LAUNCH(op_name)
/* scalar_mode: HC_FOREACH_ONE, or HC_FOREACH_EACH for a tensor with an element for each member. */
#define HC_FOREACH_TERNARY_SCALAR(op_name, spec, kind, scalar_mode)                                          \
    HC_API aclnnStatus op_name##GetWorkspaceSize(                                                            \
        const aclTensorList *x1, const aclTensorList *x2, const aclTensorList *x3, const kind *scalar,       \
        const aclTensorList *out, uint64_t *workspaceSize, aclOpExecutor **executor) {                       \
        const struct hc_foreach_args args = {.ins = {x1, x2, x3},                                            \
                                             .num_ins = 3,                                                   \
                                             .out = out,                                                     \
                                             .mode = (scalar_mode),                                          \
                                             .HC_FOREACH_FIELD_##kind = scalar};                             \
        return hc_foreach_plan(&(spec), &args, workspaceSize, executor);                                     \
    }                                                                                                        \
    HC_OP_LAUNCH(op_name)

#ifdef HC_ISA
/* Kernel bodies whose args are the scalar: fn(x..., scalar) in the block's type. */
#define HC_FOREACH_BODY1(name, block, fn)                                                                    \
    void HC_FN(name)(size_t n, void *const *out, const void *const *in, const void *args) {                  \
        hc_block_##block *y = out[0];                                                                        \
        const hc_block_##block *x = in[0];                                                                   \
        const hc_block_##block s = ((const struct hc_ew_scalar *)args)->block;                               \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = fn(x[i], s);                              \
    }
#define HC_FOREACH_BODY2(name, block, fn)                                                                    \
    void HC_FN(name)(size_t n, void *const *out, const void *const *in, const void *args) {                  \
        hc_block_##block *y = out[0];                                                                        \
        const hc_block_##block *x1 = in[0], *x2 = in[1];                                                     \
        const hc_block_##block s = ((const struct hc_ew_scalar *)args)->block;                               \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = fn(x1[i], x2[i], s);                      \
    }
#define HC_FOREACH_BODY3(name, block, fn)                                                                    \
    void HC_FN(name)(size_t n, void *const *out, const void *const *in, const void *args) {                  \
        hc_block_##block *y = out[0];                                                                        \
        const hc_block_##block *x1 = in[0], *x2 = in[1], *x3 = in[2];                                        \
        const hc_block_##block s = ((const struct hc_ew_scalar *)args)->block;                               \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = fn(x1[i], x2[i], x3[i], s);               \
    }
#endif
