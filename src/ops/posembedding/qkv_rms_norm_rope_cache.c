// SPDX-License-Identifier: Apache-2.0
/* Queries, keys and values of one projection, [B * S, (Nq + Nk + Nv) * D], made ready for attention over a
 * paged cache: queries and keys are normalised per head and rotated in halves, values stay; queries go to
 * qOut, keys and values to their slots. Caches are in the layout PA_NZ: [blocks, heads * D / d, block size,
 * d]. int8 caches hold round(value / scale + offset), with numbers of their own for every head. */
#include <string.h>

#include "norm_rope.h"

static const char NAME[] = "aclnnQkvRmsNormRopeCache";

struct args {
    double epsilon;
    int64_t batch, sequence, size, heads[3], angle_rows, angle_heads;
};

/* Operands in the order of the plan. */
enum {
    QKV,
    Q_GAMMA,
    K_GAMMA,
    COS,
    SIN,
    INDEX,
    Q_OUT,
    K_CACHE,
    V_CACHE,
    K_SCALE,
    V_SCALE,
    K_OFFSET,
    V_OFFSET,
    Q_BEFORE,
    K_BEFORE,
    V_BEFORE
};

/* The layout is in the cache's own shape here, so its strides may be any. */
static struct hc_cache_place place_in(const aclTensor *t) {
    const int64_t *n = t->shape, *s = t->stride;
    return (struct hc_cache_place){t, n[0], n[2], s[0], s[2], n[3], s[1], s[3]};
}

/* Part 0, 1 or 2 of the projection into rows of its own. */
static void make_part(const struct args *a, const float *qkv, int part, const float *gamma, const float *cos,
                      const float *sin, float *rows) {
    int64_t before = 0, all = 0;
    for (int i = 0; i < 3; i++) {
        if (i < part) before += a->heads[i];
        all += a->heads[i];
    }
    const int64_t repeat = a->sequence > 0 && a->angle_rows == a->batch ? a->sequence : 1;
    hc_norm_rope_run(&(const struct hc_norm_rope){
        .x = qkv + before * a->size,
        .x_token = all * a->size,
        .x_head = a->size,
        .y = rows,
        .tokens = (size_t)(a->batch * a->sequence),
        .heads = (size_t)a->heads[part],
        .size = (size_t)a->size,
        .gamma = gamma,
        .epsilon = a->epsilon,
        .cos = cos,
        .sin = sin,
        .angle_token = a->angle_heads * a->size,
        .angle_head = a->angle_heads > 1 ? a->size : 0,
        .angle_repeat = (size_t)repeat,
        .rotated = (size_t)a->size,
    });
}

/* The caller's tensor for these rows, or memory of this run where nobody wants them. */
static float *rows_of(const struct hc_call *call, struct hc_plain *p, int out, int64_t heads) {
    const struct args *a = call->args;
    if (hc_arg(call, out) != NULL) return hc_plain_out(p, hc_arg(call, out));
    return hc_plain_take(p, (size_t)(a->batch * a->sequence * heads * a->size), sizeof(float));
}

/* Keys (part 1) or values (part 2) into their cache. */
static aclnnStatus write(const struct hc_call *call, struct hc_plain *p, int part, const float *rows) {
    const struct args *a = call->args;
    const int value = part == 2;
    const aclTensor *cache = hc_arg(call, K_CACHE + value);
    const struct hc_cache_place to = place_in(cache);
    const struct hc_cache_rows c = {
        .op = call->name,
        .to = to,
        .rows = rows,
        .slot = hc_plain_index(p, "index", hc_arg(call, INDEX), INT64_MIN, to.blocks * to.block_size),
        .tokens = (size_t)(a->batch * a->sequence),
        .width = (size_t)(a->heads[part] * a->size),
        .scale = hc_plain_in(p, hc_arg(call, K_SCALE + value)),
        .offset = hc_plain_in(p, hc_arg(call, K_OFFSET + value)),
        .divide = true,
        .rounds = cache->dtype == ACL_INT8};
    return p->status != 0 ? p->status : hc_cache_rows_write(&c);
}

/* What is called before quantisation is the very rows that are quantised; for queries, which never are, it is
 * a copy of qOut. */
static aclnnStatus fill(const struct hc_call *call, struct hc_plain *p) {
    const struct args *a = call->args;
    const float *qkv = hc_plain_in(p, hc_arg(call, QKV));
    const float *gamma[3] = {hc_plain_in(p, hc_arg(call, Q_GAMMA)), hc_plain_in(p, hc_arg(call, K_GAMMA)),
                             NULL};
    const float *cos = hc_plain_in(p, hc_arg(call, COS)), *sin = hc_plain_in(p, hc_arg(call, SIN));
    float *rows[3] = {hc_plain_out(p, hc_arg(call, Q_OUT)), rows_of(call, p, K_BEFORE, a->heads[1]),
                      rows_of(call, p, V_BEFORE, a->heads[2])};
    if (p->status != 0) return p->status;
    for (int i = 0; i < 3; i++)
        make_part(a, qkv, i, gamma[i], i < 2 ? cos : NULL, i < 2 ? sin : NULL, rows[i]);
    if (hc_arg(call, Q_BEFORE) != NULL) {
        float *copy = hc_plain_out(p, hc_arg(call, Q_BEFORE));
        if (copy != NULL) memcpy(copy, rows[0], hc_numel(hc_arg(call, Q_BEFORE)) * sizeof *copy);
    }
    HC_TRY(write(call, p, 1, rows[1]));
    return write(call, p, 2, rows[2]);
}

/* Copies of one run are given back together, also where a part fails. */
static aclnnStatus run(const struct hc_call *call) {
    struct hc_plain p = hc_plain_open(call->name);
    return hc_plain_close(&p, fill(call, &p));
}

/* qkvSize is [B, S, Nq + Nk + Nv, D], headNums [Nq, Nk, Nv]. */
static aclnnStatus check_sizes(const aclIntArray *size, const aclIntArray *heads, const char *mode,
                               struct args *a) {
    HC_CHECK(size != NULL && size->size == 4 && heads != NULL && heads->size == 3, ACLNN_ERR_PARAM_INVALID,
             "%s: qkvSize has %zu and headNums %zu elements, wanted 4 and 3", NAME, size ? size->size : 0,
             heads ? heads->size : 0);
    HC_CHECK(mode != NULL && strcmp(mode, "PA_NZ") == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: cacheModeOptional is \"%s\"; PA_NZ is supported", NAME, mode ? mode : "null");
    a->batch = size->data[0], a->sequence = size->data[1], a->size = size->data[3];
    int64_t all = 0, rows;
    for (int i = 0; i < 3; i++) {
        a->heads[i] = heads->data[i];
        HC_CHECK(a->heads[i] > 0 && a->heads[i] <= size->data[2], ACLNN_ERR_PARAM_INVALID,
                 "%s: headNums[%d] is %lld, wanted 1 to %lld", NAME, i, (long long)a->heads[i],
                 (long long)size->data[2]);
        all += a->heads[i];
    }
    HC_CHECK(all == size->data[2], ACLNN_ERR_PARAM_INVALID, "%s: headNums add up to %lld, qkvSize says %lld",
             NAME, (long long)all, (long long)size->data[2]);
    HC_CHECK(hc_shape_numel(size->data, 4, &rows) && a->size > 0 && a->size % 2 == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: qkvSize is [%lld,%lld,%lld,%lld], wanted sizes with an even head", NAME,
             (long long)a->batch, (long long)a->sequence, (long long)size->data[2], (long long)a->size);
    return 0;
}

/* The cache of part 1 or 2 and the numbers that quantise it. */
static aclnnStatus check_cache(const struct args *a, int part, const char *arg, const aclTensor *t,
                               const aclTensor *scale, const aclTensor *offset) {
    const int64_t width = a->heads[part] * a->size;
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME, arg);
    HC_CHECK(t->rank == 4 && t->shape[1] * t->shape[3] == width && t->shape[3] > 0 &&
                 a->size % t->shape[3] == 0 && (t->dtype == ACL_INT8 || hc_fits_f32(t->dtype)),
             ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted [blocks, %lld / d, block size, d], floats or int8", NAME, arg, HC_SHOW(t),
             (long long)width);
    HC_CHECK((t->dtype == ACL_INT8) == (scale != NULL) && (offset == NULL || scale != NULL),
             ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s with %s scale and %s offset: int8, and only that, has them", NAME, arg, HC_SHOW(t),
             scale ? "a" : "no", offset ? "an" : "no");
    if (scale != NULL) HC_TRY(HC_PLAIN_CHECK(NAME, "scale", scale, a->heads[part], a->size));
    if (offset != NULL) HC_TRY(HC_PLAIN_CHECK(NAME, "offset", offset, a->heads[part], a->size));
    return 0;
}

/* Angles of every token or of every sequence, for all heads or for each. */
static aclnnStatus check_angles(struct args *a, const aclTensor *cos, const aclTensor *sin) {
    HC_TRY(HC_PLAIN_CHECK(NAME, "cos", cos, -1, -1));
    HC_TRY(HC_PLAIN_CHECK(NAME, "sin", sin, cos->shape[0], cos->shape[1]));
    a->angle_rows = cos->shape[0], a->angle_heads = cos->shape[1] / a->size;
    const int64_t tokens = a->batch * a->sequence;
    const bool heads =
        a->angle_heads == 1 || (a->angle_heads == a->heads[0] && a->angle_heads == a->heads[1]);
    HC_CHECK((a->angle_rows == tokens || a->angle_rows == a->batch) && cos->shape[1] % a->size == 0 && heads,
             ACLNN_ERR_PARAM_INVALID,
             "%s: cos is %s, wanted a row for each of %lld tokens or %lld sequences, of %lld", NAME,
             HC_SHOW(cos), (long long)tokens, (long long)a->batch, (long long)a->size);
    return 0;
}

/* torch_npu.npu_qkv_rms_norm_rope_cache. */
HC_API aclnnStatus aclnnQkvRmsNormRopeCacheGetWorkspaceSize(
    const aclTensor *qkv, const aclTensor *qGamma, const aclTensor *kGamma, const aclTensor *cos,
    const aclTensor *sin, const aclTensor *index, aclTensor *qOut, aclTensor *kCache, aclTensor *vCache,
    const aclTensor *kScaleOptional, const aclTensor *vScaleOptional, const aclTensor *kOffsetOptional,
    const aclTensor *vOffsetOptional, const aclIntArray *qkvSize, const aclIntArray *headNums, double epsilon,
    char *cacheModeOptional, const aclTensor *qOutBeforeQuant, const aclTensor *kOutBeforeQuant,
    const aclTensor *vOutBeforeQuant, uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args args = {.epsilon = epsilon};
    HC_TRY(check_sizes(qkvSize, headNums, cacheModeOptional, &args));
    const int64_t tokens = args.batch * args.sequence, size = args.size, *heads = args.heads;
    HC_TRY(HC_PLAIN_CHECK(NAME, "qkv", qkv, tokens, (heads[0] + heads[1] + heads[2]) * size));
    HC_TRY(HC_PLAIN_CHECK(NAME, "qGamma", qGamma, size));
    HC_TRY(HC_PLAIN_CHECK(NAME, "kGamma", kGamma, size));
    HC_TRY(check_angles(&args, cos, sin));
    HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "index", index, tokens));
    HC_TRY(HC_PLAIN_CHECK(NAME, "qOut", qOut, tokens, heads[0] * size));
    HC_TRY(check_cache(&args, 1, "kCache", kCache, kScaleOptional, kOffsetOptional));
    HC_TRY(check_cache(&args, 2, "vCache", vCache, vScaleOptional, vOffsetOptional));
    const aclTensor *before[3] = {qOutBeforeQuant, kOutBeforeQuant, vOutBeforeQuant};
    static const char *const BEFORE[3] = {"qOutBeforeQuant", "kOutBeforeQuant", "vOutBeforeQuant"};
    for (int i = 0; i < 3; i++)
        if (before[i] != NULL) HC_TRY(HC_PLAIN_CHECK(NAME, BEFORE[i], before[i], tokens, heads[i] * size));
    return HC_PLAN(NAME, run, &args, HC_IN(qkv), HC_IN(qGamma), HC_IN(kGamma), HC_IN(cos), HC_IN(sin),
                   HC_IN(index), HC_OUT(qOut), HC_INOUT(kCache), HC_INOUT(vCache), HC_IN_OPT(kScaleOptional),
                   HC_IN_OPT(vScaleOptional), HC_IN_OPT(kOffsetOptional), HC_IN_OPT(vOffsetOptional),
                   HC_OUT_OPT(qOutBeforeQuant), HC_OUT_OPT(kOutBeforeQuant), HC_OUT_OPT(vOutBeforeQuant));
}
HC_OP_LAUNCH(aclnnQkvRmsNormRopeCache)
