// SPDX-License-Identifier: Apache-2.0
/* Skeleton of the operators that multiply matrices whose rows or sums a group of ranks shares ("mc2").
 *
 * Phase one finds the group by name and checks; phase two puts steps that multiply and collectives into
 * the stream, in the order that the operator's formula says. Where communication leaves the cores free (ranks
 * of several hosts, or links of a chosen speed: hc_group.beside), rows are cut into parts, and collectives
 * run in a stream beside: of one part while the next is multiplied. The bits are the same: what a row of a
 * product is does not depend on the rows beside it (parts have more than gemm_skinny.h's), and sums of ranks
 * are those of the same collective. */
#pragma once
#include "gemm.h"
#include "group_exchange.h"
#include "hc_op_steps.h"

/* Operands of every such operator; those it does not have are NULL. */
enum {
    HC_MC2_X1,
    HC_MC2_X2,
    HC_MC2_BIAS,
    HC_MC2_X3,
    HC_MC2_SCALE,
    HC_MC2_ROW_SCALE,
    HC_MC2_OUT,
    HC_MC2_GATHERED,
    HC_MC2_SENT_SCALE,
    HC_MC2_SUM_SCALE,
    HC_MC2_WEIGHT_SCALE,
    HC_MC2_WEIGHT_OFFSET
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
    /* x2 of int8 beside x1 of floats is (x2 + offset) * scale; NULL where there is none. [1], [n], or
     * [groups, n] for so many rows of x2 each, 0: one group */
    const aclTensor *weight_scale, *weight_offset;
    int64_t group_rows;
    const aclTensor *sent_scale, *sum_scale;   /* [n]: of what is sent as int8 (quant_matmul_all_reduce.c) */
    const char *group, *reduce_op, *comm_mode; /* NULL where the operator has no such argument */
    int64_t comm_turn, stream_mode;
};

/* What the steps know. */
struct hc_mc2_args {
    char group[HC_GROUP_BYTES];
    size_t m, n, k; /* x1 is m x k on this rank */
    uint32_t rank, num_ranks;
    bool beside;       /* collectives run while products do */
    size_t copy_at;    /* in the workspace */
    size_t parts;      /* of the rows, from hc_mc2_parts */
    size_t group_rows; /* of x2 that share scales; 0: all */
};

/* Phase one: everything that does not depend on how rows are shared. */
aclnnStatus hc_mc2_describe(const struct hc_mc2 *op, struct hc_mc2_args *args);
/* Its parts that operators with other operands need, too: commMode (NULL: none), and the group by its name.
 */
aclnnStatus hc_mc2_check_mode(const char *name, const char *comm_mode);
aclnnStatus hc_mc2_join(const char *name, const char *group_name, struct hc_mc2_args *args);
/* Arguments of second versions for float8 and int8: refused unless they ask for nothing. */
aclnnStatus hc_mc2_no_scales(const char *name, const aclTensor *x1_scale, const aclTensor *x2_scale,
                             const aclTensor *quant_scale, const aclTensor *amax, int64_t block_size,
                             int64_t group_size);
/* The end of phase one. */
aclnnStatus hc_mc2_plan(const struct hc_mc2 *op, const struct hc_mc2_args *args, hc_launch_fn launch,
                        size_t workspace, uint64_t *workspaceSize, aclOpExecutor **executor);

/* What all products that are summed over ranks check, and their plan where floats are summed. */
aclnnStatus hc_mc2_describe_sum(const struct hc_mc2 *op, struct hc_mc2_args *args);
aclnnStatus hc_mc2_plan_sum(const struct hc_mc2 *op, uint64_t *workspaceSize, aclOpExecutor **executor);

/* Phase two: the group, which must still be the one of phase one. The call's arguments begin with a struct
 * hc_mc2_args. */
aclnnStatus hc_mc2_group(const struct hc_call *call, struct hc_group *group);
/* A collective's code as an operator's. */
aclnnStatus hc_mc2_collective(int code);
uint64_t hc_mc2_flops(const struct hc_mc2_args *args, size_t rows);

/* Rows [first, first + rows) of part `part` of so many, of `rows` in all. */
struct hc_mc2_rows {
    size_t first, rows;
};
struct hc_mc2_rows hc_mc2_part(size_t rows, size_t parts, size_t part);
/* How many parts to cut a product of `rows` rows into: 1 where nothing runs beside it. */
size_t hc_mc2_parts(const struct hc_mc2_args *args, size_t rows);

/* What a stream has got so far, for another to wait for before what it gets from then on. A mark that was
 * made is waited for once, or dropped. */
aclnnStatus hc_mc2_mark(const struct hc_call *call, aclrtStream stream, aclrtEvent *mark);
aclnnStatus hc_mc2_await(const struct hc_call *call, aclrtStream stream, aclrtEvent mark);
/* Both at once. */
aclnnStatus hc_mc2_order(const struct hc_call *call, aclrtStream before, aclrtStream stream);

/* In a step: the product of rows [first, first + rows) of the operand into `out`, contiguous. */
aclnnStatus hc_mc2_multiply(const struct hc_call *call, struct hc_mc2_rows rows, void *out);
/* The same of int8 operands as int8, divided by the scale of what is sent. */
aclnnStatus hc_mc2_multiply_int8(const struct hc_call *call, void *out);
/* The same of so many contiguous rows of k at `x1`. */
aclnnStatus hc_mc2_multiply_rows(const struct hc_call *call, void *x1, size_t rows, void *out);
