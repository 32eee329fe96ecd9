// SPDX-License-Identifier: Apache-2.0
/* The end of a layer with hyper-connections (arXiv 2512.24880): n residual streams of D elements mixed, and
 * the layer's output added to each:
 *
 *     out[m] = sum over k of hRes[k, m] * x[k] + hPost[m] * hOut
 *
 * without hRes x[m] itself. n is a few, so a token is a pass over its streams, bound by memory; the gradients
 * of the numbers are scalar products of streams. */
#include "plain.h"

enum { STREAMS = 16 }; /* most streams */

/* Both directions; what one does not have is NULL. */
struct post {
    const float *x, *res, *h, *post, *grad;
    float *out, *d_x, *d_res, *d_h, *d_post;
    size_t tokens, n, size;
};
HC_KERNEL(mhc_post, (const struct post *p, size_t begin, size_t end))
HC_KERNEL(mhc_post_grad, (const struct post *p, size_t begin, size_t end))

#ifdef HC_ISA
#include "simd_rows.h"

/* y = the sum of w[k * step] * x[k] over n streams, added up in their order; `with` f * h where h is not
 * NULL. */
static void mix(size_t n, size_t size, float *y, const float *x, const float *w, size_t step, const float *h,
                float f) {
    for (size_t d = 0; d < size; d++) y[d] = h != NULL ? f * h[d] : 0.0f;
    for (size_t k = 0; k < n; k++) {
        const float v = w[k * step];
        for (size_t d = 0; d < size; d++) y[d] += v * x[k * size + d];
    }
}

/* Streams of a token stay in the cache while each output is made of all of them. */
void HC_FN(mhc_post)(const struct post *p, size_t begin, size_t end) {
    const size_t n = p->n, size = p->size;
    for (size_t t = begin; t < end; t++) {
        const float *x = p->x + t * n * size, *h = p->h + t * size;
        float *out = p->out + t * n * size;
        for (size_t m = 0; m < n; m++) {
            const float f = p->post[t * n + m];
            if (p->res != NULL) mix(n, size, out + m * size, x, p->res + t * n * n + m, n, h, f);
            else
                for (size_t d = 0; d < size; d++) out[m * size + d] = x[m * size + d] + f * h[d];
        }
    }
}

/* The same pass the other way; hRes is read by rows where it was read by columns. */
void HC_FN(mhc_post_grad)(const struct post *p, size_t begin, size_t end) {
    const size_t n = p->n, size = p->size;
    for (size_t t = begin; t < end; t++) {
        const float *x = p->x + t * n * size, *h = p->h + t * size, *g = p->grad + t * n * size;
        mix(n, size, p->d_h + t * size, g, p->post + t * n, 1, NULL, 0);
        for (size_t k = 0; k < n; k++) {
            float *dx = p->d_x + (t * n + k) * size;
            p->d_post[t * n + k] = (float)vf_row_dot(h, g + k * size, size);
            if (p->res == NULL) {
                memcpy(dx, g + k * size, size * sizeof *dx);
                continue;
            }
            mix(n, size, dx, g, p->res + (t * n + k) * n, 1, NULL, 0);
            for (size_t m = 0; m < n && p->d_res != NULL; m++)
                p->d_res[(t * n + k) * n + m] = (float)vf_row_dot(x + k * size, g + m * size, size);
        }
    }
}

#else

struct args {
    int64_t tokens, n, size;
};

static void forward(void *ctx, size_t begin, size_t end) { HC_DISPATCH(mhc_post)(ctx, begin, end); }
static void backward(void *ctx, size_t begin, size_t end) { HC_DISPATCH(mhc_post_grad)(ctx, begin, end); }

/* Operands x, hRes, hOut, hPost in both plans. */
static struct post open_operands(const struct hc_call *call, struct hc_plain *p) {
    const struct args *a = call->args;
    return (struct post){.x = hc_plain_in(p, hc_arg(call, 0)),
                         .res = hc_plain_in(p, hc_arg(call, 1)),
                         .h = hc_plain_in(p, hc_arg(call, 2)),
                         .post = hc_plain_in(p, hc_arg(call, 3)),
                         .tokens = (size_t)a->tokens,
                         .n = (size_t)a->n,
                         .size = (size_t)a->size};
}

static aclnnStatus run(const struct hc_call *call) {
    struct hc_plain p = hc_plain_open(call->name);
    struct post o = open_operands(call, &p);
    o.out = hc_plain_out(&p, hc_arg(call, 4));
    if (p.status == 0) hc_parallel_for(o.tokens, 1 + 8192 / (1 + o.n * o.size), forward, &o);
    return hc_plain_close(&p, 0);
}

/* Then gradOutput and the four gradients. */
static aclnnStatus run_grad(const struct hc_call *call) {
    struct hc_plain p = hc_plain_open(call->name);
    struct post o = open_operands(call, &p);
    o.grad = hc_plain_in(&p, hc_arg(call, 4)), o.d_x = hc_plain_out(&p, hc_arg(call, 5));
    o.d_res = hc_plain_out(&p, hc_arg(call, 6)), o.d_h = hc_plain_out(&p, hc_arg(call, 7));
    o.d_post = hc_plain_out(&p, hc_arg(call, 8));
    if (p.status == 0) hc_parallel_for(o.tokens, 1 + 8192 / (1 + o.n * o.size), backward, &o);
    return hc_plain_close(&p, 0);
}

/* x [B, S, n, D] or [T, n, D] says all sizes: `res` [.., n, n], `h` [.., D], `post` [.., n]. */
static aclnnStatus check(const char *name, const char *const *arg, const aclTensor *x, const aclTensor *res,
                         const aclTensor *h, const aclTensor *post, struct args *a) {
    HC_CHECK(x != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, arg[0]);
    const int32_t lead = x->rank - 2;
    HC_CHECK((lead == 1 || lead == 2) && hc_fits_f32(x->dtype) && x->shape[lead] >= 1 &&
                 x->shape[lead] <= STREAMS,
             ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted [B,S,n,D] or [T,n,D] floats with n of 1 to %d",
             name, arg[0], HC_SHOW(x), STREAMS);
    *a = (struct args){1, x->shape[lead], x->shape[lead + 1]};
    int64_t shape[4];
    for (int32_t d = 0; d < lead; d++) a->tokens *= shape[d] = x->shape[d];
    shape[lead] = shape[lead + 1] = a->n;
    if (res != NULL) HC_TRY(hc_plain_check(name, arg[1], res, lead + 2, shape));
    HC_TRY(hc_plain_check(name, arg[3], post, lead + 1, shape));
    shape[lead] = a->size;
    return hc_plain_check(name, arg[2], h, lead + 1, shape);
}

static const char *const INPUTS[] = {"x", "hRes", "hOut", "hPost"};
static const char *const GRADIENTS[] = {"gradX", "gradHRes", "gradHOut", "gradHPost"};

/* torch_npu.npu_mhc_post(x, h_res, h_out, h_post). */
HC_API aclnnStatus aclnnMhcPostGetWorkspaceSize(const aclTensor *x, const aclTensor *hRes,
                                                const aclTensor *hOut, const aclTensor *hPost, aclTensor *out,
                                                uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args a;
    HC_TRY(check("aclnnMhcPost", INPUTS, x, hRes, hOut, hPost, &a));
    HC_TRY(hc_plain_check("aclnnMhcPost", "out", out, x->rank, x->shape));
    return HC_PLAN("aclnnMhcPost", run, &a, HC_IN(x), HC_IN_OPT(hRes), HC_IN(hOut), HC_IN(hPost),
                   HC_OUT(out));
}
HC_OP_LAUNCH(aclnnMhcPost)

/* Without hRes there is no gradHRes. */
HC_API aclnnStatus aclnnMhcPostBackwardGetWorkspaceSize(const aclTensor *gradOutput, const aclTensor *x,
                                                        const aclTensor *hRes, const aclTensor *hOut,
                                                        const aclTensor *hPost, aclTensor *gradX,
                                                        aclTensor *gradHRes, aclTensor *gradHOut,
                                                        aclTensor *gradHPost, uint64_t *workspaceSize,
                                                        aclOpExecutor **executor) {
    static const char NAME[] = "aclnnMhcPostBackward";
    struct args a;
    HC_TRY(check(NAME, INPUTS, x, hRes, hOut, hPost, &a));
    HC_TRY(hc_plain_check(NAME, "gradOutput", gradOutput, x->rank, x->shape));
    HC_TRY(hc_plain_check(NAME, "gradX", gradX, x->rank, x->shape));
    if (hRes == NULL) gradHRes = NULL;
    HC_TRY(check(NAME, GRADIENTS, gradX, gradHRes, gradHOut, gradHPost, &a));
    return HC_PLAN(NAME, run_grad, &a, HC_IN(x), HC_IN_OPT(hRes), HC_IN(hOut), HC_IN(hPost),
                   HC_IN(gradOutput), HC_OUT(gradX), HC_OUT_OPT(gradHRes), HC_OUT(gradHOut),
                   HC_OUT(gradHPost));
}
HC_OP_LAUNCH(aclnnMhcPostBackward)
#endif
