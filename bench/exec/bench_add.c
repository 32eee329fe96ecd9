// SPDX-License-Identifier: Apache-2.0
/* Nanoseconds of both phases of aclnnAdd on 16 floats, descriptors made and destroyed as torch_npu does it
 * for every operator, and of the phases alone. Usage: bench_add [repeats]. */
#include <stdio.h>
#include <stdlib.h>

#include "aclnnop/aclnn_ops.h"
#include "hc_clock.h"

enum { N = 16 };
static float g_data[3][N];
static const int64_t SHAPE[] = {N}, STRIDE[] = {1};

static aclTensor *make(int i) {
    return aclCreateTensor(SHAPE, 1, ACL_FLOAT, STRIDE, 0, ACL_FORMAT_ND, SHAPE, 1, g_data[i]);
}

static int run(aclTensor *const t[3], aclScalar *alpha) {
    uint64_t size;
    aclOpExecutor *executor;
    const int code = aclnnAddGetWorkspaceSize(t[0], t[1], alpha, t[2], &size, &executor);
    return code ? code : aclnnAdd(NULL, size, executor, NULL);
}

int main(int argc, char **argv) {
    const int repeats = argc > 1 ? atoi(argv[1]) : 1000000;
    float one = 1;
    if (aclInit(NULL) || aclrtSetDevice(0)) return 1;
    aclTensor *t[3] = {make(0), make(1), make(2)};
    aclScalar *alpha = aclCreateScalar(&one, ACL_FLOAT);
    if (run(t, alpha)) return 1;
    uint64_t begin = hc_now_ns();
    for (int i = 0; i < repeats; i++) run(t, alpha);
    printf("both phases                  %7.1f ns\n", (double)(hc_now_ns() - begin) / repeats);
    begin = hc_now_ns();
    for (int i = 0; i < repeats; i++) {
        aclTensor *own[3] = {make(0), make(1), make(2)};
        aclScalar *scalar = aclCreateScalar(&one, ACL_FLOAT);
        run(own, scalar);
        for (int k = 0; k < 3; k++) aclDestroyTensor(own[k]);
        aclDestroyScalar(scalar);
    }
    printf("with descriptors             %7.1f ns\n", (double)(hc_now_ns() - begin) / repeats);
    return 0;
}
