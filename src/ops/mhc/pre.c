// SPDX-License-Identifier: Apache-2.0
/* The start of a layer with hyper-connections (arXiv 2512.24880): from n residual streams x of D elements
 * come the layer's input and the numbers that mix streams behind it:
 *
 *     mix = (gamma * x) phi^T,   m = mix / rms(x)          K = 2n or 2n + n^2 numbers of a token
 *     hPre = sigmoid(alpha0 m[0..n) + bias) + hcEps,   hPost = 2 sigmoid(alpha1 m[n..2n) + bias)
 *     hRes = alpha2 m[2n..) + bias (before Sinkhorn),  hIn = sum over k of hPre[k] * x[k]
 *
 * gamma goes into phi once instead of into every x: the large work is then one product of matrices forward,
 * and two backward, whose results give the gradients of phi and gamma, too. */
#include <string.h>

#include "gemm.h"
#include "plain.h"

enum { STREAMS = 16 };

/* T tokens, n streams of D elements, width n * D, K numbers. */
struct pre {
    const float *x, *alpha, *bias, *mix_in, *rms_in, *pre_in, *post_in;
    const float *d_in, *d_post, *d_res, *d_behind; /* d_behind: a gradient of x from elsewhere, or NULL */
    float *h_in, *h_post, *h_res, *rms, *mix, *h_pre;
    float *d_x, *d_mix, *d_m; /* d_mix, d_m [T, K]: gradients of mix, and of what alpha multiplies */
    size_t tokens, n, size, k;
    float norm_eps, hc_eps;
};
HC_KERNEL(mhc_pre, (const struct pre *p, size_t begin, size_t end))
HC_KERNEL(mhc_pre_numbers, (const struct pre *p, size_t begin, size_t end))
HC_KERNEL(mhc_pre_streams, (const struct pre *p, size_t begin, size_t end))
/* to[i, j] = a[i, j] * b[j] for so many rows; and sum[j] = sum over rows of a[i, j] * c[i, j]. */
HC_KERNEL(mhc_scale, (size_t rows, size_t n, float *to, const float *a, const float *b))
/* to[i, j] = a[i, j] * b[j], or a alone for NULL, cut to HF32: 10 bits of a float's mantissa, half a unit
 * away from zero. */
HC_KERNEL(mhc_scale_hf32, (size_t rows, size_t n, float *to, const float *a, const float *b))
HC_KERNEL(mhc_column_dots, (size_t rows, size_t n, size_t ld, float *sum, const float *a, const float *c))

#ifdef HC_ISA
#include "simd_rows.h"

static float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
/* Which of alpha a number belongs to. */
static float alpha_of(const struct pre *p, size_t k) { return p->alpha[k < p->n ? 0 : k < 2 * p->n ? 1 : 2]; }

/* mix is there; everything else of tokens [begin, end). */
void HC_FN(mhc_pre)(const struct pre *p, size_t begin, size_t end) {
    const size_t n = p->n, width = n * p->size;
    for (size_t t = begin; t < end; t++) {
        const float *x = p->x + t * width, *mix = p->mix + t * p->k;
        const float rms = (float)(1 / sqrt(vf_row_dot(x, x, width) / (double)width + (double)p->norm_eps));
        float pre[STREAMS], *h_in = p->h_in + t * p->size;
        if (p->rms != NULL) p->rms[t] = rms;
        for (size_t k = 0; k < p->k; k++) {
            const float h = alpha_of(p, k) * (mix[k] * rms) + p->bias[k];
            if (k < n) pre[k] = sigmoid(h) + p->hc_eps;
            else if (k < 2 * n) p->h_post[t * n + k - n] = 2.0f * sigmoid(h);
            else p->h_res[t * n * n + k - 2 * n] = h;
        }
        if (p->h_pre != NULL) memcpy(p->h_pre + t * n, pre, n * sizeof *pre);
        for (size_t d = 0; d < p->size; d++) h_in[d] = 0;
        for (size_t k = 0; k < n; k++)
            for (size_t d = 0; d < p->size; d++) h_in[d] += pre[k] * x[k * p->size + d];
    }
}

/* Gradients of the K numbers of each token. */
void HC_FN(mhc_pre_numbers)(const struct pre *p, size_t begin, size_t end) {
    const size_t n = p->n;
    for (size_t t = begin; t < end; t++) {
        float *d = p->d_m + t * p->k;
        for (size_t k = 0; k < p->k; k++) {
            if (k < n) {
                const float s = p->pre_in[t * n + k] - p->hc_eps;
                const float *x = p->x + (t * n + k) * p->size;
                d[k] = (float)vf_row_dot(p->d_in + t * p->size, x, p->size) * s * (1.0f - s);
            } else if (k < 2 * n) {
                const float h = p->post_in[t * n + k - n];
                d[k] = p->d_post[t * n + k - n] * h * (1.0f - h / 2.0f);
            } else {
                d[k] = p->d_res[t * n * n + k - 2 * n];
            }
            p->d_mix[t * p->k + k] = d[k] * alpha_of(p, k) * p->rms_in[t];
        }
    }
}

/* d_x holds what comes through mix: the rest is added. */
void HC_FN(mhc_pre_streams)(const struct pre *p, size_t begin, size_t end) {
    const size_t n = p->n, width = n * p->size;
    for (size_t t = begin; t < end; t++) {
        const float rms = p->rms_in[t], *x = p->x + t * width, *d_in = p->d_in + t * p->size;
        double d_rms = 0;
        for (size_t k = 0; k < p->k; k++)
            d_rms += (double)(p->d_m[t * p->k + k] * alpha_of(p, k)) * (double)p->mix_in[t * p->k + k];
        const float f = (float)(-d_rms * (double)rms * (double)rms * (double)rms / (double)width);
        for (size_t k = 0; k < n; k++) {
            const float h = p->pre_in[t * n + k];
            float *d_x = p->d_x + (t * n + k) * p->size;
            for (size_t d = 0; d < p->size; d++) d_x[d] += f * x[k * p->size + d] + h * d_in[d];
        }
        for (size_t i = 0; i < width && p->d_behind != NULL; i++)
            p->d_x[t * width + i] += p->d_behind[t * width + i];
    }
}

void HC_FN(mhc_scale)(size_t rows, size_t n, float *to, const float *a, const float *b) {
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++) to[i * n + j] = b != NULL ? a[i * n + j] * b[j] : a[i * n + j];
}

/* What is not finite stays: a carry out of its mantissa would be another number. */
static float to_hf32(float x) {
    enum { CUT = 13 };
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t cut = (bits + (1u << (CUT - 1))) >> CUT << CUT;
    bits = (bits & 0x7f800000u) == 0x7f800000u ? bits : cut;
    memcpy(&x, &bits, sizeof x);
    return x;
}

void HC_FN(mhc_scale_hf32)(size_t rows, size_t n, float *to, const float *a, const float *b) {
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++)
            to[i * n + j] = to_hf32(b != NULL ? a[i * n + j] * b[j] : a[i * n + j]);
}

void HC_FN(mhc_column_dots)(size_t rows, size_t n, size_t ld, float *sum, const float *a, const float *c) {
    for (size_t j = 0; j < n; j++) sum[j] = 0;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++) sum[j] += a[i * ld + j] * c[i * ld + j];
}

#else

struct args {
    int64_t tokens, n, size, k;
    float norm_eps, hc_eps;
    bool hf32; /* the product's operands are cut */
};

static void forward(void *ctx, size_t begin, size_t end) { HC_DISPATCH(mhc_pre)(ctx, begin, end); }
static void numbers(void *ctx, size_t begin, size_t end) { HC_DISPATCH(mhc_pre_numbers)(ctx, begin, end); }
static void streams(void *ctx, size_t begin, size_t end) { HC_DISPATCH(mhc_pre_streams)(ctx, begin, end); }

/* out [m, n] = a [m, k] b [k, n] with row strides; a_t, b_t: the operand lies transposed. */
static aclnnStatus product(size_t m, size_t n, size_t k, const float *a, bool a_t, const float *b, bool b_t,
                           float *out) {
    return hc_gemm(&(const struct hc_gemm){
        .m = m,
        .n = n,
        .k = k,
        .a =
            {.data = (void *)a, .dtype = ACL_FLOAT, .row = a_t ? 1 : (int64_t)k, .col = a_t ? (int64_t)m : 1},
        .b =
            {.data = (void *)b, .dtype = ACL_FLOAT, .row = b_t ? 1 : (int64_t)n, .col = b_t ? (int64_t)k : 1},
        .out = {.data = out, .dtype = ACL_FLOAT, .row = (int64_t)n, .col = 1},
        .alpha = HC_GEMM_REAL(1)});
}

/* phi with gamma in every row; phi itself where there is no gamma. */
static const float *scaled_phi(struct hc_plain *p, const struct args *a, const float *phi,
                               const float *gamma) {
    if (gamma == NULL || phi == NULL) return phi;
    float *own = hc_plain_take(p, (size_t)(a->k * a->n * a->size), sizeof *own);
    if (own != NULL) HC_DISPATCH(mhc_scale)((size_t)a->k, (size_t)(a->n * a->size), own, phi, gamma);
    return own;
}

/* rows x n of a times b, cut to HF32. */
struct cut {
    size_t n;
    const float *a, *b;
    float *to;
};
static void cut_rows(void *ctx, size_t begin, size_t end) {
    const struct cut *c = ctx;
    HC_DISPATCH(mhc_scale_hf32)(end - begin, c->n, c->to + begin * c->n, c->a + begin * c->n, c->b);
}

/* mix = (gamma x) phi^T. Of HF32 it is x that gamma goes into, as either operand is cut once, as it is. */
static aclnnStatus mix(struct hc_plain *p, const struct args *a, const struct pre *o, const float *phi,
                       const float *gamma) {
    const size_t width = o->n * o->size;
    const float *x = o->x;
    if (a->hf32) {
        struct cut both[] = {{width, x, gamma, hc_plain_take(p, o->tokens * width, sizeof(float))},
                             {width, phi, NULL, hc_plain_take(p, o->k * width, sizeof(float))}};
        HC_TRY(p->status);
        hc_parallel_for(o->tokens, 1 + 8192 / (1 + width), cut_rows, &both[0]);
        hc_parallel_for(o->k, 1 + 8192 / (1 + width), cut_rows, &both[1]);
        x = both[0].to, phi = both[1].to;
    } else {
        phi = scaled_phi(p, a, phi, gamma);
    }
    HC_TRY(p->status);
    return product(o->tokens, o->k, width, x, false, phi, true, o->mix);
}

/* Tokens of a piece of work: some 8192 elements. */
static size_t grain(const struct args *a) { return 1 + 8192 / (1 + (size_t)(a->n * a->size)); }

/* Operands x, phi, alpha, bias, gamma, hIn, hPost, hRes, invRms, hMix, hPre. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    struct hc_plain p = hc_plain_open(call->name);
    struct pre o = {
        .tokens = (size_t)a->tokens, .n = (size_t)a->n, .size = (size_t)a->size, .k = (size_t)a->k};
    o.norm_eps = a->norm_eps, o.hc_eps = a->hc_eps;
    o.x = hc_plain_in(&p, hc_arg(call, 0));
    const float *phi = hc_plain_in(&p, hc_arg(call, 1));
    o.alpha = hc_plain_in(&p, hc_arg(call, 2)), o.bias = hc_plain_in(&p, hc_arg(call, 3));
    const float *gamma = hc_plain_in(&p, hc_arg(call, 4));
    o.h_in = hc_plain_out(&p, hc_arg(call, 5)), o.h_post = hc_plain_out(&p, hc_arg(call, 6));
    o.h_res = hc_plain_out(&p, hc_arg(call, 7)), o.rms = hc_plain_out(&p, hc_arg(call, 8));
    o.h_pre = hc_plain_out(&p, hc_arg(call, 10));
    o.mix = hc_arg(call, 9) != NULL ? hc_plain_out(&p, hc_arg(call, 9))
                                    : hc_plain_take(&p, o.tokens * o.k, sizeof *o.mix);
    if (p.status == 0) p.status = mix(&p, a, &o, phi, gamma);
    if (p.status == 0) hc_parallel_for(o.tokens, grain(a), forward, &o);
    return hc_plain_close(&p, 0);
}

/* Sums over tokens, in their order, in double: K numbers of bias, and of alpha by their parts. */
static void sum_numbers(const struct pre *o, float *d_alpha, float *d_bias) {
    double alpha[3] = {0};
    for (size_t k = 0; k < o->k; k++) {
        double bias = 0;
        for (size_t t = 0; t < o->tokens; t++) {
            const double d = (double)o->d_m[t * o->k + k];
            bias += d;
            alpha[k < o->n       ? 0
                  : k < 2 * o->n ? 1
                                 : 2] += d * (double)(o->mix_in[t * o->k + k] * o->rms_in[t]);
        }
        d_bias[k] = (float)bias;
    }
    for (size_t i = 0; i < (o->k > 2 * o->n ? 3u : 2u); i++) d_alpha[i] = (float)alpha[i];
}

/* Operands of the gradient. */
enum {
    X,
    PHI,
    ALPHA,
    D_IN,
    D_POST,
    D_RES,
    RMS,
    MIX,
    PRE,
    POST,
    GAMMA,
    BEHIND,
    D_X,
    D_PHI,
    D_ALPHA,
    D_BIAS,
    D_GAMMA
};

/* Inputs first, as outputs that share their memory are written elsewhere then. */
static struct pre open_gradient(const struct hc_call *call, struct hc_plain *p) {
    const struct args *a = call->args;
    const size_t count = (size_t)(a->tokens * a->k);
    return (struct pre){.x = hc_plain_in(p, hc_arg(call, X)),
                        .alpha = hc_plain_in(p, hc_arg(call, ALPHA)),
                        .d_in = hc_plain_in(p, hc_arg(call, D_IN)),
                        .d_post = hc_plain_in(p, hc_arg(call, D_POST)),
                        .d_res = hc_plain_in(p, hc_arg(call, D_RES)),
                        .rms_in = hc_plain_in(p, hc_arg(call, RMS)),
                        .mix_in = hc_plain_in(p, hc_arg(call, MIX)),
                        .pre_in = hc_plain_in(p, hc_arg(call, PRE)),
                        .post_in = hc_plain_in(p, hc_arg(call, POST)),
                        .d_behind = hc_plain_in(p, hc_arg(call, BEHIND)),
                        .d_mix = hc_plain_take(p, count, sizeof(float)),
                        .d_m = hc_plain_take(p, count, sizeof(float)),
                        .d_x = hc_plain_out(p, hc_arg(call, D_X)),
                        .tokens = (size_t)a->tokens,
                        .n = (size_t)a->n,
                        .size = (size_t)a->size,
                        .k = (size_t)a->k,
                        .hc_eps = a->hc_eps};
}

/* From M = d_mix^T x: gradients of phi are M * gamma, those of gamma the sums of phi * M over its rows. */
static aclnnStatus run_grad(const struct hc_call *call) {
    const struct args *a = call->args;
    struct hc_plain p = hc_plain_open(call->name);
    struct pre o = open_gradient(call, &p);
    const size_t width = o.n * o.size;
    const float *phi = hc_plain_in(&p, hc_arg(call, PHI)), *gamma = hc_plain_in(&p, hc_arg(call, GAMMA));
    const float *scaled = scaled_phi(&p, a, phi, gamma);
    float *m = hc_plain_take(&p, o.k * width, sizeof *m);
    float *d_phi = hc_plain_out(&p, hc_arg(call, D_PHI)), *d_alpha = hc_plain_out(&p, hc_arg(call, D_ALPHA));
    float *d_bias = hc_plain_out(&p, hc_arg(call, D_BIAS)),
          *d_gamma = hc_plain_out(&p, hc_arg(call, D_GAMMA));
    if (p.status != 0) return hc_plain_close(&p, 0);
    hc_parallel_for(o.tokens, grain(a), numbers, &o);
    p.status = product(o.tokens, width, o.k, o.d_mix, false, scaled, false, o.d_x);
    if (p.status == 0) p.status = product(o.k, width, o.tokens, o.d_mix, true, o.x, false, m);
    if (p.status != 0) return hc_plain_close(&p, 0);
    hc_parallel_for(o.tokens, grain(a), streams, &o);
    HC_DISPATCH(mhc_scale)(o.k, width, d_phi, m, gamma);
    if (d_gamma != NULL && gamma != NULL) HC_DISPATCH(mhc_column_dots)(o.k, width, width, d_gamma, phi, m);
    else if (d_gamma != NULL) memset(d_gamma, 0, hc_numel(hc_arg(call, D_GAMMA)) * sizeof *d_gamma);
    sum_numbers(&o, d_alpha, d_bias);
    return hc_plain_close(&p, 0);
}

/* What both directions are given. */
struct inputs {
    const char *name;
    const aclTensor *x, *phi, *alpha, *gamma;
};

/* x [B, S, n, D] or [T, n, D] and phi [K, n D] say all sizes. */
static aclnnStatus check(const struct inputs *in, struct args *a) {
    const char *name = in->name;
    const aclTensor *x = in->x;
    HC_CHECK(x != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: x is null", name);
    const int32_t lead = x->rank - 2;
    HC_CHECK((lead == 1 || lead == 2) && hc_fits_f32(x->dtype) && x->shape[lead] >= 1 &&
                 x->shape[lead] <= STREAMS,
             ACLNN_ERR_PARAM_INVALID, "%s: x is %s, wanted [B,S,n,D] or [T,n,D] floats with n of 1 to %d",
             name, HC_SHOW(x), STREAMS);
    a->n = x->shape[lead], a->size = x->shape[lead + 1];
    a->tokens = lead == 1 ? x->shape[0] : x->shape[0] * x->shape[1];
    HC_TRY(HC_PLAIN_CHECK(name, "phi", in->phi, -1, a->n * a->size));
    a->k = in->phi->shape[0];
    HC_CHECK(a->k == 2 * a->n || a->k == a->n * (a->n + 2), ACLNN_ERR_PARAM_INVALID,
             "%s: phi is %s, wanted 2n or 2n + n^2 rows for n = %lld", name, HC_SHOW(in->phi),
             (long long)a->n);
    HC_TRY(HC_PLAIN_CHECK(name, "alpha", in->alpha, a->k > 2 * a->n ? 3 : 2));
    if (in->gamma != NULL) HC_TRY(HC_PLAIN_CHECK(name, "gamma", in->gamma, a->n, a->size));
    return 0;
}

/* t is [B, S, first, second] or [T, first, second]; sizes of -2 are not there. */
static aclnnStatus check_token(const struct inputs *in, const char *arg, const aclTensor *t, int64_t first,
                               int64_t second) {
    int64_t shape[4];
    int32_t rank = in->x->rank - 2;
    memcpy(shape, in->x->shape, (size_t)rank * sizeof *shape);
    if (first != -2) shape[rank++] = first;
    if (second != -2) shape[rank++] = second;
    return hc_plain_check(in->name, arg, t, rank, shape);
}

/* What the forward pass has besides; the last three outputs are for training, and may be NULL. */
struct outputs {
    const aclTensor *bias;
    aclTensor *h_in, *h_post, *h_res, *rms, *mix, *h_pre;
    double norm_eps, hc_eps;
    bool hf32;
};

/* Both versions: a call without residual numbers (K = 2n) has no hRes. */
static aclnnStatus plan(const struct inputs *in, struct outputs o, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    struct args a = {.hf32 = o.hf32};
    HC_TRY(check(in, &a));
    a.norm_eps = (float)o.norm_eps, a.hc_eps = (float)o.hc_eps;
    HC_TRY(HC_PLAIN_CHECK(in->name, "bias", o.bias, a.k));
    HC_TRY(check_token(in, "hIn", o.h_in, a.size, -2));
    HC_TRY(check_token(in, "hPost", o.h_post, a.n, -2));
    if (a.k > 2 * a.n) HC_TRY(check_token(in, "hRes", o.h_res, a.n, a.n));
    else o.h_res = NULL;
    if (o.rms != NULL) HC_TRY(check_token(in, "invRms", o.rms, -2, -2));
    if (o.mix != NULL) HC_TRY(check_token(in, "hMix", o.mix, a.k, -2));
    if (o.h_pre != NULL) HC_TRY(check_token(in, "hPre", o.h_pre, a.n, -2));
    return HC_PLAN(in->name, run, &a, HC_IN(in->x), HC_IN(in->phi), HC_IN(in->alpha), HC_IN(o.bias),
                   HC_IN_OPT(in->gamma), HC_OUT(o.h_in), HC_OUT(o.h_post), HC_OUT_OPT(o.h_res),
                   HC_OUT_OPT(o.rms), HC_OUT_OPT(o.mix), HC_OUT_OPT(o.h_pre));
}

/* torch_npu.npu_mhc_pre. */
HC_API aclnnStatus aclnnMhcPreGetWorkspaceSize(const aclTensor *x, const aclTensor *phi,
                                               const aclTensor *alpha, const aclTensor *bias,
                                               const aclTensor *gammaOptional, double normEps, double hcEps,
                                               aclTensor *hIn, aclTensor *hPost, aclTensor *hRes,
                                               aclTensor *invRmsOptional, aclTensor *hMixOptional,
                                               aclTensor *hPreOptional, uint64_t *workspaceSize,
                                               aclOpExecutor **executor) {
    return plan(&(const struct inputs){"aclnnMhcPre", x, phi, alpha, gammaOptional},
                (struct outputs){bias, hIn, hPost, hRes, invRmsOptional, hMixOptional, hPreOptional, normEps,
                                 hcEps, false},
                workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMhcPre)

/* inner_precise 1: the product's operands are HF32. */
HC_API aclnnStatus aclnnMhcPreV2GetWorkspaceSize(const aclTensor *x, const aclTensor *phi,
                                                 const aclTensor *alpha, const aclTensor *bias,
                                                 const aclTensor *gamma, double norm_eps, double hc_eps,
                                                 int64_t inner_precise, aclTensor *outHin,
                                                 aclTensor *outHpost, aclTensor *outHres,
                                                 aclTensor *outInvRms, aclTensor *outHmix, aclTensor *outHpre,
                                                 uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(inner_precise == 0 || inner_precise == 1, ACLNN_ERR_PARAM_INVALID,
             "aclnnMhcPreV2: inner_precise is %lld, wanted 0 or 1", (long long)inner_precise);
    return plan(&(const struct inputs){"aclnnMhcPreV2", x, phi, alpha, gamma},
                (struct outputs){bias, outHin, outHpost, outHres, outInvRms, outHmix, outHpre, norm_eps,
                                 hc_eps, inner_precise == 1},
                workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMhcPreV2)

/* What the backward pass is given besides, with what the forward pass has kept. */
struct gradients {
    const aclTensor *d_in, *d_post, *d_res, *rms, *mix, *h_pre, *h_post, *behind;
    const aclTensor *d_x, *d_phi, *d_alpha, *d_bias, *d_gamma;
    double hc_eps;
};

/* Both versions; without gamma its gradient is 0, and without residual numbers there are none of hRes. */
static aclnnStatus plan_gradient(const struct inputs *in, struct gradients g, uint64_t *workspaceSize,
                                 aclOpExecutor **executor) {
    const char *name = in->name;
    struct args a = {0};
    HC_TRY(check(in, &a));
    a.hc_eps = (float)g.hc_eps;
    HC_TRY(check_token(in, "gradHIn", g.d_in, a.size, -2));
    HC_TRY(check_token(in, "gradHPost", g.d_post, a.n, -2));
    if (a.k > 2 * a.n) HC_TRY(check_token(in, "gradHRes", g.d_res, a.n, a.n));
    else g.d_res = NULL;
    HC_TRY(check_token(in, "invRms", g.rms, -2, -2));
    HC_TRY(check_token(in, "hMix", g.mix, a.k, -2));
    HC_TRY(check_token(in, "hPre", g.h_pre, a.n, -2));
    HC_TRY(check_token(in, "hPost", g.h_post, a.n, -2));
    if (g.behind != NULL)
        HC_TRY(hc_plain_check(name, "gradXPostOptional", g.behind, in->x->rank, in->x->shape));
    HC_TRY(hc_plain_check(name, "gradX", g.d_x, in->x->rank, in->x->shape));
    HC_TRY(hc_plain_check(name, "gradPhi", g.d_phi, in->phi->rank, in->phi->shape));
    HC_TRY(hc_plain_check(name, "gradAlpha", g.d_alpha, in->alpha->rank, in->alpha->shape));
    HC_TRY(HC_PLAIN_CHECK(name, "gradBias", g.d_bias, a.k));
    if (g.d_gamma != NULL) HC_TRY(HC_PLAIN_CHECK(name, "gradGamma", g.d_gamma, a.n, a.size));
    return HC_PLAN(name, run_grad, &a, HC_IN(in->x), HC_IN(in->phi), HC_IN(in->alpha), HC_IN(g.d_in),
                   HC_IN(g.d_post), HC_IN_OPT(g.d_res), HC_IN(g.rms), HC_IN(g.mix), HC_IN(g.h_pre),
                   HC_IN(g.h_post), HC_IN_OPT(in->gamma), HC_IN_OPT(g.behind), HC_OUT(g.d_x), HC_OUT(g.d_phi),
                   HC_OUT(g.d_alpha), HC_OUT(g.d_bias), HC_OUT_OPT(g.d_gamma));
}

/* torch_npu.npu_mhc_pre_backward where the second version is missing. */
HC_API aclnnStatus aclnnMhcPreBackwardGetWorkspaceSize(
    const aclTensor *x, const aclTensor *phi, const aclTensor *alpha, const aclTensor *gradHIn,
    const aclTensor *gradHPost, const aclTensor *gradHRes, const aclTensor *invRms, const aclTensor *hMix,
    const aclTensor *hPre, const aclTensor *hPost, const aclTensor *gamma, const aclTensor *gradXPostOptional,
    float hcEps, const aclTensor *gradX, const aclTensor *gradPhi, const aclTensor *gradAlpha,
    const aclTensor *gradBias, const aclTensor *gradGamma, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    return plan_gradient(&(const struct inputs){"aclnnMhcPreBackward", x, phi, alpha, gamma},
                         (struct gradients){gradHIn, gradHPost, gradHRes, invRms, hMix, hPre, hPost,
                                            gradXPostOptional, gradX, gradPhi, gradAlpha, gradBias, gradGamma,
                                            (double)hcEps},
                         workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMhcPreBackward)

/* innerPrecise chooses between an accelerator's two kinds of float32; gradients are of float32 in both. */
HC_API aclnnStatus aclnnMhcPreBackwardV2GetWorkspaceSize(
    const aclTensor *x, const aclTensor *phi, const aclTensor *alpha, const aclTensor *gradHIn,
    const aclTensor *gradHPost, const aclTensor *gradHRes, const aclTensor *invRms, const aclTensor *hMix,
    const aclTensor *hPre, const aclTensor *hPost, const aclTensor *gammaOptional,
    const aclTensor *gradXPostOptional, double hcEps, int64_t innerPrecise, aclTensor *gradX,
    aclTensor *gradPhi, aclTensor *gradAlpha, aclTensor *gradBias, aclTensor *gradGamma,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(innerPrecise == 0 || innerPrecise == 1, ACLNN_ERR_PARAM_INVALID,
             "aclnnMhcPreBackwardV2: innerPrecise is %lld, wanted 0 or 1", (long long)innerPrecise);
    return plan_gradient(&(const struct inputs){"aclnnMhcPreBackwardV2", x, phi, alpha, gammaOptional},
                         (struct gradients){gradHIn, gradHPost, gradHRes, invRms, hMix, hPre, hPost,
                                            gradXPostOptional, gradX, gradPhi, gradAlpha, gradBias, gradGamma,
                                            hcEps},
                         workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMhcPreBackwardV2)
#endif
