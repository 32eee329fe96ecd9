// SPDX-License-Identifier: Apache-2.0
/* Flash attention through the C interface against sums in double: small shapes around nothing in particular.
 */
#include <math.h>

#include "acl/acl.h"
#include "aclnnop/aclnn_ops.h"
#include "harness.h"

enum { MOST = 20 * 20 * 8 };

static aclTensor *tensor(float *data, int64_t b, int64_t n, int64_t s, int64_t d) {
    const int64_t shape[] = {b, n, s, d}, stride[] = {n * s * d, s * d, d, 1}, all = b * n * s * d;
    return aclCreateTensor(shape, 4, ACL_FLOAT, stride, 0, ACL_FORMAT_ND, &all, 1, data);
}

/* Values that differ and repeat nowhere near. */
static void fill(float *x, size_t n, unsigned seed) {
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(seed >> 8) / (float)(1 << 23) - 1;
    }
}

struct problem {
    int64_t sq, skv, d;
    bool causal;
    double scale;
};

/* One head: out, and the gradients by the textbook formulas. */
static void exact(const struct problem *p, const float *q, const float *k, const float *v, const float *dy,
                  double *out, double *dq, double *dk, double *dv) {
    static double prob[20], dp[20];
    memset(dk, 0, MOST * sizeof(double));
    memset(dv, 0, MOST * sizeof(double));
    for (int64_t i = 0; i < p->sq; i++) {
        const int64_t seen = p->causal ? (i + 1 < p->skv ? i + 1 : p->skv) : p->skv;
        double sum = 0, delta = 0;
        for (int64_t j = 0; j < seen; j++) {
            double s = 0;
            for (int64_t e = 0; e < p->d; e++) s += (double)q[i * p->d + e] * (double)k[j * p->d + e];
            sum += prob[j] = exp(s * p->scale);
        }
        for (int64_t j = 0; j < seen; j++) {
            prob[j] /= sum;
            dp[j] = 0;
            for (int64_t e = 0; e < p->d; e++) dp[j] += (double)dy[i * p->d + e] * (double)v[j * p->d + e];
            delta += prob[j] * dp[j];
        }
        for (int64_t e = 0; e < p->d; e++) {
            out[i * p->d + e] = dq[i * p->d + e] = 0;
            for (int64_t j = 0; j < seen; j++) {
                const double ds = prob[j] * (dp[j] - delta) * p->scale;
                out[i * p->d + e] += prob[j] * (double)v[j * p->d + e];
                dq[i * p->d + e] += ds * (double)k[j * p->d + e];
                dk[j * p->d + e] += ds * (double)q[i * p->d + e];
                dv[j * p->d + e] += prob[j] * (double)dy[i * p->d + e];
            }
        }
    }
}

/* NaN stays NaN. */
static double worst(const float *got, const double *want, int64_t n) {
    double most = 0;
    for (int64_t i = 0; i < n; i++) {
        const double error = fabs((double)got[i] - want[i]);
        if (!(error <= most)) most = error;
    }
    return most;
}

static void run(const struct problem *p, double error[4]) {
    static float q[MOST], k[MOST], v[MOST], dy[MOST], out[MOST], dq[MOST], dk[MOST], dv[MOST], max[MOST],
        sum[MOST];
    static double want[4][MOST];
    static unsigned char triangle[20 * 20];
    const int64_t nq = p->sq * p->d, nk = p->skv * p->d;
    fill(q, (size_t)nq, 1), fill(k, (size_t)nk, 2), fill(v, (size_t)nk, 3), fill(dy, (size_t)nq, 4);
    aclTensor *t[] = {tensor(q, 1, 1, p->sq, p->d),   tensor(k, 1, 1, p->skv, p->d),
                      tensor(v, 1, 1, p->skv, p->d),  tensor(dy, 1, 1, p->sq, p->d),
                      tensor(out, 1, 1, p->sq, p->d), tensor(dq, 1, 1, p->sq, p->d),
                      tensor(dk, 1, 1, p->skv, p->d), tensor(dv, 1, 1, p->skv, p->d),
                      tensor(max, 1, 1, p->sq, 8),    tensor(sum, 1, 1, p->sq, 8)};
    const int64_t shape[] = {20, 20}, stride[] = {20, 1}, all = 400;
    aclTensor *mask =
        p->causal ? aclCreateTensor(shape, 2, ACL_UINT8, stride, 0, ACL_FORMAT_ND, &all, 1, triangle) : NULL;
    uint64_t size = 0;
    aclOpExecutor *e = NULL;
    CHECK_EQ(aclnnFlashAttentionScoreGetWorkspaceSize(t[0], t[1], t[2], NULL, NULL, NULL, mask, NULL,
                                                      p->scale, 1, 1 << 30, 0, 1, "BNSD", 0, 2, t[8], t[9],
                                                      NULL, t[4], &size, &e),
             0);
    CHECK_EQ(aclnnFlashAttentionScore(NULL, size, e, NULL), 0);
    CHECK_EQ(aclnnFlashAttentionScoreGradGetWorkspaceSize(
                 t[0], t[1], t[2], t[3], NULL, NULL, NULL, mask, t[8], t[9], NULL, t[4], NULL, p->scale, 1,
                 1 << 30, 0, 1, "BNSD", 0, 2, t[5], t[6], t[7], NULL, &size, &e),
             0);
    CHECK_EQ(aclnnFlashAttentionScoreGrad(NULL, size, e, NULL), 0);
    CHECK_EQ(aclrtSynchronizeStream(NULL), 0);
    exact(p, q, k, v, dy, want[0], want[1], want[2], want[3]);
    error[0] = worst(out, want[0], nq);
    error[1] = worst(dq, want[1], nq);
    error[2] = worst(dk, want[2], nk);
    error[3] = worst(dv, want[3], nk);
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) aclDestroyTensor(t[i]);
    aclDestroyTensor(mask);
}

TEST(small_shapes_equal_sums_in_double) {
    CHECK_EQ(aclrtSetDevice(0), 0);
    static const struct problem problems[] = {{1, 1, 1, false, 1},
                                              {3, 5, 2, false, 0.5},
                                              {17, 20, 8, false, 0.35},
                                              {20, 20, 8, true, 0.35},
                                              {20, 7, 5, true, 1}};
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++) {
        double error[4] = {1, 1, 1, 1};
        run(&problems[i], error);
        for (int g = 0; g < 4; g++)
            CHECK_MSG(error[g] < 4e-6, "problem %zu, result %d: error %g", i, g, error[g]);
    }
}

TEST(a_missing_query_is_an_error_that_names_it) {
    uint64_t size = 0;
    aclOpExecutor *e = NULL;
    CHECK(aclnnFlashAttentionScoreGetWorkspaceSize(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, 1, 0, 0,
                                                   1, "BNSD", 0, 0, NULL, NULL, NULL, NULL, &size, &e) != 0);
    CHECK(strstr(aclGetRecentErrMsg(), "query is null") != NULL);
}
