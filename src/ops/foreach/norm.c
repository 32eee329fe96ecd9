// SPDX-License-Identifier: Apache-2.0
/* out[t] = the p-norm of all elements of tensor t of a list: (sum |x|^p)^(1/p), the number of non-zeros for p
 * = 0, the largest or smallest |x| for p = inf or -inf.
 *
 * Chunks of fixed size are reduced in float lanes and added up in double, in order: the result depends on the
 * shapes only, and a norm over 10^9 elements keeps float accuracy. */
#include "temporary.h"
#include "foreach.h"

enum norm_kind { NORM_ONE, NORM_TWO, NORM_COUNT, NORM_MAX, NORM_MIN, NORM_POWER };
HC_KERNEL(foreach_norm_F32, (size_t n, const void *x, enum norm_kind kind, double p, double *out))
HC_KERNEL(foreach_norm_F64, (size_t n, const void *x, enum norm_kind kind, double p, double *out))

#ifdef HC_ISA
#include <math.h>

/* As many independent sums as hide the latency of an addition. */
enum { LANES = 64 };
/* lane[k] folds elements k, k + LANES, ..; the last ones, then halves onto halves. `first` is the value
 * of no elements. */
#define FOLD(first, term, join)                                                                              \
    for (size_t k = 0; k < LANES; k++) lane[k] = (first);                                                    \
    for (; i + LANES <= n; i += LANES) {                                                                     \
        for (size_t k = 0; k < LANES; k++) {                                                                 \
            const __typeof__(v[0]) a = v[i + k];                                                             \
            const __typeof__(v[0]) t = (term), s = lane[k];                                                  \
            lane[k] = (join);                                                                                \
        }                                                                                                    \
    }                                                                                                        \
    for (size_t k = 0; i < n; i++, k++) {                                                                    \
        const __typeof__(v[0]) a = v[i];                                                                     \
        const __typeof__(v[0]) t = (term), s = lane[k];                                                      \
        lane[k] = (join);                                                                                    \
    }                                                                                                        \
    for (size_t half = LANES / 2; half > 0; half /= 2) {                                                     \
        for (size_t k = 0; k < half; k++) {                                                                  \
            const __typeof__(v[0]) t = lane[k + half], s = lane[k];                                          \
            lane[k] = (join);                                                                                \
        }                                                                                                    \
    }                                                                                                        \
    break;
#define NORM(name, type, suffix)                                                                             \
    void HC_FN(name)(size_t n, const void *x, enum norm_kind kind, double p, double *out) {                  \
        const type *v = x;                                                                                   \
        type lane[LANES];                                                                                    \
        size_t i = 0;                                                                                        \
        switch (kind) {                                                                                      \
        case NORM_ONE: FOLD(0, __builtin_fabs##suffix(a), s + t)                                             \
        case NORM_TWO: FOLD(0, a * a, s + t)                                                                 \
        case NORM_COUNT: FOLD(0, (type)(a != 0), s + t)                                                      \
        case NORM_MAX: FOLD(0, __builtin_fabs##suffix(a), s > t || s != s ? s : t)                           \
        case NORM_MIN: FOLD((type)INFINITY, __builtin_fabs##suffix(a), s < t || s != s ? s : t)              \
        default: FOLD(0, pow##suffix(__builtin_fabs##suffix(a), (type)p), s + t)                             \
        }                                                                                                    \
        *out = (double)lane[0];                                                                              \
    }
NORM(foreach_norm_F32, float, f)
NORM(foreach_norm_F64, double, )
#else
#include <math.h>

enum { CHUNK = 16 * 1024 };
static const char NAME[] = "aclnnForeachNorm";

struct norm {
    double p;
    enum norm_kind kind;
};

/* A member of the list, dense in memory: its own, or a copy of one with gaps. */
struct tensor {
    const char *data;
    size_t numel, item_size, first_chunk;
    enum hc_block block;
    bool direct;
    hc_load_fn *load;
    void *owned;
};

/* One call; partials has a place for each chunk of every tensor. */
struct job {
    struct norm norm;
    struct tensor *tensors;
    size_t count;
    double *partials;
};

/* Of two parts of a tensor, by kind; sums of powers add. */
static double join(enum norm_kind kind, double a, double b) {
    switch (kind) {
    case NORM_MAX: return a > b || a != a ? a : b;
    case NORM_MIN: return a < b || a != a ? a : b;
    default: return a + b;
    }
}

/* 16 Ki elements, in blocks of 1024 that are summed in float lanes, blocks added in double. */
static double reduce_chunk(const struct job *job, const struct tensor *t, size_t begin, size_t end) {
    _Alignas(64) char block[HC_EW_BLOCK * sizeof(double)];
    double total = job->norm.kind == NORM_MIN ? INFINITY : 0;
    for (size_t at = begin; at < end; at += HC_EW_BLOCK) {
        const size_t n = hc_min_size(HC_EW_BLOCK, end - at);
        const char *p = t->data + at * t->item_size;
        double part;
        if (!t->direct) t->load(n, block, p, 1);
        const void *x = t->direct ? p : block;
        if (t->block == HC_F64) HC_DISPATCH(foreach_norm_F64)(n, x, job->norm.kind, job->norm.p, &part);
        else HC_DISPATCH(foreach_norm_F32)(n, x, job->norm.kind, job->norm.p, &part);
        total = join(job->norm.kind, total, part);
    }
    return total;
}

/* Chunks [begin, end) of all tensors in a row. */
static void reduce_chunks(void *ctx, size_t begin, size_t end) {
    const struct job *job = ctx;
    size_t at = 0;
    for (size_t chunk = begin; chunk < end; chunk++) {
        while (at + 1 < job->count && job->tensors[at + 1].first_chunk <= chunk) at++;
        const struct tensor *t = &job->tensors[at];
        const size_t first = (chunk - t->first_chunk) * CHUNK;
        job->partials[chunk] = reduce_chunk(job, t, first, hc_min_size(first + CHUNK, t->numel));
    }
}

/* From the sum of powers to the norm. */
static double finish(const struct norm *norm, double total) {
    switch (norm->kind) {
    case NORM_TWO: return sqrt(total);
    case NORM_POWER: return pow(total, 1 / norm->p);
    default: return total;
    }
}

/* The order of elements does not matter, so any dense tensor is taken as it lies. */
static aclnnStatus set_tensor(struct tensor *t, const aclTensor *x) {
    aclTensor view = *x;
    t->owned = NULL;
    if (!hc_is_dense(x)) HC_TRY(hc_contiguous(x, x->dtype, &view, &t->owned));
    t->data = hc_data(&view);
    t->numel = hc_numel(x);
    t->item_size = (size_t)x->item_size;
    t->block = hc_compute_block(x->dtype);
    t->direct = hc_block_of(x->dtype) == (int)t->block;
    t->load = hc_load_for(x->dtype, t->block);
    return 0;
}

/* Chunks in parallel, then each tensor's in order. job->count says how many tensors own something, also
 * on failure. */
static aclnnStatus reduce_list(const struct hc_call *call, struct job *job) {
    size_t chunks = 0;
    for (; job->count < hc_arg_count(call, 0); job->count++) {
        struct tensor *t = &job->tensors[job->count];
        HC_TRY(set_tensor(t, hc_arg_at(call, 0, job->count)));
        t->first_chunk = chunks;
        chunks += hc_ceil_div(t->numel, CHUNK);
    }
    job->partials = hc_block_take_array(chunks + 1, sizeof(double));
    HC_CHECK(job->partials != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu partial sums", NAME,
             chunks);
    hc_parallel_for(chunks, 1, reduce_chunks, job);
    for (size_t i = 0; i < job->count; i++) {
        const struct tensor *t = &job->tensors[i];
        const aclTensor *out = hc_arg_at(call, 1, i);
        double total = job->norm.kind == NORM_MIN ? INFINITY : 0;
        for (size_t c = 0; c < hc_ceil_div(t->numel, CHUNK); c++) {
            total = join(job->norm.kind, total, job->partials[t->first_chunk + c]);
        }
        total = finish(&job->norm, total);
        hc_store_for(out->dtype, HC_F64)(1, hc_data(out), 1, &total);
    }
    return 0;
}

/* Two levels of sums, within a chunk and over chunks, both in double and in an order that shapes alone
 * decide. */
static aclnnStatus run(const struct hc_call *call) {
    const size_t count = hc_arg_count(call, 0);
    if (count == 0) return 0;
    struct job job = {.norm = *(const struct norm *)call->args,
                      .tensors = hc_block_take_array(count, sizeof(struct tensor))};
    HC_CHECK(job.tensors != NULL, ACLNN_ERR_INNER, "%s: out of host memory for a list of %zu tensors", NAME,
             count);
    const aclnnStatus status = reduce_list(call, &job);
    for (size_t i = 0; i < job.count; i++) hc_block_give(job.tensors[i].owned);
    hc_block_give(job.partials);
    hc_block_give(job.tensors);
    return status;
}

/* Kinds that avoid pow, which costs more than the memory. */
static enum norm_kind kind_of(double p) {
    if (p == 1) return NORM_ONE;
    if (p == 2) return NORM_TWO;
    if (p == 0) return NORM_COUNT;
    return isinf(p) ? (p > 0 ? NORM_MAX : NORM_MIN) : NORM_POWER;
}

/* torch._foreach_norm(x, p): one value per tensor. The norm of all gradients, for clipping, is then the
 * norm of these. */
HC_API aclnnStatus aclnnForeachNormGetWorkspaceSize(const aclTensorList *x, const aclScalar *scalar,
                                                    const aclTensorList *out, uint64_t *workspaceSize,
                                                    aclOpExecutor **executor) {
    HC_CHECK(x && scalar && out, ACLNN_ERR_PARAM_NULLPTR, "%s: x, scalar or out is null", NAME);
    HC_CHECK(x->size == out->size, ACLNN_ERR_PARAM_INVALID, "%s: out has %zu tensors, x has %zu", NAME,
             out->size, x->size);
    for (size_t i = 0; i < x->size; i++) {
        const aclTensor *t = x->data[i], *to = out->data[i];
        HC_CHECK(t && to, ACLNN_ERR_PARAM_NULLPTR, "%s: tensor %zu of x or out is null", NAME, i);
        HC_CHECK(hc_dtype_is_float(t->dtype) && hc_dtype_is_float(to->dtype), ACLNN_ERR_PARAM_INVALID,
                 "%s: tensor %zu is %s in x and %s in out, wanted floats", NAME, i, HC_SHOW(t), HC_SHOW(to));
        HC_CHECK(to->numel == 1, ACLNN_ERR_PARAM_INVALID, "%s: out[%zu] is %s, wanted one element", NAME, i,
                 HC_SHOW(to));
    }
    const double p = hc_scalar_f64(scalar);
    const struct norm args = {p, kind_of(p)};
    return HC_PLAN(NAME, run, &args, HC_IN_LIST(x), HC_OUT_LIST(out));
}
HC_OP_LAUNCH(aclnnForeachNorm)
#endif
