// SPDX-License-Identifier: Apache-2.0
/* Coordinates of the elements that are not zero, in row-major order: out[i] = the i-th one's (Nonzero),
 * or one line per dimension (NonzeroV2). out has room for all elements; its view shape is set to what was
 * found.
 *
 * As in masked_select.c, blocks are counted first and then write where their own begin, so the order
 * needs no sort and no lock. NaN is not zero; -0.0 is. */
#include "mask_scan.h"

/* Nonzero: a row per element. V2: a line per dimension. */
struct args {
    bool by_dimension;
};
/* below[d]: elements that one step of dimension d skips in row-major order. */
struct job {
    int64_t *out;
    int32_t rank;
    int64_t step, line; /* distance between elements of one dimension, and between dimensions */
    uint64_t below[HC_MAX_RANK], shape[HC_MAX_RANK];
};

/* A division for each dimension but the last, of found elements only. */
static void write_block(const void *ctx, const uint8_t *truth, size_t n, size_t first, int64_t at) {
    const struct job *j = ctx;
    for (size_t i = 0; i < n; i++) {
        if (!truth[i]) continue;
        uint64_t rest = first + i;
        for (int32_t d = 0; d < j->rank; d++) {
            const uint64_t coordinate = d + 1 < j->rank ? rest / j->below[d] : rest;
            rest -= coordinate * j->below[d];
            j->out[at * j->step + d * j->line] = (int64_t)coordinate;
        }
        at++;
    }
}

/* V2's lines are as long as what was found, so they are laid out now. */
static aclnnStatus write(const struct hc_call *call, const struct hc_mask_scan *scan) {
    const struct args *a = call->args;
    const aclTensor *out = hc_arg(call, 0), *self = hc_arg(call, 1);
    const int64_t count = scan->before[scan->blocks], rank = self->rank;
    HC_CHECK(count * rank <= out->numel, ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, but %lld elements of %lld dimensions are not zero", call->name, HC_SHOW(out),
             (long long)count, (long long)rank);
    struct job job = {.out = (int64_t *)hc_data(out),
                      .rank = self->rank,
                      .step = a->by_dimension ? 1 : rank,
                      .line = a->by_dimension ? count : 1};
    uint64_t below = 1;
    for (int32_t d = self->rank - 1; d >= 0; d--) {
        job.below[d] = below;
        below *= (uint64_t)self->shape[d];
    }
    hc_mask_for(scan, write_block, &job);
    hc_set_view_shape(call, 0, a->by_dimension ? (int64_t[]){rank, count} : (int64_t[]){count, rank}, 2);
    return 0;
}

/* The tensor is its own mask: hc_mask_scan reads any dtype as truth values. */
static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *self = hc_arg(call, 1);
    struct hc_mask_scan scan;
    aclnnStatus status = hc_mask_scan(call->name, self, self->shape, self->rank, &scan);
    if (status == 0) status = write(call, &scan);
    hc_mask_release(&scan);
    return status;
}

/* out is written as [found, rank] or [rank, found] from its first element, hence contiguous. */
static aclnnStatus plan(const char *name, bool by_dimension, const aclTensor *self, aclTensor *out,
                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self && out, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, self ? "out" : "self");
    HC_CHECK(out->dtype == ACL_INT64 && hc_is_contiguous(out), ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, wanted contiguous int64", name, HC_SHOW(out));
    const struct args args = {by_dimension};
    const struct hc_operand operands[] = {HC_OUT(out), HC_IN(self)};
    return hc_plan(&(const struct hc_plan){.name = name,
                                           .run = run,
                                           .args = &args,
                                           .args_size = sizeof args,
                                           .operands = operands,
                                           .num_operands = HC_ARRAY_SIZE(operands),
                                           .sync = true},
                   workspaceSize, executor);
}

/* torch.nonzero(self): [found, rank]. */
HC_API aclnnStatus aclnnNonzeroGetWorkspaceSize(const aclTensor *self, aclTensor *out,
                                                uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan("aclnnNonzero", false, self, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnNonzero)

/* torch.nonzero(self, as_tuple=True), its lines together: [rank, found]. */
HC_API aclnnStatus aclnnNonzeroV2GetWorkspaceSize(const aclTensor *self, aclTensor *out,
                                                  uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan("aclnnNonzeroV2", true, self, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnNonzeroV2)
