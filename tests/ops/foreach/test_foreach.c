// SPDX-License-Identifier: Apache-2.0
/* Lists through the C interface: one executor run twice, tensors of every size, a scalar in memory. */
#include <math.h>

#include "acl/acl.h"
#include "aclnnop/aclnn_ops.h"
#include "harness.h"

static aclTensor *tensor(float *data, int64_t n) {
    const int64_t stride = 1;
    return aclCreateTensor(&n, 1, ACL_FLOAT, &stride, 0, ACL_FORMAT_ND, &n, 1, data);
}

enum { COUNT = 4 };
static const int64_t SIZES[COUNT] = {0, 1, 1027, 50000};

TEST(add_scalar_runs_again_on_new_values) {
    CHECK_EQ(aclrtSetDevice(0), 0);
    static float x[COUNT][50000], y[COUNT][50000];
    aclTensor *in[COUNT], *out[COUNT];
    for (int t = 0; t < COUNT; t++) {
        for (int64_t i = 0; i < SIZES[t]; i++) x[t][i] = (float)(i % 100) - 50;
        in[t] = tensor(x[t], SIZES[t]);
        out[t] = tensor(y[t], SIZES[t]);
    }
    float value = 2;
    aclTensor *scalar = tensor(&value, 1);
    aclTensorList *ins = aclCreateTensorList((const aclTensor *const *)in, COUNT);
    aclTensorList *outs = aclCreateTensorList((const aclTensor *const *)out, COUNT);
    uint64_t size = 0;
    aclOpExecutor *executor = NULL;
    CHECK_EQ(aclnnForeachAddScalarGetWorkspaceSize(ins, scalar, outs, &size, &executor), 0);
    aclSetAclOpExecutorRepeatable(executor);
    for (int round = 0; round < 2; round++) {
        value = (float)(2 + round); /* read when the operator runs, not when it is planned */
        CHECK_EQ(aclnnForeachAddScalar(NULL, size, executor, NULL), 0);
        CHECK_EQ(aclrtSynchronizeStream(NULL), 0);
        for (int t = 0; t < COUNT; t++) {
            for (int64_t i = 0; i < SIZES[t]; i++) {
                CHECK_MSG(y[t][i] == x[t][i] + value, "tensor %d element %lld: %g", t, (long long)i,
                          (double)y[t][i]);
            }
        }
    }
    aclDestroyAclOpExecutor(executor);
    aclDestroyTensorList(ins);
    aclDestroyTensorList(outs);
    aclDestroyTensor(scalar);
}

TEST(norm_of_a_large_tensor_keeps_its_accuracy) {
    CHECK_EQ(aclrtSetDevice(0), 0);
    enum { N = 1 << 20 };
    float *x = malloc(N * sizeof *x), norm = 0;
    double exact = 0;
    for (int i = 0; i < N; i++) {
        x[i] = (float)(i % 1000) * 0.001f;
        exact += (double)x[i] * (double)x[i];
    }
    const float two = 2;
    aclTensor *in = tensor(x, N), *out = tensor(&norm, 1);
    aclTensorList *ins = aclCreateTensorList((const aclTensor *const *)&in, 1);
    aclTensorList *outs = aclCreateTensorList((const aclTensor *const *)&out, 1);
    aclScalar *p = aclCreateScalar((void *)&two, ACL_FLOAT);
    uint64_t size = 0;
    aclOpExecutor *executor = NULL;
    CHECK_EQ(aclnnForeachNormGetWorkspaceSize(ins, p, outs, &size, &executor), 0);
    CHECK_EQ(aclnnForeachNorm(NULL, size, executor, NULL), 0);
    CHECK_EQ(aclrtSynchronizeStream(NULL), 0);
    CHECK_MSG(fabs((double)norm / sqrt(exact) - 1) < 1e-7, "%.9g is not %.9g", (double)norm, sqrt(exact));
    aclDestroyTensorList(ins);
    aclDestroyTensorList(outs);
    aclDestroyScalar(p);
    free(x);
}
