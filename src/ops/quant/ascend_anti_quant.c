// SPDX-License-Identifier: Apache-2.0
/* From int8, or int4 in int32, back to floating point: y = (x + offset) * scale, in float32, rounded once. */
#include "antiquant.h"
#include "quant.h"

#ifndef HC_ISA
enum { GRAIN = 16384, RUN = 1024 /* elements at a time, an even number */ };

struct args {
    bool packed, squared;
    bool scale_each, offset_each;
};

/* One run, everything contiguous. */
struct job {
    const struct args *a;
    const char *x;
    const float *scale, *offset;
    char *y;
    hc_store_fn *store;
    size_t n, item;
};

/* Rows of n elements, a run at a time. */
static void run_rows(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    int8_t x[RUN];
    float y[RUN];
    for (size_t row = begin; row < end; row++) {
        for (size_t i = 0; i < j->n; i += RUN) {
            const size_t n = hc_min_size(RUN, j->n - i), at = row * j->n + i;
            if (j->a->packed) hc_int4_load(n, x, j->x, at);
            HC_DISPATCH(hc_antiquant)
            (n, y, j->a->packed ? x : (const int8_t *)j->x + at, j->scale + (j->a->scale_each ? i : 0),
             j->offset + (j->a->offset_each ? i : 0), j->a->scale_each, j->a->offset_each);
            j->store(n, j->y + at * j->item, 1, y);
        }
    }
}

/* Numbers of the last dimension as float32 of ours, squared where wanted. */
static aclnnStatus take_numbers(const aclTensor *t, bool squared, float **to) {
    const size_t n = t != NULL ? hc_numel(t) : 1;
    *to = hc_block_take_zeroed(n, sizeof **to);
    HC_CHECK(*to != NULL, ACLNN_ERR_INNER, "out of host memory for %zu scales", n);
    if (t == NULL) return 0;
    const aclTensor copy = hc_tensor_view(ACL_FLOAT, t->shape, t->rank, *to);
    HC_TRY(hc_copy(&copy, t));
    for (size_t i = 0; i < n && squared; i++) (*to)[i] *= (*to)[i];
    return 0;
}

/* Operands x, scale, offset, y. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *given_x = hc_arg(call, 0), *given_y = hc_arg(call, 3);
    aclTensor x, y;
    void *own_x = NULL, *own_y = NULL;
    float *scale = NULL, *offset = NULL;
    aclnnStatus status = hc_contiguous_apart(given_x, given_x->dtype, given_y, &x, &own_x);
    if (status == 0) status = take_numbers(hc_arg(call, 1), a->squared, &scale);
    if (status == 0) status = take_numbers(hc_arg(call, 2), false, &offset);
    if (status == 0) status = hc_contiguous_out(given_y, given_y->dtype, &y, &own_y);
    if (status == 0) {
        struct job j = {.a = a,
                        .x = hc_data(&x),
                        .scale = scale,
                        .offset = offset,
                        .y = hc_data(&y),
                        .store = hc_store_for(y.dtype, HC_F32),
                        .n = hc_quant_row_length(&y),
                        .item = (size_t)y.item_size};
        hc_parallel_for(hc_quant_row_count(&y), hc_max_size(GRAIN / hc_max_size(j.n, 1), 1), run_rows, &j);
        if (own_y != NULL) status = hc_copy(given_y, &y);
    }
    hc_block_give(own_x);
    hc_block_give(own_y);
    hc_block_give(scale);
    hc_block_give(offset);
    return status;
}

/* torch_npu.npu_anti_quant. x is what y would be quantised to, so the shapes are checked as there. */
HC_API aclnnStatus aclnnAscendAntiQuantGetWorkspaceSize(const aclTensor *x, const aclTensor *scale,
                                                        const aclTensor *offset, int64_t dstType,
                                                        bool sqrtMode, const aclTensor *y,
                                                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnAscendAntiQuant";
    struct args args = {.squared = sqrtMode};
    struct hc_quant_target target;
    struct hc_quant_axis axis;
    HC_CHECK(x != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: x is null", NAME);
    HC_TRY(hc_quant_check_float(NAME, "y", y));
    HC_TRY(hc_quant_check_float(NAME, "scale", scale));
    if (offset != NULL) HC_TRY(hc_quant_check_float(NAME, "offset", offset));
    HC_CHECK(dstType == (int64_t)y->dtype, ACLNN_ERR_PARAM_INVALID,
             "%s: dstType is %lld, wanted the type of y %s", NAME, (long long)dstType, HC_SHOW(y));
    HC_TRY(hc_quant_check_target(NAME, y, "x", x, -1, &target));
    HC_CHECK(!hc_quant_is_float(&target), ACLNN_ERR_PARAM_INVALID, "%s: x is %s, wanted int8 or int4", NAME,
             HC_SHOW(x));
    args.packed = target.kind == HC_QUANT_I4;
    const int32_t last = y->rank > 0 ? y->rank - 1 : 0;
    HC_TRY(hc_quant_check_axis(NAME, "scale", scale, y, last, &axis));
    args.scale_each = axis.along_row;
    if (offset != NULL) {
        HC_TRY(hc_quant_check_axis(NAME, "offset", offset, y, last, &axis));
        args.offset_each = axis.along_row;
    }
    return HC_PLAN(NAME, run, &args, HC_IN(x), HC_IN(scale), HC_IN_OPT(offset), HC_OUT(y));
}
HC_OP_LAUNCH(aclnnAscendAntiQuant)
#endif
