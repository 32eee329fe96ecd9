// SPDX-License-Identifier: Apache-2.0
/* Skeleton of the matmul operators: views, broadcasting and checks in phase one, hc_gemm in phase two. */
#pragma once
#include "gemm.h"

/* One operator call. The tensors are the caller's; names are those of its arguments, for messages. */
struct hc_matmul {
    const char *name;
    const aclTensor *a, *b, *out;
    const char *a_name, *b_name;
    const char *self_name, *out_name; /* NULL: self, out */
    int32_t a_rank, b_rank;           /* required ranks; 0: any from 1 */
    const aclTensor *self;            /* NULL: none; may be out */
    bool in_place;                    /* self is out, one operand */
    const aclScalar *alpha, *beta;
    int8_t cube_math_type; /* accepted and checked; products of float32 are always exact to float32 */
};

/* out = alpha * (a @ b) + beta * self with the rules of torch.matmul: a vector is a row on the left and a
 * column on the right, leading dimensions broadcast. self broadcasts to out. Operands are numbered self, a,
 * b, out with self first where it is given, as in every such operator. */
aclnnStatus hc_matmul_plan(const struct hc_matmul *op, uint64_t *workspaceSize, aclOpExecutor **executor);

/* The product's description from the tensors: everything but data pointers. Checks shapes and dtypes. */
aclnnStatus hc_matmul_describe(const struct hc_matmul *op, struct hc_gemm *g);

/* Run g, where out may overlap what is read: then by way of a copy. data pointers are set. `out` describes
 * g->out. */
aclnnStatus hc_matmul_run(const char *name, struct hc_gemm *g, const aclTensor *out,
                          const aclTensor *const *read, size_t num_read);
