// SPDX-License-Identifier: Apache-2.0
/* Phase one of the attention operators: layouts, sizes, options. Every argument that the run relies on is
 * checked here, with the value found and the value wanted; the run itself can then only fail for want of
 * memory. */
#include <string.h>
#include <strings.h>

#include "attention.h"
#include "convert.h"

const char *const ATTN_LAYOUT_NAMES[] = {"BSH", "SBH", "BNSD", "BSND", "TND", "NTD", "NBSD", "NSD"};
struct attn_axes attn_axes(enum attn_layout layout) {
    static const struct attn_axes AXES[] = {{0, -1, 1, 2}, {1, -1, 0, 2}, {0, 1, 2, 3}, {0, 2, 1, 3},
                                            {-1, 1, 0, 2}, {-1, 0, 1, 2}, {1, 0, 2, 3}, {-1, 0, 1, 2}};
    return AXES[layout];
}

/* An empty tensor counts as none. */
aclnnStatus attn_check_absent(const char *name, const aclTensor *tensor, const char *what,
                              const char *kinds) {
    HC_CHECK(tensor == NULL || tensor->numel == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s; %s are not supported, it must be null", name, what, HC_SHOW(tensor), kinds);
    return 0;
}

/* The name counts in either case. Checks that the three inputs exist and are alike
 * in type. */
static aclnnStatus parse_layout(const struct attn_inputs *in, struct attn_args *a) {
    static const int RANKS[] = {3, 3, 4, 4, 3};
    HC_CHECK(in->layout != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: inputLayout is null", in->name);
    int i = 0;
    while (i < 5 && strcasecmp(in->layout, ATTN_LAYOUT_NAMES[i]) != 0) i++;
    HC_CHECK(i < 5, ACLNN_ERR_PARAM_INVALID, "%s: inputLayout is \"%s\", wanted BSH, SBH, BNSD, BSND or TND",
             in->name, in->layout);
    a->layout = a->kv_layout = a->out_layout = (enum attn_layout)i;
    const aclTensor *tensors[] = {in->query, in->key, in->value};
    for (int k = 0; k < 3; k++) {
        static const char *const WHAT[] = {"query", "key", "value"};
        HC_CHECK(tensors[k] != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", in->name, WHAT[k]);
        HC_CHECK(tensors[k]->rank == RANKS[i], ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is %s, layout %s wants %d dimensions", in->name, WHAT[k], HC_SHOW(tensors[k]),
                 ATTN_LAYOUT_NAMES[i], RANKS[i]);
        HC_CHECK(hc_fits_f32(tensors[k]->dtype) && tensors[k]->dtype == in->query->dtype,
                 ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted float32, float16 or bfloat16 as query %s",
                 in->name, WHAT[k], HC_SHOW(tensors[k]), HC_SHOW(in->query));
    }
    return 0;
}

/* Layouts with H do not say how many heads the keys have: the head size comes from the query, and the
 * key's hidden size divided by it gives them. Fewer key heads than query heads is grouped-query
 * attention; values may have a head size of their own. */
static aclnnStatus parse_sizes(const struct attn_inputs *in, struct attn_args *a) {
    const struct attn_axes x = attn_axes(a->layout);
    const aclTensor *q = in->query, *k = in->key, *v = in->value;
    HC_CHECK(in->head_num > 0, ACLNN_ERR_PARAM_INVALID, "%s: headNum is %lld, wanted a positive number",
             in->name, (long long)in->head_num);
    a->heads = (size_t)in->head_num;
    a->batches = attn_extent(q, x.b);
    a->sq = attn_extent(q, x.s);
    a->skv = attn_extent(k, x.s);
    if (x.n >= 0) {
        HC_CHECK(attn_extent(q, x.n) == a->heads, ACLNN_ERR_PARAM_INVALID, "%s: headNum is %zu, query is %s",
                 in->name, a->heads, HC_SHOW(q));
        a->kv_heads = attn_extent(k, x.n);
        a->d = attn_extent(q, x.d);
        a->dv = attn_extent(v, x.d);
    } else {
        HC_CHECK(attn_extent(q, x.d) % a->heads == 0 && attn_extent(q, x.d) > 0, ACLNN_ERR_PARAM_INVALID,
                 "%s: the hidden size of query %s is not a multiple of headNum %zu", in->name, HC_SHOW(q),
                 a->heads);
        a->d = attn_extent(q, x.d) / a->heads;
        a->kv_heads = attn_extent(k, x.d) / a->d;
        HC_CHECK(a->kv_heads > 0 && attn_extent(k, x.d) % a->d == 0 && attn_extent(v, x.d) % a->kv_heads == 0,
                 ACLNN_ERR_PARAM_INVALID,
                 "%s: the hidden sizes of key %s and value %s do not make heads of %zu", in->name, HC_SHOW(k),
                 HC_SHOW(v), a->d);
        a->dv = attn_extent(v, x.d) / a->kv_heads;
    }
    HC_CHECK(a->kv_heads > 0 && a->heads % a->kv_heads == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: %zu query heads are not a multiple of %zu key heads", in->name, a->heads, a->kv_heads);
    const bool same = attn_extent(k, x.b) == a->batches && attn_extent(v, x.b) == a->batches &&
                      attn_extent(v, x.s) == a->skv &&
                      (x.n < 0 || (attn_extent(v, x.n) == a->kv_heads && attn_extent(k, x.d) == a->d));
    HC_CHECK(same && a->d > 0 && a->dv > 0, ACLNN_ERR_PARAM_INVALID,
             "%s: query %s, key %s and value %s do not go together", in->name, HC_SHOW(q), HC_SHOW(k),
             HC_SHOW(v));
    return 0;
}

/* Lengths added up; zeros at the end mean sequences that take no part. */
static aclnnStatus parse_lengths(const struct attn_inputs *in, struct attn_args *a) {
    const size_t total_q = a->sq, total_kv = a->skv;
    int64_t *q = a->numbers, *kv = a->numbers + a->batches;
    a->sq = a->skv = 0;
    for (size_t b = 0; b < a->batches; b++) {
        const int64_t q0 = b > 0 ? q[b - 1] : 0, kv0 = b > 0 ? kv[b - 1] : 0;
        q[b] = in->q_lengths->data[b] == 0 ? q0 : in->q_lengths->data[b];
        kv[b] = in->kv_lengths->data[b] == 0 ? kv0 : in->kv_lengths->data[b];
        HC_CHECK(q[b] >= q0 && kv[b] >= kv0 && (size_t)q[b] <= total_q && (size_t)kv[b] <= total_kv,
                 ACLNN_ERR_PARAM_INVALID,
                 "%s: actual sequence lengths %lld and %lld of batch %zu do not fit query %s and "
                 "key %s",
                 in->name, (long long)q[b], (long long)kv[b], b, HC_SHOW(in->query), HC_SHOW(in->key));
        a->sq = hc_max_size(a->sq, (size_t)(q[b] - q0));
        a->skv = hc_max_size(a->skv, (size_t)(kv[b] - kv0));
    }
    return 0;
}

/* Lengths that are each for itself; packed sequences' are added up. */
static aclnnStatus parse_own_lengths(const struct attn_inputs *in, struct attn_args *a,
                                     const aclIntArray *from, const char *what, const aclTensor *of,
                                     size_t *longest, int64_t *to) {
    const bool packed = attn_is_packed(a->layout);
    size_t used = 0, most = 0;
    for (size_t b = 0; b < a->batches; b++) {
        const int64_t n = from->data[b];
        HC_CHECK(n >= 0 && (size_t)n <= *longest - used, ACLNN_ERR_PARAM_INVALID,
                 "%s: %s of batch %zu is %lld, %s %s has %zu positions for it", in->name, what, b,
                 (long long)n, of == in->query ? "query" : "key", HC_SHOW(of), *longest - used);
        to[b] = packed ? (int64_t)used + n : n;
        if (packed) used += (size_t)n;
        most = hc_max_size(most, (size_t)n);
    }
    if (packed) *longest = most;
    else a->ragged = true;
    return 0;
}

/* Both or none; packed sequences are nothing without them. */
static aclnnStatus parse_block_lengths(const struct attn_inputs *in, struct attn_args *a) {
    const aclIntArray *q = in->q_lengths, *kv = in->kv_lengths;
    const size_t num_q = q != NULL ? q->size : 0, num_kv = kv != NULL ? kv->size : 0;
    if (attn_is_packed(a->layout)) a->batches = num_q;
    else if (num_q == 0 && num_kv == 0) return 0;
    HC_CHECK(num_q > 0 && num_q == num_kv && num_q == a->batches, ACLNN_ERR_PARAM_INVALID,
             "%s: actualSeqLengths has %zu numbers and actualSeqLengthsKv %zu, wanted one for each batch of "
             "query %s (layout %s)",
             in->name, num_q, num_kv, HC_SHOW(in->query), ATTN_LAYOUT_NAMES[a->layout]);
    HC_TRY(parse_own_lengths(in, a, q, "actualSeqLengths", in->query, &a->sq, a->numbers));
    return parse_own_lengths(in, a, kv, "actualSeqLengthsKv", in->key, &a->skv, a->numbers + a->batches);
}

static aclnnStatus check_blocks(const struct attn_inputs *in, const struct attn_args *a) {
    const aclTensor *m = in->block_mask;
    if (m == NULL) return 0;
    const int64_t want[] = {(int64_t)a->batches, (int64_t)a->heads,
                            (int64_t)hc_ceil_div(a->sq, in->block_queries),
                            (int64_t)hc_ceil_div(a->skv, in->block_keys)};
    HC_CHECK(m->dtype == ACL_BOOL || m->dtype == ACL_UINT8 || m->dtype == ACL_INT8 || m->dtype == ACL_INT32,
             ACLNN_ERR_PARAM_INVALID, "%s: blockSparseMask is %s, wanted int8", in->name, HC_SHOW(m));
    HC_CHECK(m->rank == 4 && memcmp(m->shape, want, sizeof want) == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: blockSparseMask is %s, wanted [%lld,%lld,%lld,%lld] for blocks of %zu x %zu", in->name,
             HC_SHOW(m), (long long)want[0], (long long)want[1], (long long)want[2], (long long)want[3],
             in->block_queries, in->block_keys);
    return 0;
}

/* The compressed modes are passed a mask of a fixed size (2048 or 3072 rows) that repeats what the mode says:
 * it is not looked at. All others need a mask of the scores' size. */
static aclnnStatus check_mask(const struct attn_inputs *in, const struct attn_args *a) {
    const aclTensor *m = in->atten_mask;
    if (m == NULL) return 0;
    HC_CHECK(m->dtype == ACL_BOOL || m->dtype == ACL_UINT8 || m->dtype == ACL_INT8, ACLNN_ERR_PARAM_INVALID,
             "%s: attenMask is %s, wanted bool or uint8", in->name, HC_SHOW(m));
    if (a->sparse_mode > SPARSE_ALL && a->sparse_mode != SPARSE_PREFIX) return 0; /* the mode says it all */
    HC_CHECK(m->rank == 2 || m->rank == 4, ACLNN_ERR_PARAM_INVALID,
             "%s: attenMask is %s, wanted 2 or 4 dimensions", in->name, HC_SHOW(m));
    const int64_t rows = m->shape[m->rank - 2], columns = m->shape[m->rank - 1];
    const bool exact = rows == (int64_t)a->sq && columns == (int64_t)a->skv;
    const bool covers = rows >= (int64_t)a->sq && columns >= (int64_t)a->skv;
    HC_CHECK(a->layout == LAYOUT_TND ? covers : exact, ACLNN_ERR_PARAM_INVALID,
             "%s: attenMask is %s, wanted %zu x %zu in the last dimensions (sparseMode %d)", in->name,
             HC_SHOW(m), a->sq, a->skv, a->sparse_mode);
    HC_CHECK(m->rank == 2 || ((m->shape[0] == 1 || m->shape[0] == (int64_t)a->batches) &&
                              (m->shape[1] == 1 || m->shape[1] == (int64_t)a->heads)),
             ACLNN_ERR_PARAM_INVALID, "%s: attenMask is %s, wanted 1 or %zu batches and 1 or %zu heads",
             in->name, HC_SHOW(m), a->batches, a->heads);
    return 0;
}

/* pse is a bias of the scores, whole, a row for all queries, the last 1024 rows (it then depends on the
 * distance only), or with type 2 and 3 one slope for each head. */
static aclnnStatus check_pse(const struct attn_inputs *in, const struct attn_args *a) {
    const aclTensor *p = in->pse;
    if (p == NULL) return 0;
    if (a->pse_type >= 2) {
        const bool slopes =
            (p->rank == 1 && p->shape[0] == (int64_t)a->heads) ||
            (p->rank == 2 && p->shape[0] == (int64_t)a->batches && p->shape[1] == (int64_t)a->heads);
        HC_CHECK(slopes && hc_dtype_is_float(p->dtype), ACLNN_ERR_PARAM_INVALID,
                 "%s: pseType %d wants slopes [%zu] or [%zu,%zu], pse is %s", in->name, a->pse_type, a->heads,
                 a->batches, a->heads, HC_SHOW(p));
        return 0;
    }
    HC_CHECK(p->rank == 4 && hc_fits_f32(p->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: pse is %s, wanted 4 dimensions of a float type", in->name, HC_SHOW(p));
    const int64_t rows = p->shape[2], sq = (int64_t)a->sq;
    HC_CHECK((p->shape[0] == 1 || p->shape[0] == (int64_t)a->batches) && p->shape[1] == (int64_t)a->heads &&
                 (rows == 1 || rows == sq || (rows == 1024 && sq > 1024)) &&
                 (p->shape[3] == (int64_t)a->skv || a->layout == LAYOUT_TND),
             ACLNN_ERR_PARAM_INVALID, "%s: pse is %s, wanted [1 or %zu, %zu, 1 or %zu or 1024, %zu]",
             in->name, HC_SHOW(p), a->batches, a->heads, a->sq, a->skv);
    HC_CHECK(a->layout != LAYOUT_TND || p->shape[3] >= (int64_t)a->skv, ACLNN_ERR_PARAM_INVALID,
             "%s: pse is %s, the longest key sequence %zu", in->name, HC_SHOW(p), a->skv);
    return 0;
}

/* Options that do not go together. The bits of the dropout mask of packed sequences are counted later
 * (attention_job.c), when the lengths are known batch by batch. */
static aclnnStatus check_options(const struct attn_inputs *in, const struct attn_args *a) {
    HC_CHECK(in->padding_mask == NULL || in->padding_mask->numel == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: paddingMaskOptional is %s; the interface reserves it, it must be null", in->name,
             HC_SHOW(in->padding_mask));
    HC_CHECK(a->sparse_mode < SPARSE_RIGHT_DOWN_BAND || a->layout == LAYOUT_TND, ACLNN_ERR_PARAM_INVALID,
             "%s: sparseMode %d is for layout TND only, the layout is %s", in->name, a->sparse_mode,
             in->layout);
    HC_CHECK(!a->masked || a->sparse_mode != SPARSE_PREFIX_COMPRESSED || a->num_prefix == a->batches,
             ACLNN_ERR_PARAM_INVALID, "%s: sparseMode 6 wants a prefix for each of %zu batches, got %zu",
             in->name, a->batches, a->num_prefix);
    HC_CHECK(a->keep_prob >= 0 && a->keep_prob <= 1, ACLNN_ERR_PARAM_INVALID,
             "%s: keepProb is %g, wanted 0 to 1", in->name, a->keep_prob);
    HC_CHECK(a->keep_prob == 1 || in->drop_mask != NULL || in->seeded, ACLNN_ERR_PARAM_INVALID,
             "%s: keepProb is %g without dropMaskOptional: the mask that says what is kept is needed",
             in->name, a->keep_prob);
    const size_t bits = in->drop_mask ? hc_numel(in->drop_mask) * 8 : 0;
    HC_CHECK(in->drop_mask == NULL || in->drop_mask->item_size == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: dropMaskOptional is %s, wanted uint8", in->name, HC_SHOW(in->drop_mask));
    HC_CHECK(in->drop_mask == NULL || hc_is_contiguous(in->drop_mask), ACLNN_ERR_PARAM_INVALID,
             "%s: dropMaskOptional is not contiguous", in->name);
    /* batches, heads and queries are a tensor's elements; with the keys they may be no number. */
    const size_t scores = hc_mul_saturated(a->batches * a->heads * a->sq, a->skv);
    const size_t all = a->layout == LAYOUT_TND ? 0 : scores;
    HC_CHECK(in->drop_mask == NULL || bits >= all, ACLNN_ERR_PARAM_INVALID,
             "%s: dropMaskOptional has %zu bits, wanted %zu", in->name, bits, all);
    /* Written one by one for each head, and only where there is a sink. */
    const aclTensor *dsink = in->sink != NULL ? in->dsink : NULL;
    HC_CHECK(dsink == NULL || dsink->numel == 0 ||
                 (dsink->rank == 1 && hc_numel(dsink) == a->heads && hc_fits_f32(dsink->dtype)),
             ACLNN_ERR_PARAM_INVALID, "%s: dsinkOut is %s, wanted float32[%zu]", in->name, HC_SHOW(dsink),
             a->heads);
    HC_CHECK(in->sink == NULL || (hc_numel(in->sink) == a->heads && in->sink->dtype == ACL_FLOAT),
             ACLNN_ERR_PARAM_INVALID, "%s: sink is %s, wanted float32[%zu]", in->name, HC_SHOW(in->sink),
             a->heads);
    HC_TRY(check_mask(in, a));
    return check_pse(in, a);
}

/* Maximum and sum of each row, each repeated 8 times, as the interface lays them out; or one number of each
 * row, which forward may be asked not to give. */
static aclnnStatus check_statistics(const struct attn_inputs *in, const struct attn_args *a) {
    const aclTensor *all[] = {in->softmax_max, in->softmax_sum}, *lse = in->lse;
    const size_t rows = a->layout == LAYOUT_TND ? (size_t)in->query->shape[0] : a->batches * a->sq;
    if (in->blockwise) {
        HC_CHECK(lse == NULL ||
                     (lse->dtype == ACL_FLOAT && hc_numel(lse) == rows * a->heads && hc_is_contiguous(lse)),
                 ACLNN_ERR_PARAM_INVALID,
                 "%s: softmaxLse is %s, wanted %zu contiguous float32 (one for each row and head)", in->name,
                 HC_SHOW(lse), rows * a->heads);
        return 0;
    }
    for (int i = 0; i < 2; i++) {
        const char *what = i == 0 ? "softmaxMax" : "softmaxSum";
        HC_CHECK(all[i] != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", in->name, what);
        HC_CHECK(
            all[i]->dtype == ACL_FLOAT && hc_numel(all[i]) == rows * a->heads * 8 && hc_is_contiguous(all[i]),
            ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted %zu contiguous float32 (8 for each row and head)",
            in->name, what, HC_SHOW(all[i]), rows * a->heads * 8);
    }
    return 0;
}

/* The attention output: the query's layout with heads of dv. */
static aclnnStatus check_output(const struct attn_inputs *in, const struct attn_args *a, const aclTensor *t,
                                const char *what) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", in->name, what);
    const int d = attn_axes(a->layout).d;
    aclTensor want = *in->query;
    want.shape[d] = (int64_t)(attn_axes(a->layout).n < 0 ? a->heads * a->dv : a->dv);
    HC_CHECK(hc_same_shape(t, &want) && hc_fits_f32(t->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted the shape of query %s with %lld in the last dimension", in->name, what,
             HC_SHOW(t), HC_SHOW(in->query), (long long)want.shape[d]);
    return 0;
}

/* The gradient of a bias needs a row for each query: for a bias that stands for several rows it would be
 * a sum over diagonals, which no caller asks for. */
static aclnnStatus check_gradients(const struct attn_inputs *in, const struct attn_args *a) {
    static const char *const NAMES[][4] = {{"dqOut", "dkOut", "dvOut", "dy"}, {"dq", "dk", "dv", "dout"}};
    const char *const *names = NAMES[in->blockwise];
    HC_TRY(check_output(in, a, in->dy, names[3]));
    const aclTensor *grads[] = {in->dq, in->dk, in->dv}, *of[] = {in->query, in->key, in->value};
    for (int i = 0; i < 3; i++) {
        HC_CHECK(grads[i] != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", in->name, names[i]);
        HC_CHECK(hc_same_shape(grads[i], of[i]) && hc_fits_f32(grads[i]->dtype), ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is %s, wanted the shape %s", in->name, names[i], HC_SHOW(grads[i]), HC_SHOW(of[i]));
    }
    if (in->dpse == NULL || in->dpse->numel == 0 || in->pse == NULL || a->pse_type >= 2) return 0;
    HC_CHECK(hc_same_shape(in->dpse, in->pse), ACLNN_ERR_PARAM_INVALID, "%s: dpseOut is %s, pse is %s",
             in->name, HC_SHOW(in->dpse), HC_SHOW(in->pse));
    HC_CHECK(a->layout != LAYOUT_TND && in->pse->shape[2] == (int64_t)a->sq, ACLNN_ERR_PARAM_INVALID,
             "%s: dpseOut is supported where pse has a row for each of %zu queries, pse is %s", in->name,
             a->sq, HC_SHOW(in->pse));
    return 0;
}

/* `a` has room for 2 * batches + prefixes numbers. The order matters: batches and sizes first, as the
 * checks compare with them. */
static aclnnStatus fill_args(const struct attn_inputs *in, struct attn_args *a) {
    HC_TRY(parse_sizes(in, a));
    if (in->blockwise) {
        HC_TRY(parse_block_lengths(in, a));
        HC_TRY(check_blocks(in, a));
        a->block_queries = in->block_queries, a->block_keys = in->block_keys;
    } else if (a->layout == LAYOUT_TND) {
        HC_CHECK(in->q_lengths && in->kv_lengths && in->q_lengths->size > 0 &&
                     in->q_lengths->size == in->kv_lengths->size,
                 ACLNN_ERR_PARAM_INVALID,
                 "%s: layout TND wants actualSeqQLen and actualSeqKvLen of the same length, got "
                 "%zu and %zu",
                 in->name, in->q_lengths ? in->q_lengths->size : 0,
                 in->kv_lengths ? in->kv_lengths->size : 0);
        a->batches = in->q_lengths->size;
        HC_TRY(parse_lengths(in, a));
    }
    a->name = in->name;
    a->scale = in->scale;
    a->keep_prob = in->keep_prob;
    a->seed = (uint64_t)in->seed, a->offset = (uint64_t)in->offset;
    a->pre = in->pre_tokens;
    a->next = in->next_tokens;
    HC_CHECK(in->sparse_mode >= 0 && in->sparse_mode <= SPARSE_LEFT_UP_BAND, ACLNN_ERR_PARAM_INVALID,
             "%s: sparseMode is %lld, wanted 0 to 8", in->name, (long long)in->sparse_mode);
    HC_CHECK(in->pse_type >= 0 && in->pse_type <= 3, ACLNN_ERR_PARAM_INVALID,
             "%s: pseType is %lld, wanted 0 to 3", in->name, (long long)in->pse_type);
    a->sparse_mode = (int)in->sparse_mode;
    a->pse_type = (int)in->pse_type;
    a->masked = in->atten_mask != NULL;
    a->softmax_per_token = in->softmax_layout != NULL && strcmp(in->softmax_layout, "same_as_input") == 0;
    a->q_start = in->q_start && in->q_start->size > 0 ? in->q_start->data[0] : 0;
    a->kv_start = in->kv_start && in->kv_start->size > 0 ? in->kv_start->data[0] : 0;
    a->num_prefix = in->prefix ? in->prefix->size : 0;
    for (size_t i = 0; i < a->num_prefix; i++) a->numbers[2 * a->batches + i] = in->prefix->data[i];
    HC_TRY(check_options(in, a));
    HC_TRY(check_statistics(in, a));
    HC_TRY(check_output(in, a, in->attention_out,
                        in->backward && !in->blockwise ? "attentionIn" : "attentionOut"));
    return in->backward ? check_gradients(in, a) : 0;
}

/* HC_IN_OPT and HC_OUT_OPT in one: statistics and output are results of forward and inputs of backward. */
#define OPTIONAL(t, role) {(t), NULL, (role) | HC_ROLE_OPTIONAL, #t}

/* FLOPs for the trace: 2 products forward, 5 backward, of 2 sq skv d each; a mask is not subtracted. */
aclnnStatus attn_make_plan(const struct attn_inputs *in, const struct attn_args *a, size_t bytes,
                           uint64_t *workspaceSize, aclOpExecutor **executor) {
    const int kept = in->backward ? HC_ROLE_IN : HC_ROLE_OUT;
    const bool dpse = in->dpse && in->dpse->numel > 0 && in->pse && a->pse_type < 2;
    const struct hc_operand operands[] = {HC_IN(in->query),
                                          HC_IN(in->key),
                                          HC_IN(in->value),
                                          HC_IN_OPT(in->dy),
                                          HC_IN_OPT(in->pse),
                                          HC_IN_OPT(in->drop_mask),
                                          HC_IN_OPT(in->atten_mask),
                                          OPTIONAL(in->softmax_max, kept),
                                          OPTIONAL(in->softmax_sum, kept),
                                          OPTIONAL(in->attention_out, kept),
                                          HC_IN_OPT(in->sink),
                                          HC_OUT_OPT(in->dq),
                                          HC_OUT_OPT(in->dk),
                                          HC_OUT_OPT(in->dv),
                                          OPTIONAL(dpse ? in->dpse : NULL, HC_ROLE_OUT),
                                          HC_OUT_OPT(in->dsink),
                                          HC_IN_OPT(in->query_rope),
                                          HC_IN_OPT(in->key_rope),
                                          HC_IN_OPT(in->block_table),
                                          OPTIONAL(in->lse, kept),
                                          HC_IN_LIST(in->keys),
                                          HC_IN_LIST(in->values),
                                          HC_IN_OPT(in->key_prefix),
                                          HC_IN_OPT(in->value_prefix),
                                          HC_IN_OPT(in->key_scale),
                                          HC_IN_OPT(in->key_offset),
                                          HC_IN_OPT(in->value_scale),
                                          HC_IN_OPT(in->value_offset),
                                          HC_IN_OPT(in->q_padding),
                                          HC_IN_OPT(in->kv_padding),
                                          HC_IN_OPT(in->score_scale),
                                          HC_IN_OPT(in->weight_scale),
                                          HC_IN_OPT(in->sum_scale),
                                          HC_IN_OPT(in->out_scale),
                                          HC_IN_OPT(in->out_offset),
                                          HC_IN_OPT(in->q_scale),
                                          HC_IN_OPT(in->block_mask)};
    const uint64_t products = 2 * (uint64_t)(in->backward ? 5 : 2) * a->sq * a->skv * a->d;
    return hc_plan(&(const struct hc_plan){.name = in->name,
                                           .run = in->backward ? attn_backward : attn_forward,
                                           .args = a,
                                           .args_size = bytes,
                                           .operands = operands,
                                           .num_operands = HC_ARRAY_SIZE(operands),
                                           .flops = products * a->batches * a->heads},
                   workspaceSize, executor);
}

/* The arguments are of variable length (lengths and prefixes behind the struct), so they are put together
 * on the heap and copied into the executor by hc_plan. */
aclnnStatus attn_plan(const struct attn_inputs *in, uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct attn_args head = {0};
    HC_TRY(parse_layout(in, &head));
    const size_t batches =
        in->q_lengths && head.layout == LAYOUT_TND
            ? in->q_lengths->size
            : (size_t)in->query->shape[attn_axes(head.layout).b < 0 ? 0 : attn_axes(head.layout).b];
    const size_t numbers = 2 * batches + (in->prefix ? in->prefix->size : 0);
    const size_t bytes = sizeof(struct attn_args) + numbers * sizeof(int64_t);
    struct attn_args *a = hc_block_take_zeroed(1, bytes);
    HC_CHECK(a != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu lengths", in->name, numbers);
    a->layout = a->kv_layout = a->out_layout = head.layout;
    aclnnStatus status = fill_args(in, a);
    if (status == 0) status = attn_make_plan(in, a, bytes, workspaceSize, executor);
    hc_block_give(a);
    return status;
}
