// SPDX-License-Identifier: Apache-2.0
/* Rotary embedding of the heads of queries and keys by position number, from a cache with one row per
 * position: cosines, then sines, of rotaryDim / 2 angles. The first rotaryDim elements of each head turn, the
 * rest stays.
 *
 * With positions [3, tokens] (time, height, width of a multimodal token) each angle follows one of the three:
 * mropeSection says how many follow each, one section after the other (cacheMode 0), or in turn (cacheMode 1:
 * angle j follows number j % 3 while there are such, then the first), as vLLM's MRotaryEmbedding has them.
 *
 * The angles of every token are written out as a table, half a head wide at most, and rotary_forward turns
 * the heads with it. */
#include "index_load.h"
#include "long_loop.h"
#include "rotary.h"

enum { AXES = 3 };

/* `sections`: ends of the sections in angles; 0 where positions are one number. */
struct args {
    int64_t head;
    int mode, cache_mode;
    int64_t sections[AXES];
};

/* Which of the three numbers an angle follows. */
static int64_t axis_of(const struct args *a, int64_t angle) {
    if (a->cache_mode == 0) return angle < a->sections[0] ? 0 : angle < a->sections[1] ? 1 : 2;
    const int64_t axis = angle % AXES, of_axis = a->sections[2] - a->sections[1];
    return axis > 0 && angle >= AXES * of_axis ? 0 : axis;
}

struct tables {
    const struct args *a;
    const aclTensor *cache;
    const int64_t *positions; /* [axes][tokens] */
    int64_t tokens, angles;
    bool three;
    float *cos, *sin; /* [tokens][2 * angles] */
};

/* Both elements of a pair have the pair's angle: halves repeat the angles, neighbours double them. */
static void write_angles(void *ctx, size_t begin, size_t end) {
    const struct tables *t = ctx;
    const int64_t *step = t->cache->stride, n = t->angles;
    hc_load_fn *load = hc_load_for(t->cache->dtype, HC_F32);
    for (int64_t token = (int64_t)begin; token < (int64_t)end; token++) {
        float *cos = t->cos + token * 2 * n, *sin = t->sin + token * 2 * n;
        for (int64_t j = 0; j < n; j++) {
            const int64_t axis = t->three ? axis_of(t->a, j) : 0;
            const char *row = (const char *)hc_data(t->cache) +
                              t->positions[axis * t->tokens + token] * step[0] * t->cache->item_size;
            const bool halves = t->a->mode == ROTARY_HALF;
            const int64_t first = halves ? j : 2 * j, second = halves ? j + n : 2 * j + 1;
            load(1, &cos[first], row + j * step[1] * t->cache->item_size, 1);
            load(1, &sin[first], row + (j + n) * step[1] * t->cache->item_size, 1);
            cos[second] = cos[first];
            sin[second] = sin[first];
        }
    }
}

/* [tokens, heads * head] or [tokens, heads, head] as the latter. */
static aclTensor as_heads(const aclTensor *t, int64_t head) {
    aclTensor view = *t;
    if (t->rank == 3) return view;
    view.rank = 3;
    view.shape[1] = t->shape[1] / head, view.shape[2] = head;
    view.stride[1] = head * t->stride[1], view.stride[2] = t->stride[1];
    return view;
}

/* Operands: positions, query, key, cache, query out, key out. */
static aclnnStatus turn_heads(const struct hc_call *call, const float *cos, const float *sin, int64_t tokens,
                              int64_t width) {
    const struct args *a = call->args;
    const int64_t shape[] = {tokens, 1, width};
    const aclTensor c = hc_tensor_view(ACL_FLOAT, shape, 3, (void *)cos),
                    s = hc_tensor_view(ACL_FLOAT, shape, 3, (void *)sin);
    for (int i = 1; i <= 2; i++) {
        const aclTensor x = as_heads(hc_arg(call, i), a->head), y = as_heads(hc_arg(call, i + 3), a->head);
        HC_TRY(rotary_forward(&x, &c, &s, &y, a->mode));
    }
    return 0;
}

static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *positions = hc_arg(call, 0), *cache = hc_arg(call, 3);
    const int64_t tokens = positions->shape[positions->rank - 1], width = cache->shape[1];
    struct hc_index index;
    HC_TRY(hc_index_copy(call->name, "positions", positions, cache->shape[0], false, &index));
    float *cos = hc_block_take_array((size_t)tokens, 2 * (size_t)width * sizeof(float));
    aclnnStatus status = 0;
    if (cos == NULL) {
        status = hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for the angles of %lld tokens", call->name,
                         (long long)tokens);
    } else {
        struct tables t = {.a = a,
                           .cache = cache,
                           .positions = (const int64_t *)hc_data(&index.view),
                           .tokens = tokens,
                           .angles = width / 2,
                           .three = positions->rank == 2,
                           .cos = cos,
                           .sin = cos + tokens * width};
        hc_parallel_for((size_t)tokens, 16, write_angles, &t);
        status = turn_heads(call, t.cos, t.sin, tokens, width);
    }
    hc_block_give(cos);
    hc_block_give(index.owned);
    return status;
}

/* Queries or keys: whole heads for each token, and an output like them. */
static aclnnStatus check_heads(const char *name, const char *what, const aclTensor *x, const aclTensor *out,
                               int64_t tokens, int64_t head) {
    const bool fits = x->rank == 2 ? x->shape[1] % head == 0 : x->rank == 3 && x->shape[2] == head;
    HC_CHECK(fits && x->shape[0] == tokens, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted [%lld, heads * %lld] or [%lld, heads, %lld]", name, what, HC_SHOW(x),
             (long long)tokens, (long long)head, (long long)tokens, (long long)head);
    HC_CHECK(hc_same_shape(x, out), ACLNN_ERR_PARAM_INVALID, "%s: the output of %s is %s, wanted %s", name,
             what, HC_SHOW(out), HC_SHOW(x));
    return 0;
}

/* Sections count angles: together all of the cache's. In turn, the second and the third get equally many:
 * what is published about other counts disagrees. */
static aclnnStatus set_sections(const char *name, const aclIntArray *sections, int64_t angles,
                                struct args *a) {
    HC_CHECK(sections != NULL && sections->size == AXES, ACLNN_ERR_PARAM_INVALID,
             "%s: mropeSection has %zu numbers, positions of three rows want 3", name,
             sections ? sections->size : 0);
    const int64_t *n = sections->data;
    int64_t left = angles;
    for (int i = 0; i < AXES; i++) {
        HC_CHECK(n[i] >= 0 && n[i] <= left, ACLNN_ERR_PARAM_INVALID,
                 "%s: mropeSection is [%lld, %lld, %lld], the cache has %lld angles", name, (long long)n[0],
                 (long long)n[1], (long long)n[2], (long long)angles);
        left -= n[i];
        a->sections[i] = angles - left;
    }
    HC_CHECK(left == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: mropeSection is [%lld, %lld, %lld], together not the cache's %lld angles", name,
             (long long)n[0], (long long)n[1], (long long)n[2], (long long)angles);
    HC_CHECK(a->cache_mode == 0 || n[1] == n[2], ACLNN_ERR_PARAM_INVALID,
             "%s: mropeSection is [%lld, %lld, %lld], cacheMode 1 wants the last two equal", name,
             (long long)n[0], (long long)n[1], (long long)n[2]);
    return 0;
}

struct inputs {
    const char *name;
    const aclTensor *positions, *query, *key, *cache;
    const aclIntArray *sections;
    int64_t head;
    bool halves;
    int64_t cache_mode;
    aclTensor *query_out, *key_out;
};

static aclnnStatus check_tensors(const struct inputs *in) {
    const struct {
        const aclTensor *t;
        const char *name;
    } all[] = {{in->positions, "positions"}, {in->query, "queryIn"},      {in->key, "keyIn"},
               {in->cache, "cosSinCache"},   {in->query_out, "queryOut"}, {in->key_out, "keyOut"}};
    for (size_t i = 0; i < HC_ARRAY_SIZE(all); i++)
        HC_CHECK(all[i].t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", in->name, all[i].name);
    for (size_t i = 1; i < HC_ARRAY_SIZE(all); i++)
        HC_CHECK(hc_fits_f32(all[i].t->dtype), ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is %s, wanted float32, float16 or bfloat16", in->name, all[i].name,
                 HC_SHOW(all[i].t));
    HC_TRY(hc_index_check_dtype(in->name, "positions", in->positions));
    const int32_t rank = in->positions->rank;
    HC_CHECK(rank == 1 || (rank == 2 && in->positions->shape[0] == AXES), ACLNN_ERR_PARAM_INVALID,
             "%s: positions is %s, wanted [tokens] or [3, tokens]", in->name, HC_SHOW(in->positions));
    return 0;
}

static aclnnStatus plan(const struct inputs *in, uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_TRY(check_tensors(in));
    const aclTensor *cache = in->cache;
    const int64_t tokens = in->positions->shape[in->positions->rank - 1];
    HC_CHECK(in->head > 0, ACLNN_ERR_PARAM_INVALID, "%s: headSize is %lld, wanted more than 0", in->name,
             (long long)in->head);
    HC_CHECK(cache->rank == 2 && cache->shape[1] % 2 == 0 && cache->shape[1] <= in->head,
             ACLNN_ERR_PARAM_INVALID,
             "%s: cosSinCache is %s, wanted [positions, an even number up to headSize %lld]", in->name,
             HC_SHOW(cache), (long long)in->head);
    HC_CHECK(in->cache_mode == 0 || in->cache_mode == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: cacheMode is %lld, wanted 0 (sections one after the other) or 1 (in turn)", in->name,
             (long long)in->cache_mode);
    HC_TRY(check_heads(in->name, "queryIn", in->query, in->query_out, tokens, in->head));
    HC_TRY(check_heads(in->name, "keyIn", in->key, in->key_out, tokens, in->head));
    struct args args = {.head = in->head,
                        .mode = in->halves ? ROTARY_HALF : ROTARY_INTERLEAVE,
                        .cache_mode = (int)in->cache_mode};
    if (in->positions->rank == 2) HC_TRY(set_sections(in->name, in->sections, cache->shape[1] / 2, &args));
    return HC_PLAN(in->name, run, &args, HC_IN(in->positions), HC_IN(in->query), HC_IN(in->key), HC_IN(cache),
                   HC_OUT(in->query_out), HC_OUT(in->key_out));
}

/* torch_npu.npu_mrope(positions, query, key, cos_sin_cache, head_size, mrope_section=, rotary_mode=). */
HC_API aclnnStatus aclnnRopeWithSinCosCacheGetWorkspaceSize(
    const aclTensor *positions, const aclTensor *queryIn, const aclTensor *keyIn,
    const aclTensor *cosSinCache, const aclIntArray *mropeSection, int64_t headSize, bool isNeoxStyle,
    aclTensor *queryOut, aclTensor *keyOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan(&(const struct inputs){"aclnnRopeWithSinCosCache", positions, queryIn, keyIn, cosSinCache,
                                       mropeSection, headSize, isNeoxStyle, 0, queryOut, keyOut},
                workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnRopeWithSinCosCache)

/* The same with cache_mode=. */
HC_API aclnnStatus aclnnRopeWithSinCosCacheV2GetWorkspaceSize(
    const aclTensor *positions, const aclTensor *queryIn, const aclTensor *keyIn,
    const aclTensor *cosSinCache, const aclIntArray *mropeSection, int64_t headSize, bool isNeoxStyle,
    int64_t cacheMode, aclTensor *queryOut, aclTensor *keyOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    return plan(&(const struct inputs){"aclnnRopeWithSinCosCacheV2", positions, queryIn, keyIn, cosSinCache,
                                       mropeSection, headSize, isNeoxStyle, cacheMode, queryOut, keyOut},
                workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnRopeWithSinCosCacheV2)
