// SPDX-License-Identifier: Apache-2.0
/* The compressed keys and values of latent attention (DeepSeek-V2, arXiv 2405.04434) made ready and put into
 * their caches: kv is [B, 1, S, D] and holds behind each other what is normalised (gamma's length) and what
 * is rotated (the angles' length). Pairs that are rotated lie beside each other in kv and in halves in the
 * cache.
 *
 * With v (V2) all of kv is the key: normalised, its front rotated; the second cache gets v as it is.
 *
 *   cacheMode      cache                            index
 *   Norm           [B, 1, L, D]                     [B, S], the place within the batch's row
 *   PA, PA_BNSD    [blocks, block size, 1, D]       [B * S], the slot of each token
 *   PA_NZ          the same elements as [blocks, D / d, block size, d] with d elements in 32 bytes
 *   PA_BLK_BNSD, PA_BLK_NZ   as above               [B * pages], the first slot of each page of a sequence
 *
 * int8 caches hold round(value * scale + offset). */
#include <string.h>

#include "norm_rope.h"

/* A run of the layout *_NZ, whatever the type: 16 halves, 32 bytes. */
enum { RUN_BYTES = 32 };
enum mode { NORM, PAGED, PAGED_RUNS };

struct args {
    double epsilon;
    enum mode mode;
    bool by_page, output;
    int64_t batch, tokens, size, normal, rotated; /* of S and D */
};

/* Operands in the order of the plan. */
enum {
    KV,
    GAMMA,
    COS,
    SIN,
    INDEX,
    K_CACHE,
    V_CACHE,
    K_SCALE,
    V_SCALE,
    K_OFFSET,
    V_OFFSET,
    VALUE,
    K_OUT,
    V_OUT
};

static const char *const MODES[] = {"Norm", "PA", "PA_BNSD", "PA_NZ", "PA_BLK_BNSD", "PA_BLK_NZ"};

/* null and "" are the interface's default, Norm. */
static aclnnStatus parse_mode(const char *name, const char *text, struct args *args) {
    size_t i = 0;
    if (text != NULL && *text != '\0')
        while (i < HC_ARRAY_SIZE(MODES) && strcmp(text, MODES[i]) != 0) i++;
    HC_CHECK(i < HC_ARRAY_SIZE(MODES), ACLNN_ERR_PARAM_INVALID,
             "%s: cacheModeOptional is \"%s\", wanted Norm, PA, PA_BNSD, PA_NZ, PA_BLK_BNSD or PA_BLK_NZ",
             name, text);
    args->mode = i == 0 ? NORM : strstr(MODES[i], "NZ") != NULL ? PAGED_RUNS : PAGED;
    args->by_page = strstr(MODES[i], "BLK") != NULL;
    return 0;
}

/* Norm has a row of the cache for each batch, the others a page for each block; both are blocks of places.
 * Only the runs of *_NZ are not what the tensor's own strides say. */
static struct hc_cache_place place_in(const struct args *a, const aclTensor *t) {
    const int64_t *n = t->shape, *s = t->stride;
    if (a->mode == NORM) return (struct hc_cache_place){t, n[0], n[2], s[0], s[2], n[3], 0, s[3]};
    if (a->mode == PAGED) return (struct hc_cache_place){t, n[0], n[1], s[0], s[1], n[3], 0, s[3]};
    const int64_t run = RUN_BYTES / t->item_size;
    return (struct hc_cache_place){t, n[0], n[1], n[1] * n[3], run, run, n[1] * run, 1};
}

/* The slot of every token of the cache; below 0 where the caller gave none. */
static const int64_t *read_slots(struct hc_plain *p, const struct args *a, const aclTensor *index,
                                 const struct hc_cache_place *to) {
    const int64_t page = to->block_size, pages = hc_max_i64(1, (a->tokens + page - 1) / hc_max_i64(page, 1));
    const int64_t bound = a->mode == NORM ? page : to->blocks * page;
    const int64_t *given = hc_plain_index(p, "index", index, INT64_MIN, hc_max_i64(bound, 0));
    int64_t *slot = hc_plain_take(p, (size_t)(a->batch * a->tokens), sizeof *slot);
    if (given == NULL || slot == NULL) return NULL;
    for (int64_t i = 0; i < a->batch * a->tokens; i++) {
        const int64_t b = i / a->tokens, t = i % a->tokens;
        const int64_t at = given[a->by_page ? b * pages + t / page : i];
        if (at < 0) slot[i] = -1;
        else if (a->by_page) slot[i] = at / page * page + t % page;
        else slot[i] = a->mode == NORM ? b * page + at : at;
    }
    return slot;
}

/* Rows [B * S, D] into one of the caches. Slots are read for each cache anew: they were checked against that
 * one. */
static aclnnStatus write(const struct hc_call *call, struct hc_plain *p, int cache, const float *rows) {
    const struct args *a = call->args;
    const aclTensor *t = hc_arg(call, cache);
    const bool first = cache == K_CACHE;
    const struct hc_cache_place to = place_in(a, t);
    const struct hc_cache_rows c = {.op = call->name,
                                    .to = to,
                                    .rows = rows,
                                    .slot = read_slots(p, a, hc_arg(call, INDEX), &to),
                                    .tokens = (size_t)(a->batch * a->tokens),
                                    .width = (size_t)t->shape[3],
                                    .scale = hc_plain_in(p, hc_arg(call, first ? K_SCALE : V_SCALE)),
                                    .offset = hc_plain_in(p, hc_arg(call, first ? K_OFFSET : V_OFFSET)),
                                    .rounds = t->dtype == ACL_INT8};
    return p->status != 0 ? p->status : hc_cache_rows_write(&c);
}

/* Rows that nobody else wants are this run's own. */
static float *rows_of(const struct hc_call *call, struct hc_plain *p, int out, int64_t width) {
    const struct args *a = call->args;
    if (a->output) return hc_plain_out(p, hc_arg(call, out));
    return hc_plain_take(p, (size_t)(a->batch * a->tokens * width), sizeof(float));
}

/* Without v the two parts of kv are two calls over the same rows; with it one call makes the whole key, and
 * the values pass through. */
static aclnnStatus fill(const struct hc_call *call, struct hc_plain *p) {
    const struct args *a = call->args;
    const bool whole = hc_arg(call, VALUE) != NULL;
    const float *kv = hc_plain_in(p, hc_arg(call, KV)), *v = hc_plain_in(p, hc_arg(call, VALUE));
    struct hc_norm_rope norm = {.x = kv,
                                .x_token = a->size,
                                .tokens = (size_t)(a->batch * a->tokens),
                                .heads = 1,
                                .size = (size_t)a->normal,
                                .gamma = hc_plain_in(p, hc_arg(call, GAMMA)),
                                .epsilon = a->epsilon};
    struct hc_norm_rope rope = norm;
    rope.cos = hc_plain_in(p, hc_arg(call, COS)), rope.sin = hc_plain_in(p, hc_arg(call, SIN));
    rope.angle_token = a->rotated, rope.angle_repeat = 1;
    rope.rotated = (size_t)a->rotated, rope.interleaved = true;
    const int64_t keys = whole ? a->size : a->rotated;
    float *key = rows_of(call, p, K_OUT, keys);
    float *value = whole && !a->output
                       ? NULL
                       : rows_of(call, p, V_OUT, whole ? hc_arg(call, VALUE)->shape[3] : a->normal);
    if (p->status != 0) return p->status;
    rope.y = key, norm.y = value;
    if (!whole) rope.x = kv + a->normal, rope.gamma = NULL, rope.size = (size_t)a->rotated;
    hc_norm_rope_run(&rope);
    if (!whole) hc_norm_rope_run(&norm);
    else if (value != NULL) memcpy(value, v, hc_numel(hc_arg(call, VALUE)) * sizeof *v);
    HC_TRY(write(call, p, K_CACHE, key));
    return write(call, p, V_CACHE, whole ? v : value);
}

static aclnnStatus run(const struct hc_call *call) {
    struct hc_plain p = hc_plain_open(call->name);
    return hc_plain_close(&p, fill(call, &p));
}

/* The arguments of both versions, in the words of this file: k is the rotated cache, v the other one. */
struct inputs {
    const char *name;
    const aclTensor *kv, *gamma, *cos, *sin, *index;
    aclTensor *k_cache, *v_cache;
    const aclTensor *k_scale, *v_scale, *k_offset, *v_offset, *v;
    double epsilon;
    const char *mode;
    bool output;
    const aclTensor *k_out, *v_out;
};

/* A cache of rows of `width`, with the numbers that quantise it. */
static aclnnStatus check_cache(const struct inputs *in, const struct args *a, const char *arg,
                               const aclTensor *t, const aclTensor *scale, const aclTensor *offset,
                               int64_t width) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", in->name, arg);
    const bool quant = t->dtype == ACL_INT8;
    HC_CHECK(t->rank == 4 && t->shape[3] == width && t->shape[a->mode == NORM ? 1 : 2] == 1 &&
                 (a->mode != NORM || t->shape[0] == a->batch) && (quant || hc_fits_f32(t->dtype)),
             ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted %s of %lld elements, floats or int8", in->name,
             arg, HC_SHOW(t), a->mode == NORM ? "[batch, 1, length, D]" : "[blocks, block size, 1, D]",
             (long long)width);
    HC_CHECK(a->mode != PAGED_RUNS || (width % (RUN_BYTES / t->item_size) == 0 && hc_is_contiguous(t)),
             ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s: cacheMode *_NZ is runs of %d bytes of a contiguous cache", in->name, arg,
             HC_SHOW(t), RUN_BYTES);
    HC_CHECK(quant || scale == NULL, ACLNN_ERR_PARAM_INVALID, "%s: %s is %s: scales are for int8", in->name,
             arg, HC_SHOW(t));
    HC_CHECK(!quant || scale != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: the scale of %s, which is int8, is null",
             in->name, arg);
    HC_CHECK(offset == NULL || scale != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s has an offset and no scale",
             in->name, arg);
    if (scale != NULL) HC_TRY(HC_PLAIN_CHECK(in->name, "scale", scale, width));
    if (offset != NULL) HC_TRY(HC_PLAIN_CHECK(in->name, "offset", offset, width));
    return 0;
}

/* Only the number of indices is known now; their values are checked when they are read. */
static aclnnStatus check_index(const struct inputs *in, const struct args *a) {
    const int64_t page = in->k_cache->shape[a->mode == NORM ? 2 : 1];
    HC_CHECK(in->v_cache->shape[0] == in->k_cache->shape[0] &&
                 in->v_cache->shape[a->mode == NORM ? 2 : 1] == page,
             ACLNN_ERR_PARAM_INVALID, "%s: ckvCacheRef is %s, kCacheRef %s: wanted as many slots", in->name,
             HC_SHOW(in->v_cache), HC_SHOW(in->k_cache));
    const int64_t pages = page > 0 ? (a->tokens + page - 1) / page : 0;
    const int64_t wanted = a->batch * (a->by_page ? pages : a->tokens);
    HC_CHECK(in->index != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: index is null", in->name);
    HC_TRY(hc_index_check_dtype(in->name, "index", in->index));
    HC_CHECK(in->index->numel == wanted, ACLNN_ERR_PARAM_INVALID, "%s: index is %s, wanted %lld elements",
             in->name, HC_SHOW(in->index), (long long)wanted);
    return 0;
}

/* kv says B, S and its size; gamma and cos how it is divided; v whether it is. */
static aclnnStatus check(const struct inputs *in, struct args *a) {
    HC_TRY(parse_mode(in->name, in->mode, a));
    HC_TRY(HC_PLAIN_CHECK(in->name, "kv", in->kv, -1, 1, -1, -1));
    HC_TRY(HC_PLAIN_CHECK(in->name, "gamma", in->gamma, -1));
    a->batch = in->kv->shape[0], a->tokens = in->kv->shape[2], a->size = in->kv->shape[3];
    a->normal = in->gamma->shape[0];
    HC_TRY(HC_PLAIN_CHECK(in->name, "cos", in->cos, a->batch, 1, a->tokens, -1));
    a->rotated = in->cos->shape[3];
    HC_TRY(HC_PLAIN_CHECK(in->name, "sin", in->sin, a->batch, 1, a->tokens, a->rotated));
    const bool whole = in->v != NULL;
    HC_CHECK(a->rotated % 2 == 0 && a->rotated <= a->size &&
                 a->size == (whole ? a->normal : a->normal + a->rotated),
             ACLNN_ERR_PARAM_INVALID,
             "%s: kv is %s, gamma %s, cos %s: wanted %s elements and an even number of angles", in->name,
             HC_SHOW(in->kv), HC_SHOW(in->gamma), HC_SHOW(in->cos),
             whole ? "gamma's" : "gamma's and cos' together as");
    if (whole) HC_TRY(HC_PLAIN_CHECK(in->name, "vOptional", in->v, a->batch, 1, a->tokens, -1));
    const int64_t keys = whole ? a->size : a->rotated, values = whole ? in->v->shape[3] : a->normal;
    HC_TRY(check_cache(in, a, "kCacheRef", in->k_cache, in->k_scale, in->k_offset, keys));
    HC_TRY(check_cache(in, a, "ckvCacheRef", in->v_cache, in->v_scale, in->v_offset, values));
    if (a->output) {
        HC_TRY(HC_PLAIN_CHECK(in->name, "kRopeOut", in->k_out, a->batch, 1, a->tokens, keys));
        HC_TRY(HC_PLAIN_CHECK(in->name, "cKvOut", in->v_out, a->batch, 1, a->tokens, values));
    }
    return check_index(in, a);
}

/* Outputs that are not asked for are no operands: their memory may be anything. */
static aclnnStatus plan(const struct inputs *in, uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args args = {.epsilon = in->epsilon, .output = in->output};
    HC_TRY(check(in, &args));
    const aclTensor *k_out = in->output ? in->k_out : NULL, *v_out = in->output ? in->v_out : NULL;
    return HC_PLAN(in->name, run, &args, HC_IN(in->kv), HC_IN(in->gamma), HC_IN(in->cos), HC_IN(in->sin),
                   HC_IN(in->index), HC_INOUT(in->k_cache), HC_INOUT(in->v_cache), HC_IN_OPT(in->k_scale),
                   HC_IN_OPT(in->v_scale), HC_IN_OPT(in->k_offset), HC_IN_OPT(in->v_offset), HC_IN_OPT(in->v),
                   HC_OUT_OPT(k_out), HC_OUT_OPT(v_out));
}

/* torch_npu.npu_kv_rmsnorm_rope_cache(kv, gamma, cos, sin, index, k_cache, ckv_cache): the outputs hold what
 * was cached before it was quantised, and are written only where isOutputKv asks for them. */
HC_API aclnnStatus aclnnKvRmsNormRopeCacheGetWorkspaceSize(
    const aclTensor *kv, const aclTensor *gamma, const aclTensor *cos, const aclTensor *sin,
    const aclTensor *index, aclTensor *kCacheRef, aclTensor *ckvCacheRef, const aclTensor *kRopeScaleOptional,
    const aclTensor *cKvScaleOptional, const aclTensor *kRopeOffsetOptional,
    const aclTensor *cKvOffsetOptional, double epsilon, char *cacheModeOptional, bool isOutputKv,
    const aclTensor *kRopeOut, const aclTensor *cKvOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan(&(const struct inputs){"aclnnKvRmsNormRopeCache", kv, gamma, cos, sin, index, kCacheRef,
                                       ckvCacheRef, kRopeScaleOptional, cKvScaleOptional, kRopeOffsetOptional,
                                       cKvOffsetOptional, NULL, epsilon, cacheModeOptional, isOutputKv,
                                       kRopeOut, cKvOut},
                workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnKvRmsNormRopeCache)

/* The same with v, which torch_npu passes only where it is given. */
HC_API aclnnStatus aclnnKvRmsNormRopeCacheV2GetWorkspaceSize(
    const aclTensor *kv, const aclTensor *gamma, const aclTensor *cos, const aclTensor *sin,
    const aclTensor *index, aclTensor *kCacheRef, aclTensor *ckvCacheRef, const aclTensor *kRopeScaleOptional,
    const aclTensor *cKvScaleOptional, const aclTensor *kRopeOffsetOptional,
    const aclTensor *cKvOffsetOptional, const aclTensor *vOptional, double epsilon, char *cacheModeOptional,
    bool isOutputKv, const aclTensor *kRopeOut, const aclTensor *cKvOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    return plan(&(const struct inputs){"aclnnKvRmsNormRopeCacheV2", kv, gamma, cos, sin, index, kCacheRef,
                                       ckvCacheRef, kRopeScaleOptional, cKvScaleOptional, kRopeOffsetOptional,
                                       cKvOffsetOptional, vOptional, epsilon, cacheModeOptional, isOutputKv,
                                       kRopeOut, cKvOut},
                workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnKvRmsNormRopeCacheV2)
