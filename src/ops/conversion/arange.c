// SPDX-License-Identifier: Apache-2.0
/* Arithmetic sequences: out[i] = start + i * step (Arange, Range) and steps points from start to end
 * (Linspace). Integers are exact; floats are computed in double and rounded once, so an error does not add
 * up. */

#include "temporary.h"

/* Both forms of the bounds are kept: which one counts depends on the output's type, which a kernel does
 * not see. */
struct sequence {
    double start, step, end;
    int64_t start_i64, step_i64;
    int64_t count; /* Linspace: the second half counts back from the end, so that it ends there exactly */
    bool from_both_ends;
};
HC_KERNEL(sequence_f64, (double *y, size_t n, size_t first, const struct sequence *s))
HC_KERNEL(sequence_i64, (int64_t *y, size_t n, size_t first, const struct sequence *s))

#ifdef HC_ISA
/* first + i and not a running sum: any piece can be made by any thread, and rounding does not depend on
 * where it begins. */
void HC_FN(sequence_f64)(double *y, size_t n, size_t first, const struct sequence *s) {
    const double start = s->start, step = s->step, end = s->end;
    if (!s->from_both_ends) {
        for (size_t i = 0; i < n; i++) y[i] = start + (double)(int64_t)(first + i) * step;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const int64_t at = (int64_t)(first + i);
        y[i] = at < s->count / 2 ? start + (double)at * step : end - (double)(s->count - 1 - at) * step;
    }
}

/* Unsigned, so that a sequence over the whole range of int64 wraps instead of being undefined. */
void HC_FN(sequence_i64)(int64_t *y, size_t n, size_t first, const struct sequence *s) {
    const uint64_t start = (uint64_t)s->start_i64, step = (uint64_t)s->step_i64;
    for (size_t i = 0; i < n; i++) y[i] = (int64_t)(start + (first + i) * step);
}
#else
enum { BLOCK = 1024 }; /* 8 KiB, made and stored while in cache */

/* `out` is contiguous here. */
struct job {
    const struct sequence *s;
    const aclTensor *out;
    bool integers;
};

/* [begin, end) of the sequence: a block on the stack, then stored in out's type. */
static void run_blocks(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    union {
        double f64[BLOCK];
        int64_t i64[BLOCK];
    } block;
    hc_store_fn *store = hc_store_for(j->out->dtype, j->integers ? HC_I64 : HC_F64);
    for (size_t at = begin; at < end; at += BLOCK) {
        const size_t n = hc_min_size(BLOCK, end - at);
        if (j->integers) HC_DISPATCH(sequence_i64)(block.i64, n, at, j->s);
        else HC_DISPATCH(sequence_f64)(block.f64, n, at, j->s);
        store(n, hc_data(j->out) + at * (size_t)j->out->item_size, 1, &block);
    }
}

/* Linspace of integers is computed in double and truncated. */
static aclnnStatus run(const struct hc_call *call) {
    const struct sequence *s = call->args;
    const aclTensor *out = hc_arg(call, 0);
    aclTensor flat;
    void *owned;
    HC_TRY(hc_contiguous_out(out, out->dtype, &flat, &owned));
    const struct job job = {s, &flat, hc_dtype_is_integral(out->dtype) && !s->from_both_ends};
    hc_parallel_for(hc_numel(out), 16 * BLOCK, run_blocks, (void *)&job);
    const aclnnStatus status = owned != NULL ? hc_copy(out, &flat) : 0;
    hc_block_give(owned);
    return status;
}

/* Each bound as the output's class sees it: an integer output truncates them first, as PyTorch does. */
static aclnnStatus plan(const char *name, const aclScalar *start, const aclScalar *end, const aclScalar *step,
                        aclTensor *out, uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(start && end && step && out, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             !start ? "start"
             : !end ? "end"
             : step ? "out"
                    : "step");
    const struct sequence s = {.start = hc_scalar_f64(start),
                               .step = hc_scalar_f64(step),
                               .start_i64 = hc_scalar_i64(start),
                               .step_i64 = hc_scalar_i64(step)};
    HC_CHECK(s.step != 0, ACLNN_ERR_PARAM_INVALID, "%s: step is zero", name);
    HC_CHECK(!hc_dtype_is_complex(out->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, complex is not supported", name, HC_SHOW(out));
    return HC_PLAN(name, run, &s, HC_OUT(out));
}

/* torch.arange(start, end, step). The client has computed the length, so `end` is not needed: out's
 * elements say where the sequence stops. */
HC_API aclnnStatus aclnnArangeGetWorkspaceSize(const aclScalar *start, const aclScalar *end,
                                               const aclScalar *step, aclTensor *out, uint64_t *workspaceSize,
                                               aclOpExecutor **executor) {
    return plan("aclnnArange", start, end, step, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnArange)

/* Range includes its end where a step hits it; the length of out says so. */
HC_API aclnnStatus aclnnRangeGetWorkspaceSize(const aclScalar *start, const aclScalar *end,
                                              const aclScalar *step, aclTensor *out, uint64_t *workspaceSize,
                                              aclOpExecutor **executor) {
    return plan("aclnnRange", start, end, step, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnRange)

/* torch.linspace(start, end, steps). One step gives start alone. */
HC_API aclnnStatus aclnnLinspaceGetWorkspaceSize(const aclScalar *start, const aclScalar *end, int64_t steps,
                                                 aclTensor *out, uint64_t *workspaceSize,
                                                 aclOpExecutor **executor) {
    HC_CHECK(start && end && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnLinspace: %s is null",
             !start ? "start"
             : end  ? "out"
                    : "end");
    HC_CHECK(steps == out->numel, ACLNN_ERR_PARAM_INVALID,
             "aclnnLinspace: steps is %lld, out is %s, wanted as many elements", (long long)steps,
             HC_SHOW(out));
    HC_CHECK(!hc_dtype_is_complex(out->dtype), ACLNN_ERR_PARAM_INVALID,
             "aclnnLinspace: out is %s, complex is not supported", HC_SHOW(out));
    struct sequence s = {.start = hc_scalar_f64(start),
                         .end = hc_scalar_f64(end),
                         .count = steps,
                         .from_both_ends = steps > 1};
    s.step = steps > 1 ? (s.end - s.start) / (double)(steps - 1) : 0;
    return HC_PLAN("aclnnLinspace", run, &s, HC_OUT(out));
}
HC_OP_LAUNCH(aclnnLinspace)
#endif
