// SPDX-License-Identifier: Apache-2.0
/* Skeleton of the operators that multiply matrices whose rows or sums a group of ranks shares ("mc2").
 *
 * Phase one finds the group by name and checks; phase two puts a step that multiplies and a collective into
 * the stream, in the order that the operator's formula says. */
#pragma once
#include "gemm.h"
#include "hc_groups.h"
#include "hc_op_steps.h"

enum { HC_MC2_GROUP_BYTES = 128 };

/* Operands of every such operator; those it does not have are NULL. */
enum {
    HC_MC2_X1,
    HC_MC2_X2,
    HC_MC2_BIAS,
    HC_MC2_X3,
    HC_MC2_SCALE,
    HC_MC2_ROW_SCALE,
    HC_MC2_OUT,
    HC_MC2_GATHERED
};

/* One call: product = (x1 @ x2 + bias) * scale * row_scale + x3, on each rank. x1 may have leading
 * dimensions. */
struct hc_mc2 {
    const char *name;
    const aclTensor *x1, *x2;
    const aclTensor *bias;      /* [n] */
    const aclTensor *x3;        /* as the product */
    const aclTensor *scale;     /* [n] or [1]: only with int8 operands, which want it */
    const aclTensor *row_scale; /* [m] */
    const aclTensor *out, *gathered;
    const char *group, *reduce_op, *comm_mode; /* NULL where the operator has no such argument */
    int64_t comm_turn, stream_mode;
};

/* What the steps know. */
struct hc_mc2_args {
    char group[HC_MC2_GROUP_BYTES];
    size_t m, n, k; /* x1 is m x k on this rank */
    uint32_t num_ranks;
    size_t copy_at; /* in the workspace */
};

/* Phase one: everything that does not depend on how rows are shared. */
aclnnStatus hc_mc2_describe(const struct hc_mc2 *op, struct hc_mc2_args *args);
/* Arguments of second versions for float8 and int8: refused unless they ask for nothing. */
aclnnStatus hc_mc2_no_scales(const char *name, const aclTensor *x1_scale, const aclTensor *x2_scale,
                             const aclTensor *quant_scale, const aclTensor *amax, int64_t block_size,
                             int64_t group_size);
/* The end of phase one. */
aclnnStatus hc_mc2_plan(const struct hc_mc2 *op, const struct hc_mc2_args *args, hc_launch_fn launch,
                        size_t workspace, uint64_t *workspaceSize, aclOpExecutor **executor);

/* Phase two: the group, which must still be the one of phase one. */
aclnnStatus hc_mc2_group(const struct hc_call *call, struct hc_group *group);
/* A collective's code as an operator's. */
aclnnStatus hc_mc2_collective(int code);
uint64_t hc_mc2_flops(const struct hc_mc2_args *args, size_t rows);

/* In a step: the product of `rows` rows into `out`, contiguous. `x1` NULL: the operand itself, m rows; else
 * as many contiguous rows of k. */
aclnnStatus hc_mc2_multiply(const struct hc_call *call, void *x1, size_t rows, void *out);
