// SPDX-License-Identifier: Apache-2.0
/* Cost of the launch point: nanoseconds per task that runs inline, with one and with an unnamed stream, of a
 * queued task, and of an event recorded and waited for. Usage: bench_launch [repeats]. */
#include <stdio.h>
#include <stdlib.h>

#include "hc_clock.h"
#include "hc_launch.h"

static aclError nothing(void *arg) {
    (void)arg;
    return 0;
}

static double launch(aclrtStream stream, int repeats, bool may_block) {
    const struct hc_task task = {
        .name = "nothing", .kind = HC_TASK_OPERATOR, .may_block = may_block, .run = nothing};
    const uint64_t begin = hc_now_ns();
    for (int i = 0; i < repeats; i++) hc_launch(stream, &task);
    aclrtSynchronizeStream(stream);
    return (double)(hc_now_ns() - begin) / repeats;
}

static double record_and_wait(aclrtStream a, aclrtStream b, int repeats) {
    aclrtEvent event;
    if (aclrtCreateEventExWithFlag(&event, ACL_EVENT_SYNC) != ACL_SUCCESS) return -1;
    const uint64_t begin = hc_now_ns();
    for (int i = 0; i < repeats; i++) {
        aclrtRecordEvent(event, a);
        aclrtStreamWaitEvent(b, event);
    }
    const double ns = (double)(hc_now_ns() - begin) / repeats;
    aclrtDestroyEvent(event);
    return ns;
}

static double copy(aclrtStream stream, int repeats) {
    void *p;
    char host[64] = {0};
    if (aclrtMalloc(&p, sizeof host, ACL_MEM_MALLOC_NORMAL_ONLY) != ACL_SUCCESS) return -1;
    const uint64_t begin = hc_now_ns();
    for (int i = 0; i < repeats; i++) {
        aclrtMemcpyAsync(p, sizeof host, host, sizeof host, ACL_MEMCPY_HOST_TO_DEVICE, stream);
    }
    const double ns = (double)(hc_now_ns() - begin) / repeats;
    aclrtFree(p);
    return ns;
}

int main(int argc, char **argv) {
    const int repeats = argc > 1 ? atoi(argv[1]) : 1000000;
    aclrtStream a, b;
    if (aclInit(NULL) || aclrtSetDevice(0) || aclrtCreateStream(&a) || aclrtCreateStream(&b)) {
        fprintf(stderr, "%s\n", aclGetRecentErrMsg());
        return 1;
    }
    launch(a, repeats / 10, false);
    printf("inline, named stream    %7.1f ns\n", launch(a, repeats, false));
    printf("inline, default stream  %7.1f ns\n", launch(NULL, repeats, false));
    printf("queued                  %7.1f ns\n", launch(a, repeats / 10, true));
    printf("record + wait           %7.1f ns\n", record_and_wait(a, b, repeats / 10));
    printf("copy of 64 bytes        %7.1f ns\n", copy(a, repeats / 10));
    return aclFinalize() != ACL_SUCCESS;
}
