// SPDX-License-Identifier: Apache-2.0
/* Attention of training and inference, on small tensors of random shapes, strides, layouts and options,
 * against softmax(scale * q k^T + bias) v written out in double. */
#include "fuzz_tensors.h"
#include "harness.h"

enum { CASES = 3000, BATCHES = 3, ROWS = 320 };
enum layout { BSH, BSND, BNSD, TND, SBH };
static char *const LAYOUTS[] = {"BSH", "BSND", "BNSD", "TND", "SBH"};

/* Queries see their batch's keys: a prefix that all batches share, then their own. */
struct attention {
    aclDataType dtype;
    enum layout layout;
    int64_t b, n, nkv, sq, skv, d, dv, prefix;
    int64_t q_length[BATCHES], kv_length[BATCHES], q_total[BATCHES], kv_total[BATCHES]; /* running totals */
    double scale;
    struct fuzz_tensor q, k, v, prefix_k, prefix_v, bias, mask;
    bool has_bias, scaled_bias; /* the bias is multiplied by the scale, too */
    int64_t sparse, pre, next;  /* of a mask that is given */
    bool masked;
    int64_t mask_rank;
    /* pages: table[b][page] */
    int64_t page, pages, table[BATCHES][ROWS];
    /* a tensor for each batch */
    bool each;
    struct fuzz_tensor own_k[BATCHES], own_v[BATCHES];
    /* filled up on the left */
    int64_t q_begin[BATCHES], kv_begin[BATCHES];
    /* quantised */
    int64_t mode;
    bool quantised, shifted;
    struct fuzz_tensor scale_k, scale_v, shift_k, shift_v;
};

/* ---- elements ---- */

static int64_t place(enum layout layout, int64_t n, int64_t s_all, int64_t d, int64_t batches, int64_t b,
                     int64_t head, int64_t s, int64_t at) {
    switch (layout) {
    case BNSD: return ((b * n + head) * s_all + s) * d + at;
    case SBH: return ((s * batches + b) * n + head) * d + at;
    default: return ((b * s_all + s) * n + head) * d + at; /* TND: b is 0, s counts all tokens */
    }
}
static double query(const struct attention *a, int64_t b, int64_t head, int64_t i, int64_t at) {
    if (a->layout == TND) return a->q.value[place(TND, a->n, 0, a->d, 1, 0, head, a->q_total[b] + i, at)];
    return a->q.value[place(a->layout, a->n, a->sq, a->d, a->b, b, head, a->q_begin[b] + i, at)];
}
/* What a quantised number means. */
static double meant(const struct attention *a, const struct fuzz_tensor *scale,
                    const struct fuzz_tensor *shift, int64_t b, int64_t head, int64_t row, int64_t d,
                    int64_t at, double x) {
    const int64_t page = a->page > 0 ? a->table[b][row / a->page] : 0,
                  within = a->page > 0 ? row % a->page : 0;
    const int64_t rows = scale->shape[scale->rank - 1];
    int64_t i = 0;
    switch (a->mode) {
    case 0: i = scale->numel == 1 ? 0 : head * d + at; break;
    case 1: i = b * rows + row; break;
    case 2: i = head; break;
    case 3: i = (b * a->nkv + head) * rows + row; break;
    case 4: i = page * a->page + within; break;
    default: i = (page * a->nkv + head) * a->page + within; break;
    }
    return (x + (a->shifted ? shift->value[i] : 0)) * scale->value[i];
}
/* Of keys, or of values: all that says where they are. */
static double stored(const struct attention *a, bool key, int64_t b, int64_t head, int64_t j, int64_t at) {
    const int64_t d = key ? a->d : a->dv, n = a->nkv;
    const struct fuzz_tensor *t = key ? &a->k : &a->v, *scale = key ? &a->scale_k : &a->scale_v,
                             *shift = key ? &a->shift_k : &a->shift_v;
    double x;
    int64_t row = j - a->prefix;
    if (row < 0) {
        const struct fuzz_tensor *p = key ? &a->prefix_k : &a->prefix_v;
        const int64_t s = p->shape[a->layout == BNSD ? 2 : 1];
        x = p->value[place(a->layout, n, s, d, 1, 0, head, j, at)];
        row = 0;
    } else if (a->page > 0) {
        const int64_t page = a->table[b][row / a->page], within = row % a->page;
        x = t->rank == 3 ? t->value[(page * a->page + within) * n * d + head * d + at]
                         : t->value[((page * n + head) * a->page + within) * d + at];
    } else if (a->layout == TND) {
        x = t->value[place(TND, n, 0, d, 1, 0, head, a->kv_total[b] + row, at)];
    } else if (a->each) {
        const struct fuzz_tensor *own = key ? &a->own_k[b] : &a->own_v[b];
        x = own->value[place(a->layout, n, own->shape[a->layout == BNSD ? 2 : 1], d, 1, 0, head, row, at)];
    } else {
        row += a->kv_begin[b];
        x = t->value[place(a->layout, n, a->skv, d, a->b, b, head, row, at)];
    }
    return a->quantised ? meant(a, scale, shift, b, head, row, d, at, x) : x;
}

/* ---- what is seen ---- */

static bool hidden(const struct attention *a, int64_t b, int64_t i, int64_t j) {
    const int64_t corner = i + a->prefix + a->kv_length[b] - a->q_length[b];
    if (!a->masked) return false;
    if (a->sparse == 2) return j > i;
    if (a->sparse == 3) return j > corner;
    if (a->sparse == 4) return j < corner - a->pre || j > corner + a->next;
    if (a->sparse == 0 && (j < i - a->pre || j > i + a->next)) return true;
    const int64_t *s = a->mask.shape + a->mask.rank - 2;
    int64_t row = a->q_begin[b] + i;
    if (a->mask_rank > 2) row += (a->mask.shape[0] > 1 ? b : 0) * s[0]; /* one head */
    return a->mask.value[row * s[1] + a->kv_begin[b] + j] != 0;
}
static double logit(const struct attention *a, int64_t b, int64_t head, int64_t i, int64_t j) {
    double sum = 0, bias = 0;
    for (int64_t at = 0; at < a->d; at++)
        sum += query(a, b, head, i, at) * stored(a, true, b, head / (a->n / a->nkv), j, at);
    if (a->has_bias) {
        const int64_t *s = a->bias.shape;
        bias = a->bias.value[(((s[0] > 1 ? b : 0) * s[1] + head) * s[2] + a->q_begin[b] + i) * s[3] +
                             a->kv_begin[b] + j];
    }
    return a->scaled_bias ? (sum + bias) * a->scale : sum * a->scale + bias;
}

/* One row: weights of its keys; the sum of exponentials' logarithm, -INFINITY where it sees nothing. */
static double weigh(const struct attention *a, int64_t b, int64_t head, int64_t i, double *weight) {
    const int64_t keys = a->prefix + a->kv_length[b];
    double most = -INFINITY, sum = 0;
    for (int64_t j = 0; j < keys; j++) {
        weight[j] = hidden(a, b, i, j) ? -INFINITY : logit(a, b, head, i, j);
        most = fmax(most, weight[j]);
    }
    for (int64_t j = 0; j < keys; j++) {
        weight[j] = weight[j] == -INFINITY ? 0 : exp(weight[j] - most);
        sum += weight[j];
    }
    for (int64_t j = 0; j < keys; j++) weight[j] = sum > 0 ? weight[j] / sum : 0;
    return sum > 0 ? most + log(sum) : -INFINITY;
}

/* The output of a row, which lies at `out` and so on. */
static bool row_is(const struct attention *a, int64_t b, int64_t head, int64_t i, const double *weight,
                   const struct fuzz_tensor *out, int64_t first) {
    const int64_t keys = a->prefix + a->kv_length[b];
    (void)i;
    for (int64_t at = 0; at < a->dv; at++) {
        double want = 0, size = 0;
        for (int64_t j = 0; j < keys; j++) {
            const double x = weight[j] * stored(a, false, b, head / (a->n / a->nkv), j, at);
            want += x, size += fabs(x);
        }
        /* Weights are rounded to bfloat16 where pairs of it are multiplied. */
        if (!fuzz_is(out, first + at, want, size, 8 * fuzz_error(a->dtype))) return false;
    }
    return true;
}

/* ---- cases ---- */

static int64_t small(int64_t most) { return fuzz_one_in(12) ? most : fuzz_below(most < 9 ? most : 9) + 1; }

static struct fuzz_tensor tensor_of(const struct attention *a, aclDataType dtype, int64_t b, int64_t n,
                                    int64_t s, int64_t d, bool result) {
    const int64_t shapes[][4] = {{b, s, n * d}, {b, s, n, d}, {b, n, s, d}, {s, n, d}, {s, b, n * d}};
    const int64_t rank = a->layout == BSND || a->layout == BNSD ? 4 : 3;
    if (result) return fuzz_result(dtype, rank, shapes[a->layout], false);
    if (dtype == ACL_INT8) return fuzz_integers(dtype, rank, shapes[a->layout], false, -128, 127);
    return fuzz_reals(dtype, rank, shapes[a->layout], false);
}

static void start(struct attention *a, int layouts) {
    *a = (struct attention){
        .dtype = fuzz_float_type(), .b = fuzz_below(BATCHES) + 1, .nkv = fuzz_below(2) + 1};
    a->layout = (enum layout)fuzz_below(layouts);
    a->n = a->nkv * (fuzz_one_in(3) ? 3 : 1);
    a->sq = fuzz_one_in(2) ? 1 : small(fuzz_one_in(4) ? 140 : 12);
    a->skv = small(fuzz_one_in(4) ? 270 : 40);
    a->d = small(fuzz_one_in(4) ? 70 : 20);
    a->dv = fuzz_one_in(3) ? small(24) : a->d;
    a->scale = 1 / sqrt((double)a->d);
    a->pre = a->next = INT32_MAX;
}

/* Modes that look at the mask read all of it; the others want one of 2048 by 2048 and read none. */
static void choose_mask(struct attention *a, int64_t rows, int64_t keys, bool larger) {
    static unsigned char compressed[2048];
    a->masked = true;
    a->sparse = fuzz_below(5);
    if (a->sparse == 0 || a->sparse == 4) {
        a->pre = fuzz_one_in(2) ? INT32_MAX : fuzz_below(keys + 3);
        a->next = fuzz_one_in(2) ? INT32_MAX : fuzz_below(keys + 3);
        if (a->sparse == 4 && a->next == INT32_MAX) a->next = 0;
    }
    if (a->sparse > 1) {
        const int64_t shape[] = {2048, 2048}, stride[] = {0, 1}, room = 2048;
        a->mask = (struct fuzz_tensor){.rank = 2};
        a->mask.tensor =
            fuzz_keep(aclCreateTensor(shape, 2, ACL_BOOL, stride, 0, ACL_FORMAT_ND, &room, 1, compressed));
        return;
    }
    const int64_t more = larger ? fuzz_below(3) : 0;
    a->mask_rank = fuzz_one_in(2) || rows == 1 ? 4 : 2;
    const int64_t shape[] = {fuzz_one_in(2) ? a->b : 1, 1, rows + more, keys + more};
    const bool four = a->mask_rank == 4;
    a->mask =
        fuzz_zeros(fuzz_one_in(2) ? ACL_BOOL : ACL_UINT8, a->mask_rank, four ? shape : shape + 2, false);
    const int64_t density = fuzz_below(4) + 1;
    for (int64_t i = 0; i < a->mask.numel; i++) fuzz_set(&a->mask, i, fuzz_one_in(density) ? 1 : 0);
}

static void choose_bias(struct attention *a, aclDataType dtype, int64_t rows, int64_t keys) {
    a->has_bias = true;
    a->bias = fuzz_reals(dtype, FUZZ_SHAPE(fuzz_one_in(2) ? a->b : 1, a->n, rows, keys), false);
}

/* ---- inference ---- */

static void choose_lengths(struct attention *a) {
    int64_t q = 0, kv = 0;
    for (int64_t b = 0; b < a->b; b++) {
        a->q_length[b] = fuzz_one_in(3) ? fuzz_below(a->sq + 1) : a->sq;
        a->kv_length[b] = fuzz_one_in(2) ? fuzz_below(a->skv + 1) : a->skv;
        a->q_total[b] = q, a->kv_total[b] = kv;
        q += a->q_length[b], kv += a->kv_length[b];
    }
}

static struct fuzz_tensor scales_of(const struct attention *a, int64_t d, int64_t extra, aclDataType dtype,
                                    bool shift) {
    const int64_t rows = a->skv + extra;
    const int64_t shapes[][4] = {{a->nkv, d},          {a->b, rows},        {a->nkv},
                                 {a->b, a->nkv, rows}, {a->pages, a->page}, {a->pages, a->nkv, a->page}},
                  ranks[] = {2, 2, 1, 3, 2, 3};
    struct fuzz_tensor t = fuzz_zeros(dtype, ranks[a->mode], shapes[a->mode], false);
    for (int64_t i = 0; i < t.numel; i++)
        fuzz_set(&t, i, shift ? (double)fuzz_below(9) - 4 : (double)(fuzz_below(64) + 1) / 2048);
    return t;
}

static void choose_cache(struct attention *a, aclDataType dtype) {
    const int64_t tokens = a->b > 0 ? a->kv_total[a->b - 1] + a->kv_length[a->b - 1] : 0;
    if (a->page > 0) {
        const int64_t flat[] = {a->pages, a->page, a->nkv * a->d},
                      heads[] = {a->pages, a->nkv, a->page, a->d};
        const int64_t flat_v[] = {a->pages, a->page, a->nkv * a->dv},
                      heads_v[] = {a->pages, a->nkv, a->page, a->dv};
        const int64_t rank = fuzz_one_in(2) ? 3 : 4;
        const bool int8 = dtype == ACL_INT8;
        a->k = int8 ? fuzz_integers(dtype, rank, rank == 3 ? flat : heads, false, -128, 127)
                    : fuzz_reals(dtype, rank, rank == 3 ? flat : heads, false);
        a->v = int8 ? fuzz_integers(dtype, rank, rank == 3 ? flat_v : heads_v, false, -128, 127)
                    : fuzz_reals(dtype, rank, rank == 3 ? flat_v : heads_v, false);
        return;
    }
    if (a->each) {
        for (int64_t b = 0; b < a->b; b++) {
            const int64_t s = b == 0 ? a->skv : a->kv_length[b] + fuzz_below(a->skv - a->kv_length[b] + 1);
            a->own_k[b] = tensor_of(a, dtype, 1, a->nkv, s, a->d, false);
            a->own_v[b] = tensor_of(a, dtype, 1, a->nkv, s, a->dv, false);
        }
        return;
    }
    const int64_t s = a->layout == TND ? tokens + fuzz_below(3) : a->skv;
    a->k = tensor_of(a, dtype, a->b, a->nkv, s, a->d, false);
    a->v = tensor_of(a, dtype, a->b, a->nkv, s, a->dv, false);
}

/* Where batches begin whose rows end `padding` before the end; 0 where they do not fit. */
static bool fits_left(const int64_t *length, int64_t batches, int64_t all, int64_t padding) {
    bool fits = true;
    for (int64_t b = 0; b < batches; b++) fits = fits && length[b] + padding <= all;
    return fits;
}

static aclTensor *number(int64_t x) {
    int64_t *data = fuzz_take(sizeof *data);
    const int64_t one = 1;
    *data = x;
    return fuzz_keep(aclCreateTensor(&one, 1, ACL_INT64, NULL, 0, ACL_FORMAT_ND, &one, 1, data));
}

static void choose_pages(struct attention *a) {
    a->page = fuzz_below(12) + 1;
    const int64_t each = (a->skv + a->page - 1) / a->page;
    a->pages = a->b * each + fuzz_below(3);
    for (int64_t b = 0; b < a->b; b++)
        for (int64_t p = 0; p < each; p++) a->table[b][p] = (b * each + p + 1) % a->pages;
}

static bool infer(void) {
    struct attention a;
    start(&a, 4);
    choose_lengths(&a);
    const bool packed = a.layout == TND;
    const int64_t extra = fuzz_below(3);
    if (packed && a.q_total[a.b - 1] + a.q_length[a.b - 1] == 0) a.q_length[a.b - 1] = 1;
    if (fuzz_one_in(4)) choose_pages(&a);
    else if (!packed && a.b > 1 && fuzz_one_in(4)) a.each = true;
    if (fuzz_one_in(3)) {
        a.quantised = true, a.shifted = fuzz_one_in(2);
        a.mode = fuzz_below(a.page > 0 ? 6 : 4);
        if (packed && a.page == 0) a.mode &= 2;
    }
    const aclDataType cache = a.quantised ? ACL_INT8 : a.dtype;
    const int64_t rows = packed ? a.q_total[a.b - 1] + a.q_length[a.b - 1] : a.sq;
    a.q = tensor_of(&a, a.dtype, a.b, a.n, rows, a.d, false);
    choose_cache(&a, cache);
    if (a.quantised) {
        const aclDataType type = a.mode == 0 || a.mode == 2 ? a.dtype : ACL_FLOAT;
        a.scale_k = scales_of(&a, a.d, extra, type, false),
        a.scale_v = scales_of(&a, a.dv, extra, type, false);
        if (a.shifted)
            a.shift_k = scales_of(&a, a.d, extra, type, true),
            a.shift_v = scales_of(&a, a.dv, extra, type, true);
    }
    aclTensor *q_pad = NULL, *kv_pad = NULL;
    if (!packed && a.page == 0 && !a.each && fuzz_one_in(4)) {
        const int64_t of_q = fuzz_below(3), of_kv = fuzz_below(4);
        if (a.sq > 1 && fits_left(a.q_length, a.b, a.sq, of_q)) {
            q_pad = number(of_q);
            for (int64_t b = 0; b < a.b; b++) a.q_begin[b] = a.sq - of_q - a.q_length[b];
        }
        if (fits_left(a.kv_length, a.b, a.skv, of_kv)) {
            kv_pad = number(of_kv);
            for (int64_t b = 0; b < a.b; b++) a.kv_begin[b] = a.skv - of_kv - a.kv_length[b];
        }
    }
    const bool tokens = a.quantised && (a.mode & 1 || a.mode == 4);
    if (!packed && a.page == 0 && !q_pad && !kv_pad && !tokens && fuzz_one_in(4)) {
        const int64_t s = fuzz_below(20) + 1;
        a.prefix = fuzz_below(s + 1);
        a.prefix_k = tensor_of(&a, cache, 1, a.nkv, s, a.d, false);
        a.prefix_v = tensor_of(&a, cache, 1, a.nkv, s, a.dv, false);
    }
    if (fuzz_one_in(3)) choose_mask(&a, a.sq, a.prefix + a.skv, true);
    if (a.masked && a.sparse == 0 && (q_pad || kv_pad)) a.pre = a.next = INT32_MAX;
    if (!packed && fuzz_one_in(4)) choose_bias(&a, a.dtype, a.sq, a.prefix + a.skv);
    struct fuzz_tensor out = tensor_of(&a, a.dtype, a.b, a.n, rows, a.dv, true);
    struct fuzz_tensor lse = packed ? fuzz_result(ACL_FLOAT, FUZZ_SHAPE(rows, a.n, 1), true)
                                    : fuzz_result(ACL_FLOAT, FUZZ_SHAPE(a.b, a.n, a.sq, 1), true);
    struct fuzz_tensor table = {0};
    if (a.page > 0) {
        table = fuzz_zeros(ACL_INT32, FUZZ_SHAPE(a.b, (a.skv + a.page - 1) / a.page), false);
        for (int64_t i = 0; i < table.numel; i++)
            fuzz_set(&table, i, (double)a.table[i / table.shape[1]][i % table.shape[1]]);
    }
    int64_t of_q[BATCHES], of_kv[BATCHES];
    for (int64_t b = 0; b < a.b; b++) {
        of_q[b] = a.q_length[b] + (packed ? a.q_total[b] : 0);
        of_kv[b] = a.kv_length[b] + (packed && a.page == 0 ? a.kv_total[b] : 0);
    }
    aclTensor *keys[BATCHES] = {a.k.tensor}, *values[BATCHES] = {a.v.tensor};
    for (int64_t b = 0; a.each && b < a.b; b++) keys[b] = a.own_k[b].tensor, values[b] = a.own_v[b].tensor;
    aclTensorList *key = aclCreateTensorList((const aclTensor *const *)keys, a.each ? (uint64_t)a.b : 1);
    aclTensorList *value = aclCreateTensorList((const aclTensor *const *)values, a.each ? (uint64_t)a.b : 1);
    aclIntArray *q_lengths = aclCreateIntArray(of_q, (uint64_t)a.b),
                *kv_lengths = aclCreateIntArray(of_kv, (uint64_t)a.b),
                *prefix = aclCreateIntArray(&a.prefix, 1);
    const int code =
        FUZZ_RUN(aclnnFusedInferAttentionScoreV3, a.q.tensor, key, value, a.bias.tensor, a.mask.tensor,
                 q_lengths, kv_lengths, NULL, NULL, NULL, NULL, NULL, NULL, NULL, table.tensor, q_pad, kv_pad,
                 a.scale_k.tensor, a.shift_k.tensor, a.scale_v.tensor, a.shift_v.tensor, a.prefix_k.tensor,
                 a.prefix_v.tensor, prefix, NULL, NULL, NULL, a.n, a.scale, a.pre, a.next, LAYOUTS[a.layout],
                 a.nkv, a.masked ? a.sparse : 0, 0, a.page, 0, true, a.mode, a.mode, out.tensor, lse.tensor);
    free(key), free(value); /* their members are destroyed with the other tensors */
    aclDestroyIntArray(q_lengths), aclDestroyIntArray(kv_lengths), aclDestroyIntArray(prefix);
    fuzz_explain("infer", code);
    if (code != 0) return false;
    double weight[2 * ROWS];
    for (int64_t b = 0; b < a.b; b++)
        for (int64_t head = 0; head < a.n; head++)
            for (int64_t i = 0; i < a.q_length[b]; i++) {
                const double sum = weigh(&a, b, head, i, weight);
                const int64_t row = packed ? a.q_total[b] + i : a.q_begin[b] + i;
                const int64_t at = packed ? place(TND, a.n, 0, a.dv, 1, 0, head, row, 0)
                                          : place(a.layout, a.n, a.sq, a.dv, a.b, b, head, row, 0);
                const int64_t of_lse = packed ? row * a.n + head : (b * a.n + head) * a.sq + row;
                if (!row_is(&a, b, head, i, weight, &out, at)) return false;
                if (!fuzz_is(&lse, of_lse, sum == -INFINITY ? INFINITY : sum, 1, 8 * fuzz_error(a.dtype)))
                    return false;
            }
    return true;
}

/* ---- training ---- */

struct gradients {
    double *q, *k, *v;
    double *q_size, *k_size, *v_size; /* sums of absolute values, which errors are relative to */
};

/* One row's part of the gradients: dv += p dy, ds = p (dy v - delta), dq += ds k, dk += ds q. */
static void differentiate(const struct attention *a, int64_t b, int64_t head, int64_t i, const double *p,
                          const struct fuzz_tensor *dy, const struct gradients *g) {
    const int64_t keys = a->kv_length[b], of_kv = head / (a->n / a->nkv);
    const double *row = dy->value + place(a->layout, a->n, a->sq, a->dv, a->b, b, head, i, 0);
    double dp[ROWS], dp_size[ROWS], delta = 0, delta_size = 0;
    for (int64_t j = 0; j < keys; j++) {
        dp[j] = dp_size[j] = 0;
        for (int64_t at = 0; at < a->dv; at++) {
            const double x = row[at] * stored(a, false, b, of_kv, j, at);
            dp[j] += x, dp_size[j] += fabs(x);
        }
        delta += p[j] * dp[j], delta_size += p[j] * dp_size[j];
    }
    for (int64_t j = 0; j < keys; j++) {
        const double ds = p[j] * (dp[j] - delta) * a->scale,
                     size = p[j] * (dp_size[j] + delta_size) * a->scale;
        const int64_t of_v = place(a->layout, a->nkv, a->skv, a->dv, a->b, b, of_kv, j, 0);
        const int64_t of_k = place(a->layout, a->nkv, a->skv, a->d, a->b, b, of_kv, j, 0);
        const int64_t of_q = place(a->layout, a->n, a->sq, a->d, a->b, b, head, i, 0);
        for (int64_t at = 0; at < a->dv; at++) {
            g->v[of_v + at] += p[j] * row[at];
            g->v_size[of_v + at] += p[j] * fabs(row[at]);
        }
        for (int64_t at = 0; at < a->d; at++) {
            const double q = query(a, b, head, i, at), k = stored(a, true, b, of_kv, j, at);
            g->q[of_q + at] += ds * k, g->q_size[of_q + at] += size * fabs(k);
            g->k[of_k + at] += ds * q, g->k_size[of_k + at] += size * fabs(q);
        }
    }
}

static bool all_are(const struct fuzz_tensor *t, const double *want, const double *size, double error) {
    for (int64_t i = 0; i < t->numel; i++)
        if (!fuzz_is(t, i, want[i], size[i] + 1e-3, error)) return false;
    return true;
}

static bool train(void) {
    static const enum layout OF[] = {BSH, BSND, BNSD, SBH};
    struct attention a;
    start(&a, 4);
    a.layout = OF[a.layout];
    if (a.sq > 60) a.sq = 60;
    if (a.skv > 150) a.skv = 150;
    a.dv = a.layout == BSH || a.layout == SBH ? a.d : a.dv > a.d ? a.d : a.dv;
    for (int64_t b = 0; b < a.b; b++) a.q_length[b] = a.sq, a.kv_length[b] = a.skv;
    a.q = tensor_of(&a, a.dtype, a.b, a.n, a.sq, a.d, false);
    a.k = tensor_of(&a, a.dtype, a.b, a.nkv, a.skv, a.d, false);
    a.v = tensor_of(&a, a.dtype, a.b, a.nkv, a.skv, a.dv, false);
    if (fuzz_one_in(2)) choose_mask(&a, a.sq, a.skv, false);
    if (fuzz_one_in(4)) choose_bias(&a, a.dtype, a.sq, a.skv), a.scaled_bias = true;
    struct fuzz_tensor out = tensor_of(&a, a.dtype, a.b, a.n, a.sq, a.dv, true);
    struct fuzz_tensor max = fuzz_result(ACL_FLOAT, FUZZ_SHAPE(a.b, a.n, a.sq, 8), true),
                       sum = fuzz_result(ACL_FLOAT, FUZZ_SHAPE(a.b, a.n, a.sq, 8), true);
    int code = FUZZ_RUN(aclnnFlashAttentionScore, a.q.tensor, a.k.tensor, a.v.tensor, a.bias.tensor, NULL,
                        NULL, a.mask.tensor, NULL, a.scale, 1.0, a.pre, a.next, a.n, LAYOUTS[a.layout], 0,
                        a.masked ? a.sparse : 0, max.tensor, sum.tensor, NULL, out.tensor);
    fuzz_explain("train", code);
    if (code != 0) return false;
    struct fuzz_tensor dy = tensor_of(&a, a.dtype, a.b, a.n, a.sq, a.dv, false),
                       dq = tensor_of(&a, a.dtype, a.b, a.n, a.sq, a.d, true),
                       dk = tensor_of(&a, a.dtype, a.b, a.nkv, a.skv, a.d, true),
                       dv = tensor_of(&a, a.dtype, a.b, a.nkv, a.skv, a.dv, true);
    double *memory = fuzz_take((size_t)(2 * (dq.numel + dk.numel + dv.numel)) * sizeof *memory);
    const struct gradients g = {memory,
                                memory + dq.numel,
                                memory + dq.numel + dk.numel,
                                memory + dq.numel + dk.numel + dv.numel,
                                memory + 2 * dq.numel + dk.numel + dv.numel,
                                memory + 2 * dq.numel + 2 * dk.numel + dv.numel};
    double weight[ROWS];
    for (int64_t b = 0; b < a.b; b++)
        for (int64_t head = 0; head < a.n; head++)
            for (int64_t i = 0; i < a.sq; i++) {
                weigh(&a, b, head, i, weight);
                if (!row_is(&a, b, head, i, weight, &out,
                            place(a.layout, a.n, a.sq, a.dv, a.b, b, head, i, 0)))
                    return false;
                differentiate(&a, b, head, i, weight, &dy, &g);
            }
    code = FUZZ_RUN(aclnnFlashAttentionScoreGrad, a.q.tensor, a.k.tensor, a.v.tensor, dy.tensor,
                    a.bias.tensor, NULL, NULL, a.mask.tensor, max.tensor, sum.tensor, NULL, out.tensor, NULL,
                    a.scale, 1.0, a.pre, a.next, a.n, LAYOUTS[a.layout], 0, a.masked ? a.sparse : 0,
                    dq.tensor, dk.tensor, dv.tensor, NULL);
    fuzz_explain("train", code);
    /* delta comes from the rounded output. */
    const double error = 16 * fuzz_error(a.dtype);
    return code == 0 && all_are(&dq, g.q, g.q_size, error) && all_are(&dk, g.k, g.k_size, error) &&
           all_are(&dv, g.v, g.v_size, error);
}

static const struct fuzz_operator OPERATORS[] = {{"infer", infer}, {"train", train}};

TEST(attention) {
    CHECK(aclInit(NULL) == 0 && aclrtSetDevice(0) == 0);
    CHECK(fuzz_all(OPERATORS, sizeof OPERATORS / sizeof OPERATORS[0], CASES));
    CHECK(aclFinalize() == 0);
}
