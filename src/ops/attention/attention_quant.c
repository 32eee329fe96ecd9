// SPDX-License-Identifier: Apache-2.0
/* The run of attention_quant.h. Scales are few numbers: they are read once, when the run starts. */
#include "attention_quant.h"

#include <string.h>

#include "long_loop.h"
#include "quant.h"
#include "quant_param.h"
#include "temporary.h"

struct attn_quant {
    float weights, sums; /* before the product of weights and values, and behind it; 0: there is none */
    const float *out_scale, *offset; /* NULL: the output is not quantised; 0 */
    void *owned_scale, *owned_offset;
    struct hc_quant_target weight, out;
    struct attn_view queries; /* factors of rows of queries; without data: there are none */
};

/* One number; of 64 bits it is the lower half of a parameter of quantised products. */
static float number_of(const aclTensor *t) {
    uint64_t bits;
    float value;
    if (t->dtype == ACL_UINT64 || t->dtype == ACL_INT64) {
        memcpy(&bits, hc_data(t), sizeof bits);
        return hc_quant_param_scale(bits);
    }
    hc_load_for(t->dtype, HC_F32)(1, &value, hc_data(t), 1);
    return value;
}

static aclnnStatus floats(const aclTensor *t, const float **data, void **owned) {
    aclTensor view;
    if (t == NULL) return 0;
    HC_TRY(hc_contiguous(t, ACL_FLOAT, &view, owned));
    *data = (const float *)hc_data(&view);
    return 0;
}

static struct hc_quant_target target_of(aclDataType dtype) {
    switch (dtype) {
    case ACL_FLOAT8_E4M3FN: return hc_quant_target_of(HC_QUANT_F8E4M3);
    case ACL_FLOAT8_E5M2: return hc_quant_target_of(HC_QUANT_F8E5M2);
    case ACL_HIFLOAT8: return hc_quant_target_of(HC_QUANT_HIF8);
    default: return hc_quant_target_of(HC_QUANT_I8);
    }
}

/* The query's axes without its elements; where heads share a dimension with those, heads have it here. */
static struct attn_view query_factors(const struct attn_args *a, const aclTensor *t) {
    if (t == NULL) return (struct attn_view){0};
    const struct attn_axes x = attn_axes(a->layout == LAYOUT_BSH ? LAYOUT_BSND : a->layout);
    return (struct attn_view){.data = hc_data(t),
                              .item_size = t->item_size,
                              .load = hc_load_for(t->dtype, HC_F32),
                              .b = x.b < 0 ? 0 : t->stride[x.b],
                              .n = t->stride[x.n],
                              .s = t->stride[x.s]};
}

aclnnStatus attn_quant_init(struct attn_job *job) {
    const aclTensor *scores = hc_arg(job->call, SLOT_SCORE_SCALE), *out = hc_arg(job->call, SLOT_OUT_SCALE),
                    *queries = hc_arg(job->call, SLOT_Q_SCALE);
    if (scores == NULL && out == NULL && queries == NULL) return 0;
    struct attn_quant *q = hc_block_take_zeroed(1, sizeof *q);
    HC_CHECK(q != NULL, ACLNN_ERR_INNER, "%s: out of host memory", job->a->name);
    job->quant = q;
    q->weight = hc_quant_target_of(HC_QUANT_I8);
    q->out = target_of(hc_arg(job->call, SLOT_OUT)->dtype);
    q->queries = query_factors(job->a, queries);
    if (scores != NULL) {
        job->scale = (float)(job->a->scale * (double)number_of(scores));
        q->weights = number_of(hc_arg(job->call, SLOT_WEIGHT_SCALE));
        q->sums = number_of(hc_arg(job->call, SLOT_SUM_SCALE));
    }
    HC_TRY(floats(out, &q->out_scale, &q->owned_scale));
    return floats(hc_arg(job->call, SLOT_OUT_OFFSET), &q->offset, &q->owned_offset);
}

void attn_quant_free(struct attn_job *job) {
    if (job->quant == NULL) return;
    hc_block_give(job->quant->owned_scale);
    hc_block_give(job->quant->owned_offset);
    hc_block_give(job->quant);
}

void attn_scale_queries(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t at,
                        size_t rows, float *tile) {
    const struct attn_quant *q = job->quant;
    if (q == NULL || q->queries.data == NULL) return;
    for (size_t r = 0; r < rows; r++) {
        float factor;
        q->queries.load(1, &factor, attn_address(&q->queries, batch, head, batch->q0 + at + r), 1);
        HC_DISPATCH(attn_scale_row)(job->a->d - job->a->d_rope, tile + r * job->ld, factor);
    }
}

void attn_quantise_weights(const struct attn_job *job, size_t n, float *weights) {
    const struct attn_quant *q = job->quant;
    if (q == NULL || hc_arg(job->call, SLOT_WEIGHT_SCALE) == NULL) return;
    const struct hc_quant_affine by = {.scale = &q->weights, .target = q->weight};
    HC_DISPATCH(hc_quant_affine)(n, weights, weights, &by);
}

void attn_quantise_output(const struct attn_job *job, size_t head, float *row) {
    const struct attn_quant *q = job->quant;
    if (q == NULL) return;
    const size_t d = job->a->dv, first = job->a->out_each ? head * d : 0;
    if (hc_arg(job->call, SLOT_SUM_SCALE) != NULL) HC_DISPATCH(attn_scale_row)(d, row, q->sums);
    if (q->out_scale == NULL) return;
    const struct hc_quant_affine by = {.scale = q->out_scale + first,
                                       .offset = q->offset != NULL ? q->offset + first : NULL,
                                       .scale_each = job->a->out_each,
                                       .offset_each = job->a->out_each,
                                       .target = q->out};
    HC_DISPATCH(hc_quant_affine)(d, row, row, &by);
}

/* Every row of a head is the same. */
struct zeros {
    const struct attn_job *job;
    const float *rows; /* of each head in turn */
    size_t positions;
};

static void store_zeros(void *ctx, size_t begin, size_t end) {
    const struct zeros *z = ctx;
    const struct attn_args *a = z->job->a;
    for (size_t i = begin; i < end; i++) {
        const struct attn_batch batch = {.index = i / a->heads / z->positions};
        const size_t head = i % a->heads;
        attn_store_row(&z->job->out, &batch, head, i / a->heads % z->positions, a->dv,
                       z->rows + head * a->dv);
    }
}

aclnnStatus attn_quantise_zeros(const struct attn_job *job, const aclTensor *out) {
    const struct attn_args *a = job->a;
    const struct attn_axes x = attn_axes(a->out_layout);
    float *rows = hc_block_take_zeroed(hc_max_size(a->heads * a->dv, 1), sizeof *rows);
    HC_CHECK(rows != NULL, ACLNN_ERR_INNER, "%s: out of host memory for a row of %zu heads", a->name,
             a->heads);
    for (size_t head = 0; head < a->heads; head++) attn_quantise_output(job, head, rows + head * a->dv);
    struct zeros z = {job, rows, (size_t)out->shape[x.s]};
    hc_parallel_for((x.b < 0 ? 1 : a->batches) * z.positions * a->heads, 64, store_zeros, &z);
    hc_block_give(rows);
    return 0;
}
