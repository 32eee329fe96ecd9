// SPDX-License-Identifier: Apache-2.0
/* Matrices [n, n] of tokens made doubly stochastic by Sinkhorn's iteration, for hyper-connections on a
 * manifold (arXiv 2512.24880), and the gradient:
 *
 *     norm[0] = softmax over rows of x + eps
 *     sum[k] = sums of norm[k - 1] (columns for odd k, rows for even k) + eps,   norm[k] = norm[k - 1] /
 * sum[k]
 *
 * for k up to 2 numIters - 1, which is the output. Matrices are 4 to 8 wide, so a vector is as many tokens.
 * Training keeps every step: normOut is [2 numIters, n, n, T] and sumOut [2 numIters, n, T], at the front of
 * what the caller gives.
 *
 * torch_npu gives flat tensors with rows of 8. In those lies what 64 cores with 248 KiB each keep, as
 * op-plugin's test has it: tokens are dealt out to the cores, and on each to tiles that fit its memory. A
 * tile of u tokens has norm [2 numIters, n, u, 8] and for each iteration sums of rows [8, u] and of columns
 * [u, 8]. Behind n are zeros, but ones for sums of rows, which the first iteration does not have: it has
 * ones. */
#include "plain.h"

enum { WIDEST = 8, TOKENS = 16 }; /* TOKENS: the widest vector */
enum { CORES = 64, CORE_FLOATS = (248 * 1024 - 64 - 512) / 2 / 4 };

/* T tokens of n * n elements; norm and sum may be NULL. */
struct sinkhorn {
    const float *x;
    float *y, *norm, *sum;
    const float *norm_in, *sum_in; /* of the gradient, which has x for that of the output */
    size_t tokens, n, steps;
    bool flat;
    size_t of_core, of_tile; /* tokens; all of them unless flat */
    float eps;
};

/* Tokens that lie together. */
struct tile {
    size_t first, count;
};
static inline struct tile tile_of(const struct sinkhorn *s, size_t token) {
    const size_t core = token / s->of_core * s->of_core;
    const size_t first = core + (token - core) / s->of_tile * s->of_tile;
    const size_t end = hc_min_size(core + s->of_core, s->tokens);
    return (struct tile){first, hc_min_size(s->of_tile, end - first)};
}
/* A number of a token, and how far that of the next one is. */
struct spot {
    size_t at, next;
};
static inline struct spot norm_spot(const struct sinkhorn *s, const struct tile *t, size_t token, size_t k,
                                    size_t i, size_t j) {
    const size_t n = s->n;
    if (!s->flat) return (struct spot){((k * n + i) * n + j) * s->tokens + token, 1};
    const size_t row = (t->first * s->steps + k * t->count) * n + i * t->count + token - t->first;
    return (struct spot){row * WIDEST + j, WIDEST};
}
/* Of line i: a row for even k, a column for odd k. */
static inline struct spot sum_spot(const struct sinkhorn *s, const struct tile *t, size_t token, size_t k,
                                   size_t i) {
    if (!s->flat) return (struct spot){(k * s->n + i) * s->tokens + token, 1};
    const size_t base = (t->first * s->steps + k * t->count) * WIDEST, in_tile = token - t->first;
    return k % 2 == 0 ? (struct spot){base + i * t->count + in_tile, 1}
                      : (struct spot){base + in_tile * WIDEST + i, WIDEST};
}
/* Tokens [begin, end) of a group of TOKENS. */
HC_KERNEL(sinkhorn, (const struct sinkhorn *s, size_t begin, size_t end))
HC_KERNEL(sinkhorn_grad, (const struct sinkhorn *s, size_t begin, size_t end))

#ifdef HC_ISA
#include "simd_math.h"

/* Element e of up to HC_VL tokens from `at` on; lanes behind the end are 1, which nothing divides by zero. */
static vf load_tokens(const float *x, size_t at, size_t lanes, size_t size, size_t e) {
    vf v = vf_set(1.0f);
    for (size_t i = 0; i < lanes; i++) v[i] = x[(at + i) * size + e];
    return v;
}
static void store_tokens(float *y, size_t at, size_t lanes, size_t size, size_t e, vf v) {
    for (size_t i = 0; i < lanes; i++) y[(at + i) * size + e] = v[i];
}

/* A step's number of so many tokens. */
static void keep(float *to, struct spot p, vf v, size_t lanes) {
    if (p.next != 1) {
        for (size_t i = 0; i < lanes; i++) to[p.at + i * p.next] = v[i];
    } else if (lanes == HC_VL) vf_store(to + p.at, v);
    else vf_store_part(to + p.at, v, lanes);
}
static vf kept(const float *from, struct spot p, size_t lanes) {
    vf v = vf_set(1.0f);
    if (p.next == 1 && lanes == HC_VL) return vf_load(from + p.at);
    for (size_t i = 0; i < lanes; i++) v[i] = from[p.at + i * p.next];
    return v;
}

/* A vector holds one element of so many tokens: sums over lines are additions of vectors. */
static void softmax_rows(vf *a, size_t n, float eps) {
    for (size_t i = 0; i < n; i++, a += n) {
        vf max = a[0], sum = vf_zero();
        for (size_t j = 1; j < n; j++) max = vf_max(a[j], max);
        for (size_t j = 0; j < n; j++) sum += a[j] = vf_exp(a[j] - max);
        for (size_t j = 0; j < n; j++) a[j] = a[j] / sum + eps;
    }
}

/* One step: lines are rows (stride n, elements 1 apart) or columns. */
static void step(const struct sinkhorn *s, vf *a, size_t k, const struct tile *t, size_t at, size_t lanes) {
    const size_t n = s->n, line = k % 2 == 0 ? n : 1, element = k % 2 == 0 ? 1 : n;
    for (size_t i = 0; i < n; i++) {
        vf sum = vf_zero();
        for (size_t j = 0; j < n; j++) sum += a[i * line + j * element];
        sum += s->eps;
        for (size_t j = 0; j < n; j++) a[i * line + j * element] /= sum;
        if (s->sum != NULL) keep(s->sum, sum_spot(s, t, at, k, i), sum, lanes);
    }
}

/* The matrices stay in registers, or on the stack, for all steps. */
void HC_FN(sinkhorn)(const struct sinkhorn *s, size_t begin, size_t end) {
    const size_t n = s->n, size = n * n;
    for (size_t at = begin, lanes; at < end; at += lanes) {
        vf a[WIDEST * WIDEST];
        const struct tile t = tile_of(s, at);
        lanes = hc_min_size(HC_VL, hc_min_size(end, t.first + t.count) - at);
        for (size_t e = 0; e < size; e++) a[e] = load_tokens(s->x, at, lanes, size, e);
        for (size_t k = 0; k < s->steps; k++) {
            if (k == 0) softmax_rows(a, n, s->eps);
            else step(s, a, k, &t, at, lanes);
            for (size_t e = 0; e < size && s->norm != NULL; e++)
                keep(s->norm, norm_spot(s, &t, at, k, e / n, e % n), a[e], lanes);
        }
        for (size_t e = 0; e < size; e++) store_tokens(s->y, at, lanes, size, e, a[e]);
    }
}

/* d norm[k] to d norm[k - 1]: (d - sum of d * norm[k] over the line) / sum[k]. */
static void step_back(const struct sinkhorn *s, vf *d, size_t k, const struct tile *t, size_t at,
                      size_t lanes) {
    const size_t n = s->n, line = k % 2 == 0 ? n : 1, element = k % 2 == 0 ? 1 : n;
    for (size_t i = 0; i < n; i++) {
        const vf sum = kept(s->sum_in, sum_spot(s, t, at, k, i), lanes);
        vf dot = vf_zero();
        for (size_t j = 0; j < n; j++) {
            const size_t e = i * line + j * element;
            dot += d[e] * kept(s->norm_in, norm_spot(s, t, at, k, e / n, e % n), lanes);
        }
        for (size_t j = 0; j < n; j++) d[i * line + j * element] = (d[i * line + j * element] - dot) / sum;
    }
}

/* Of the softmax, whose eps the gradient is not told: a row of it adds up to 1 + n eps. */
static void softmax_back(const struct sinkhorn *s, vf *d, const struct tile *t, size_t at, size_t lanes) {
    const size_t n = s->n;
    for (size_t i = 0; i < n; i++, d += n) {
        vf p[WIDEST], total = vf_zero(), dot = vf_zero();
        for (size_t j = 0; j < n; j++) total += p[j] = kept(s->norm_in, norm_spot(s, t, at, 0, i, j), lanes);
        const vf eps = (total - 1.0f) / (float)n;
        for (size_t j = 0; j < n; j++) p[j] -= eps, dot += d[j] * p[j];
        for (size_t j = 0; j < n; j++) d[j] = p[j] * (d[j] - dot);
    }
}

/* From the last step to the first. */
void HC_FN(sinkhorn_grad)(const struct sinkhorn *s, size_t begin, size_t end) {
    const size_t size = s->n * s->n;
    for (size_t at = begin, lanes; at < end; at += lanes) {
        vf d[WIDEST * WIDEST];
        const struct tile t = tile_of(s, at);
        lanes = hc_min_size(HC_VL, hc_min_size(end, t.first + t.count) - at);
        for (size_t e = 0; e < size; e++) d[e] = load_tokens(s->x, at, lanes, size, e);
        for (size_t k = s->steps - 1; k > 0; k--) step_back(s, d, k, &t, at, lanes);
        softmax_back(s, d, &t, at, lanes);
        for (size_t e = 0; e < size; e++) store_tokens(s->y, at, lanes, size, e, d[e]);
    }
}

#else

struct args {
    int64_t tokens, n, steps;
    float eps;
    bool flat;
};

static void forward(void *ctx, size_t begin, size_t end) { HC_DISPATCH(sinkhorn)(ctx, begin, end); }
static void backward(void *ctx, size_t begin, size_t end) { HC_DISPATCH(sinkhorn_grad)(ctx, begin, end); }

/* A tile has two copies of its matrices and of its sums and steps with rows of 8; of more than 8 tokens it
 * has whole eights. */
static size_t tokens_of_tile(size_t of_core, size_t n) {
    const size_t matrices = 2 * hc_align_up(of_core * n * n, WIDEST), steps = 2 * WIDEST * (n + 1);
    if (matrices + steps * of_core <= CORE_FLOATS) return of_core;
    const size_t fit = CORE_FLOATS / (2 * hc_align_up(n * n, WIDEST) + steps);
    return fit / WIDEST * WIDEST;
}

static struct sinkhorn open_sinkhorn(const struct args *a) {
    struct sinkhorn s = {.tokens = (size_t)a->tokens,
                         .n = (size_t)a->n,
                         .steps = (size_t)a->steps,
                         .eps = a->eps,
                         .flat = a->flat};
    s.of_core = s.of_tile = hc_max_size(s.tokens, 1);
    if (!a->flat) return s;
    s.of_core = hc_max_size(hc_ceil_div(s.tokens, CORES), 1);
    s.of_tile = tokens_of_tile(s.of_core, s.n);
    return s;
}

/* Sums of rows that there are not. */
static void fill_rows(const struct sinkhorn *s) {
    for (size_t at = 0, count; at < s->tokens; at += count) {
        const struct tile t = tile_of(s, at);
        count = t.count;
        for (size_t k = 0; k < s->steps; k += 2) {
            for (size_t i = k == 0 ? 0 : s->n; i < WIDEST; i++) {
                float *to = s->sum + sum_spot(s, &t, at, k, i).at;
                for (size_t r = 0; r < count; r++) to[r] = 1;
            }
        }
    }
}

/* Operands x, output, normOut, sumOut. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    struct hc_plain p = hc_plain_open(call->name);
    struct sinkhorn s = open_sinkhorn(a);
    s.x = hc_plain_in(&p, hc_arg(call, 0)), s.y = hc_plain_out(&p, hc_arg(call, 1));
    s.norm = hc_plain_out(&p, hc_arg(call, 2)), s.sum = hc_plain_out(&p, hc_arg(call, 3));
    if (p.status == 0) {
        /* sum[0] is of no step, and the caller's memory may be longer: no number is left to chance. */
        const int64_t whole = a->flat ? 0 : a->steps * a->n * a->n * a->tokens;
        for (int64_t i = 0; s.sum != NULL && i < hc_arg(call, 3)->numel; i++) s.sum[i] = 0;
        for (int64_t i = whole; s.norm != NULL && i < hc_arg(call, 2)->numel; i++) s.norm[i] = 0;
        if (a->flat && s.sum != NULL) fill_rows(&s);
        hc_parallel_for(s.tokens, 4 * TOKENS, forward, &s);
    }
    return hc_plain_close(&p, 0);
}

/* Operands gradOutput, normOut, sumOut, out. */
static aclnnStatus run_grad(const struct hc_call *call) {
    const struct args *a = call->args;
    struct hc_plain p = hc_plain_open(call->name);
    struct sinkhorn s = open_sinkhorn(a);
    s.x = hc_plain_in(&p, hc_arg(call, 0)), s.norm_in = hc_plain_in(&p, hc_arg(call, 1));
    s.sum_in = hc_plain_in(&p, hc_arg(call, 2)), s.y = hc_plain_out(&p, hc_arg(call, 3));
    if (p.status == 0) hc_parallel_for(s.tokens, 4 * TOKENS, backward, &s);
    return hc_plain_close(&p, 0);
}

/* Square matrices of tokens, [B, S, n, n] or [T, n, n]. */
static aclnnStatus check(const char *name, const char *arg, const aclTensor *x, struct args *a) {
    HC_CHECK(x != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, arg);
    HC_CHECK((x->rank == 3 || x->rank == 4) && x->shape[x->rank - 1] == x->shape[x->rank - 2] &&
                 x->shape[x->rank - 1] >= 1 && x->shape[x->rank - 1] <= WIDEST && hc_fits_f32(x->dtype),
             ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted [B,S,n,n] or [T,n,n] floats with n of 1 to %d",
             name, arg, HC_SHOW(x), WIDEST);
    a->n = x->shape[x->rank - 1], a->tokens = x->numel / (a->n * a->n);
    return 0;
}

/* What keeps the steps is contiguous float32 and has room for all of them. */
static aclnnStatus check_steps(const char *name, const char *arg, const aclTensor *t, const struct args *a,
                               int64_t each) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, arg);
    HC_CHECK(hc_fits_f32(t->dtype) && t->numel >= a->steps * each * a->tokens, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted %lld steps of %lld for each of %lld tokens", name, arg, HC_SHOW(t),
             (long long)a->steps, (long long)each, (long long)a->tokens);
    return 0;
}

/* torch_npu.npu_mhc_sinkhorn(x, eps, num_iters, out_flag): normOut and sumOut are null where nobody trains.
 */
HC_API aclnnStatus aclnnMhcSinkhornGetWorkspaceSize(const aclTensor *x, float eps, int64_t numIters,
                                                    aclTensor *output, aclTensor *normOut, aclTensor *sumOut,
                                                    uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char NAME[] = "aclnnMhcSinkhorn";
    struct args a = {.eps = eps, .steps = 2 * numIters};
    HC_TRY(check(NAME, "x", x, &a));
    HC_CHECK(numIters >= 1 && numIters <= 100, ACLNN_ERR_PARAM_INVALID,
             "%s: numIters is %lld, wanted 1 to 100", NAME, (long long)numIters);
    HC_TRY(hc_plain_check(NAME, "output", output, x->rank, x->shape));
    if (normOut != NULL || sumOut != NULL) a.flat = (normOut != NULL ? normOut : sumOut)->rank == 1;
    const int64_t line = a.flat ? WIDEST : a.n;
    if (normOut != NULL) HC_TRY(check_steps(NAME, "normOut", normOut, &a, a.n * line));
    if (sumOut != NULL) HC_TRY(check_steps(NAME, "sumOut", sumOut, &a, line));
    return HC_PLAN(NAME, run, &a, HC_IN(x), HC_OUT(output), HC_OUT_OPT(normOut), HC_OUT_OPT(sumOut));
}
HC_OP_LAUNCH(aclnnMhcSinkhorn)

/* How many steps were kept follows from the sizes: [2 numIters, n, n, ...], or flat with rows of 8. */
HC_API aclnnStatus aclnnMhcSinkhornBackwardGetWorkspaceSize(const aclTensor *gradOutput,
                                                            const aclTensor *normOut, const aclTensor *sumOut,
                                                            aclTensor *out, uint64_t *workspaceSize,
                                                            aclOpExecutor **executor) {
    static const char NAME[] = "aclnnMhcSinkhornBackward";
    struct args a = {0};
    HC_TRY(check(NAME, "gradOutput", gradOutput, &a));
    HC_TRY(hc_plain_check(NAME, "out", out, gradOutput->rank, gradOutput->shape));
    HC_CHECK(normOut != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: normOut is null", NAME);
    a.flat = normOut->rank == 1;
    const int64_t line = a.flat ? WIDEST : a.n, each = a.tokens * a.n * line;
    a.steps = each > 0 ? normOut->numel / each : 2;
    HC_CHECK(a.steps >= 2 && a.steps % 2 == 0 && (each == 0 || a.steps * each == normOut->numel),
             ACLNN_ERR_PARAM_INVALID, "%s: normOut is %s, wanted an even number of steps of %lld", NAME,
             HC_SHOW(normOut), (long long)each);
    HC_TRY(check_steps(NAME, "normOut", normOut, &a, a.n * line));
    HC_TRY(check_steps(NAME, "sumOut", sumOut, &a, line));
    return HC_PLAN(NAME, run_grad, &a, HC_IN(gradOutput), HC_IN(normOut), HC_IN(sumOut), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnMhcSinkhornBackward)
#endif
