// SPDX-License-Identifier: Apache-2.0
/* See quantise_rows.h. Each row is read, multiplied by its expert's smooth scales and rounded while it is in
 * the cache; a token is quantised again for each of its experts, as their scales differ. */
#include "quantise_rows.h"

#include <stdatomic.h>
#include <string.h>

#include "quant.h"

aclnnStatus hc_moe_check_quant(const char *name, const struct hc_moe_quant *q, int64_t experts,
                               int64_t rows) {
    const aclTensor *scale = q->scale, *offset = q->offset;
    const int64_t hidden = q->x->shape[1];
    HC_CHECK(scale == NULL || hc_fits_f32(scale->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: scaleOptional is %s, wanted floating point", name, HC_SHOW(scale));
    HC_CHECK(hc_fits_f32(q->x->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted float32, float16 or bfloat16 to quantise", name, HC_SHOW(q->x));
    if (q->dynamic) {
        HC_CHECK(scale == NULL || (scale->rank == 2 && scale->shape[1] == hidden &&
                                   (scale->shape[0] == 1 || scale->shape[0] == experts)),
                 ACLNN_ERR_PARAM_INVALID, "%s: scaleOptional is %s, wanted [1,%lld] or [%lld,%lld]", name,
                 HC_SHOW(scale), (long long)hidden, (long long)experts, (long long)hidden);
        HC_CHECK(q->row_scales != NULL && q->row_scales->numel == rows && hc_fits_f32(q->row_scales->dtype),
                 ACLNN_ERR_PARAM_INVALID, "%s: the output of scales is %s, wanted float32 of %lld elements",
                 name, q->row_scales != NULL ? HC_SHOW(q->row_scales) : "null", (long long)rows);
        return 0;
    }
    HC_CHECK(scale != NULL && scale->numel == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: scaleOptional is %s, wanted one element with quantMode 0", name,
             scale != NULL ? HC_SHOW(scale) : "null");
    HC_CHECK(offset == NULL || (offset->numel == 1 && hc_fits_f32(offset->dtype)), ACLNN_ERR_PARAM_INVALID,
             "%s: offsetOptional is %s, wanted one element with quantMode 0", name, HC_SHOW(offset));
    return 0;
}

/* One run; x is contiguous along its rows, numbers are float32. */
struct job {
    const struct hc_moe_quant *q;
    aclTensor x;
    const float *scale, *offset;
    float *row_scales;
    size_t hidden;
    bool by_expert;
    hc_load_fn *load;
    atomic_bool failed; /* a thread had no memory */
};

/* The dynamic scale is that of the row after smoothing, found while the row is in the cache. */
static void quantise_row(const struct job *j, size_t row, float *x) {
    const struct hc_moe_quant *q = j->q;
    const struct hc_quant_target target = hc_quant_target_of(HC_QUANT_I8);
    j->load(j->hidden, x, hc_data(&j->x) + q->source[row] * j->x.stride[0] * j->x.item_size, 1);
    if (q->dynamic) {
        const float *smooth =
            j->scale != NULL && j->by_expert ? j->scale + (size_t)q->owner[row] * j->hidden : j->scale;
        struct hc_quant_range range;
        HC_DISPATCH(hc_quant_range)(j->hidden, x, smooth, &range);
        const struct hc_quant_scale by = hc_quant_scale_of(&target, range, true);
        j->row_scales[row] = by.scale;
        hc_quant_row(&target, &by, j->hidden, x);
    } else {
        const struct hc_quant_affine by = {.scale = j->scale, .offset = j->offset, .target = target};
        HC_DISPATCH(hc_quant_affine)(j->hidden, x, x, &by);
    }
    hc_quant_store(&target, hc_data(q->out), row, j->hidden, x);
}

/* Rows that no token fills are zeros with a scale of 0: what is computed from them is 0 again. */
static void run_rows(void *ctx, size_t begin, size_t end) {
    struct job *j = ctx;
    float *x = hc_scratch(HC_SCRATCH_C, j->hidden * sizeof *x);
    if (x == NULL) {
        atomic_store(&j->failed, true);
        return;
    }
    for (size_t row = begin; row < end; row++) {
        if (j->q->source[row] >= 0) {
            quantise_row(j, row, x);
            continue;
        }
        memset(hc_data(j->q->out) + row * j->hidden, 0, j->hidden);
        if (j->row_scales != NULL) j->row_scales[row] = 0;
    }
}

/* Numbers as float32, contiguous; nothing where there is no tensor. */
static aclnnStatus take_numbers(const aclTensor *t, const float **to, void **owned) {
    aclTensor view;
    if (t == NULL) return 0;
    HC_TRY(hc_contiguous(t, ACL_FLOAT, &view, owned));
    *to = (const float *)hc_data(&view);
    return 0;
}

aclnnStatus hc_moe_quantise(const struct hc_moe_quant *q) {
    struct job j = {.q = q,
                    .hidden = (size_t)q->x->shape[1],
                    .load = hc_load_for(q->x->dtype, HC_F32),
                    .by_expert = q->scale != NULL && q->dynamic && q->scale->shape[0] > 1};
    const size_t rows = hc_numel(q->out) / hc_max_size(j.hidden, 1);
    void *own_x = NULL, *own_scale = NULL, *own_offset = NULL, *own_rows = NULL;
    aclTensor scales;
    aclnnStatus status = 0;
    j.x = *q->x;
    if (q->x->stride[1] != 1 || hc_overlaps(q->x, q->out))
        status = hc_contiguous_apart(q->x, q->x->dtype, q->out, &j.x, &own_x);
    if (status == 0) status = take_numbers(q->scale, &j.scale, &own_scale);
    if (status == 0) status = take_numbers(q->dynamic ? NULL : q->offset, &j.offset, &own_offset);
    if (status == 0 && q->dynamic) {
        status = hc_contiguous_out(q->row_scales, ACL_FLOAT, &scales, &own_rows);
        j.row_scales = (float *)hc_data(&scales);
    }
    if (status == 0) {
        hc_parallel_for(rows, hc_max_size(16384 / hc_max_size(j.hidden, 1), 1), run_rows, &j);
        if (atomic_load(&j.failed))
            status = hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for rows of %zu elements", q->name,
                             j.hidden);
    }
    if (status == 0 && own_rows != NULL) status = hc_copy(q->row_scales, &scales);
    hc_block_give(own_x);
    hc_block_give(own_scale);
    hc_block_give(own_offset);
    hc_block_give(own_rows);
    return status;
}
