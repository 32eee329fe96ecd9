// SPDX-License-Identifier: Apache-2.0
/* out = beta * self + alpha * sum over b of batch1[b] @ batch2[b].
 *
 * One product per batch index; sums of 16-bit floats wait in a float32 workspace, so that they are rounded
 * once. */
#include "matmul.h"

/* Strides from one matrix of a stack to the next, in elements. */
struct args {
    struct hc_gemm g; /* of one batch index */
    int64_t batches, a_stride, b_stride;
};

/* Products all but the last go to `sums`, in a type of the same kind that loses nothing. */
static aclDataType sum_type(aclDataType out) { return hc_compute_block(out) == HC_F32 ? ACL_FLOAT : out; }

/* Product i adds to the sums of those before; the first takes beta * self, the last goes to out. With one
 * batch index there is no workspace. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *args = call->args;
    const aclTensor *self = hc_arg(call, 0), *a = hc_arg(call, 1), *b = hc_arg(call, 2),
                    *out = hc_arg(call, 3);
    struct hc_gemm g = args->g;
    const struct hc_gemm_matrix to = g.out;
    const struct hc_gemm_matrix sums = {call->workspace, sum_type(out->dtype), (int64_t)g.n, 1, {0}};
    const bool apart = hc_overlaps_partly(out, self);
    g.self.data = hc_data(self);
    for (int64_t i = 0; i < args->batches; i++) {
        g.a.data = hc_data(a) + i * args->a_stride * a->item_size;
        g.b.data = hc_data(b) + i * args->b_stride * b->item_size;
        if (i > 0) g.self = sums, g.beta = (aclScalar){ACL_INT64, {.i = 1}};
        if (i + 1 < args->batches) {
            g.out = sums;
            HC_TRY(hc_gemm(&g));
            continue;
        }
        g.out = to;
        g.out.data = hc_data(out);
        const bool reads_self = i == 0 && apart;
        HC_TRY(
            hc_matmul_run(call->name, &g, out, (const aclTensor *const[]){a, b, self}, reads_self ? 3 : 2));
    }
    return 0;
}

/* What the description of a single product cannot see. */
static aclnnStatus check(const aclTensor *self, const aclTensor *a, const aclTensor *b, const aclScalar *beta,
                         const aclScalar *alpha) {
    const char *missing = !self    ? "self"
                          : !a     ? "batch1"
                          : !b     ? "batch2"
                          : !beta  ? "beta"
                          : !alpha ? "alpha"
                                   : NULL;
    HC_CHECK(missing == NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnnAddbmm: %s is null", missing);
    HC_CHECK(a->rank == 3 && b->rank == 3 && a->shape[0] == b->shape[0], ACLNN_ERR_PARAM_INVALID,
             "aclnnAddbmm: batch1 is %s and batch2 %s, wanted 3 dimensions and as many matrices in both",
             HC_SHOW(a), HC_SHOW(b));
    return 0;
}

/* One matrix of the stack; of an empty stack, a matrix without columns (so that the product is 0). */
static aclTensor first_matrix(const aclTensor *t, int32_t steps_dim) {
    aclTensor v = *t;
    v.rank = 2;
    for (int32_t d = 0; d < 2; d++) v.shape[d] = t->shape[d + 1], v.stride[d] = t->stride[d + 1];
    if (t->shape[0] == 0) v.shape[steps_dim] = 0;
    v.numel = v.shape[0] * v.shape[1];
    return v;
}

/* torch.addbmm(self, batch1, batch2, beta=beta, alpha=alpha). */
HC_API aclnnStatus aclnnAddbmmGetWorkspaceSize(const aclTensor *self, const aclTensor *batch1,
                                               const aclTensor *batch2, const aclScalar *beta,
                                               const aclScalar *alpha, aclTensor *out, int8_t cubeMathType,
                                               uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_TRY(check(self, batch1, batch2, beta, alpha));
    const aclTensor a = first_matrix(batch1, 1), b = first_matrix(batch2, 0);
    const struct hc_matmul op = {.name = "aclnnAddbmm",
                                 .self = self,
                                 .a = &a,
                                 .b = &b,
                                 .out = out,
                                 .a_name = "batch1",
                                 .b_name = "batch2",
                                 .a_rank = 2,
                                 .b_rank = 2,
                                 .alpha = alpha,
                                 .beta = beta,
                                 .cube_math_type = cubeMathType};
    struct args args = {.batches = hc_max_i64(batch1->shape[0], 1),
                        .a_stride = batch1->stride[0],
                        .b_stride = batch2->stride[0]};
    HC_TRY(hc_matmul_describe(&op, &args.g));
    const size_t sums = args.batches > 1 ? args.g.m * args.g.n * hc_dtype_size(sum_type(out->dtype)) : 0;
    const struct hc_operand operands[] = {HC_IN(self), HC_IN(batch1), HC_IN(batch2), HC_OUT(out)};
    const struct hc_plan plan = {.name = "aclnnAddbmm",
                                 .run = run,
                                 .args = &args,
                                 .args_size = sizeof args,
                                 .operands = operands,
                                 .num_operands = HC_ARRAY_SIZE(operands),
                                 .workspace = sums,
                                 .flops = 2 * (uint64_t)args.batches * args.g.m * args.g.n * args.g.k};
    return hc_plan(&plan, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAddbmm)
